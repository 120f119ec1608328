/**
 * Where chance comes from. Pure: the same seed gives the same decisions, so a
 * simulation or a failed test can be repeated. Not for secrets.
 */

/** Uniform over the integers from 0 to 2^32 - 1. */
export type Random = () => number;

/**
 * Chris Doty-Humphrey's sfc32 (PractRand 0.94, public domain): 128 bits of state of
 * which 32 are a counter, so no seed gives a cycle shorter than 2^32. Seeded as
 * PractRand seeds it, with the low and the high half of `seed` and 12 discarded values.
 */
export function seededRandom(seed: number): Random {
  if (!Number.isFinite(seed)) throw new RangeError(`a seed must be a finite number, not ${seed}`);
  let a = 0;
  let b = seed | 0;
  let c = Math.floor(seed / 2 ** 32) | 0;
  let counter = 1;
  const next = () => {
    const value = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + value) | 0;
    return value >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** Largest bound of {@link below}: times 2^32 it is still an exact double. */
export const BOUND_MAX = 2 ** 21;

/**
 * An integer from 0 to `bound` - 1, from one value of `random` (multiply and shift).
 *
 * Each integer's probability differs from 1 / `bound` by less than 2^-32: among
 * 1,024 candidates that is one part in four million, which no run of a server will show.
 */
export function below(random: Random, bound: number): number {
  if (!Number.isInteger(bound) || bound < 1 || bound > BOUND_MAX) {
    throw new RangeError(`a bound must be from 1 to ${BOUND_MAX}, not ${bound}`);
  }
  return Math.floor((random() * bound) / 2 ** 32);
}
