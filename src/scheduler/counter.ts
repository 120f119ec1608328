/**
 * Counters that run free: Int32 words that wrap from 2^31 - 1 to -2^31, and are only ever compared by
 * {@link difference}. Any thread; wait-free.
 */

/** Adds to a word that this thread alone writes; of two writers one loses what it adds. */
export function add(words: Int32Array, at: number, by: number): void {
  Atomics.store(words, at, (Atomics.load(words, at) + by) | 0);
}

/**
 * How far the free-running counter `later` is ahead of `earlier`, right across
 * the wrap as long as they are less than 2^31 apart.
 */
export function difference(later: number, earlier: number): number {
  return (later - earlier) | 0;
}
