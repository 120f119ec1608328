/**
 * How often something took how long, in a REQUESTS row of the scoreboard. The thread that has the row only, for
 * each request: wait-free, and plain stores. ITERATIONS rows are written the same way, natively: native/loop.cc.
 * A second writer loses counts.
 */
import { TIME_BUCKETS, TIMES } from './layout.js';

/** Index of the bucket of TIMES.BY_US that counts what took `us` µs; native/loop.cc does the same. */
function timeBucket(us: number): number {
  const bits = us < 1 ? 0 : us < 2 ** 31 ? 32 - Math.clz32(us) : 32;
  return Math.min(bits, TIME_BUCKETS - 1);
}

export class TimesWriter {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #row: number;

  constructor(words: Int32Array, floats: Float64Array, row: number) {
    this.#words = words;
    this.#floats = floats;
    this.#row = row;
  }

  /** One more, timed or not. A load and a store: this runs for each request. */
  count(): void {
    const at = this.#row + TIMES.COUNT;
    this.#words[at] = ((this.#words[at] as number) + 1) | 0;
  }

  /** One of them took `ms`. */
  took(ms: number): void {
    const sum = (this.#row + TIMES.SUM_NS) / 2;
    this.#floats[sum] = (this.#floats[sum] as number) + ms * 1e6;
    const bucket = this.#row + TIMES.BY_US + timeBucket(ms * 1e3);
    this.#words[bucket] = ((this.#words[bucket] as number) + 1) | 0;
  }
}
