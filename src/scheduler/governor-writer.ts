/**
 * Writes a worker's GOVERNOR words of the scoreboard, and what the governor took from it for whom. The governor's thread
 * only; wait-free. A second writer loses counts. TAKEN alone is written by native/taking.cc, in the same thread.
 */
import { add } from './counter.js';
import { GOVERNOR, PAUSE_BUCKETS } from './layout.js';

/** Index of the bucket that counts a pause of `us` µs. */
function pauseBucket(us: number): number {
  const bits = us < 1 ? 0 : 32 - Math.clz32(us);
  return Math.min(Math.max(bits - 3, 0), PAUSE_BUCKETS - 1);
}

/** What came of a pause. */
interface Pause {
  readonly taken: number;
  readonly mismatches: number;
  readonly failures: number;
  readonly us: number;
}

export class GovernorWriter {
  readonly #words: Int32Array;
  readonly #row: number;
  readonly #taken: number;

  constructor(words: Int32Array, row: number, taken: number) {
    this.#words = words;
    this.#row = row;
    this.#taken = taken;
  }

  /** The worker was held at a safepoint, and `taken` events were taken from it for `recipient`. */
  paused(recipient: number, { taken, mismatches, failures, us }: Pause): void {
    add(this.#words, this.#taken + recipient, taken);
    this.#add(GOVERNOR.PAUSES, 1);
    this.#add(GOVERNOR.PAUSE_US, Math.round(us));
    this.#add(GOVERNOR.PAUSES_BY_US + pauseBucket(us), 1);
    this.#add(GOVERNOR.RESCUED, taken);
    this.#add(GOVERNOR.MISMATCHES, mismatches);
    this.#add(GOVERNOR.FAILURES, failures);
  }

  /** A move was decided on and could not be made. */
  refused(): void {
    this.#add(GOVERNOR.REFUSED, 1);
  }

  /** It may run on so many rings around its CPU from now on. */
  rings(value: number): void {
    Atomics.store(this.#words, this.#row + GOVERNOR.RINGS, value);
  }

  /** It got a ring more, or lost one. */
  pinned(wider: boolean): void {
    this.#add(wider ? GOVERNOR.WIDENED : GOVERNOR.NARROWED, 1);
  }

  #add(word: number, by: number): void {
    add(this.#words, this.#row + word, by);
  }
}
