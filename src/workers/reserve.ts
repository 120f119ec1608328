/**
 * Descriptors that are left to files, outgoing connections and whatever else is no accepted
 * connection: accepting ends before the last one is in use. Worker's thread only.
 *
 * The kernel hands out the lowest number that is free, so the number of a new descriptor tells
 * how many are in use, those of all other threads included, and costs nothing to know.
 */
import { nextDescriptor } from '../native.js';

/** As many as moving leaves, in src/scheduler/connection-table.ts. No evidence for more or less. */
const RESERVED = 32;

/** Share of what is free when listening begins that may be reserved, where that is little. */
const RESERVED_SHARE = 1 / 4;

export class Reserve {
  /** Soft limit of the process, RLIMIT_NOFILE: numbers are below it. */
  readonly #max: number;
  #from: number | null = null;
  /** A number of the reserve was handed out, and nobody has looked since. */
  #touched = false;

  constructor(max: number) {
    this.#max = max;
  }

  /** `fd` was just opened. */
  took(fd: number): void {
    this.#from ??= this.#max - Math.min(RESERVED, Math.floor((this.#max - fd) * RESERVED_SHARE));
    if (fd >= this.#from) this.#touched = true;
  }

  /**
   * Whether the next descriptor would be one of the reserve.
   *
   * @param any one that is open
   */
  isNext(any: number): boolean {
    if (!this.#touched || this.#from === null) return false;
    const next = nextDescriptor(any);
    this.#touched = next < 0 || next >= this.#from;
    return this.#touched;
  }
}
