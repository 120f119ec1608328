/**
 * A door: a listening socket that this worker accepts from when it wants to (accepting.ts), and what becomes of its
 * connections. Worker's thread only; never waits. Its descriptor is its own: who closes that elsewhere
 * closes somebody else's.
 */
import type { QueueWatch } from '../native.js';

/** What becomes of the connections of one listening socket. */
export interface Entrance {
  /** Number of the listener; null: its connections must not go to another worker. */
  readonly listener: number | null;
  /** Serves the connection `fd`. */
  accept(fd: number): void;
  /** Tells whoever is at the other end of `fd` that there is no room. */
  refuse(fd: number): void;
}

export class Door {
  readonly fd: number;
  readonly #watch: QueueWatch;
  readonly #closed: (door: Door) => void;
  #isOpen = true;
  #referenced = true;
  #entrance: Entrance | null = null;

  constructor(fd: number, watch: QueueWatch, closed: (door: Door) => void) {
    this.fd = fd;
    this.#watch = watch;
    this.#closed = closed;
  }

  get entrance(): Entrance | null {
    return this.#entrance;
  }

  /** Whether it keeps the thread alive. */
  get referenced(): boolean {
    return this.#referenced;
  }

  /** See {@link QueueWatch.accepted}. */
  get accepted(): Int32Array {
    return this.#watch.accepted;
  }

  set entrance(entrance: Entrance) {
    this.#entrance = entrance;
  }

  /** -errno if it cannot be watched. */
  start(): number {
    return this.#watch.start();
  }

  stop(): void {
    this.#watch.stop();
  }

  accept(): number {
    return this.#watch.accept();
  }

  ref(): void {
    this.#referenced = true;
    if (this.#isOpen) this.#watch.ref();
  }

  unref(): void {
    this.#referenced = false;
    if (this.#isOpen) this.#watch.unref();
  }

  /** Closes its descriptor, too. The application may still call ref() or unref(). */
  close(): void {
    this.#isOpen = false;
    this.#closed(this);
    this.#watch.close();
  }
}
