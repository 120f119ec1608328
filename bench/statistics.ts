/**
 * What is said about repeated measurements: a median with its spread, and the ratios of
 * what was measured side by side. Pure.
 */

/** Repeated measurements of one thing. */
export interface Spread {
  /** How many there are. */
  readonly n: number;
  readonly min: number;
  /** First quartile: a quarter of the samples is not above it. */
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly max: number;
}

/** The value at fraction `p` (0 to 1) of `sorted`, between two samples by their distance; NaN of none. */
export function quantile(sorted: ArrayLike<number>, p: number): number {
  const at = (sorted.length - 1) * p;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/** @throws RangeError if there is no sample, or one that is not a finite number. */
export function spreadOf(samples: readonly number[]): Spread {
  if (samples.length === 0) throw new RangeError('there is no sample');
  if (!samples.every(Number.isFinite)) throw new RangeError(`not all are finite: ${samples}`);
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    n: sorted.length,
    min: quantile(sorted, 0),
    q1: quantile(sorted, 0.25),
    median: quantile(sorted, 0.5),
    q3: quantile(sorted, 0.75),
    max: quantile(sorted, 1),
  };
}

/**
 * `of[i] / to[i]` for each pair, that is each round. What slows a whole round down slows
 * both halves of its pair, so the ratios spread less than the figures they are made of.
 *
 * @throws RangeError if a sample has no partner.
 */
export function pairRatios(of: readonly number[], to: readonly number[]): number[] {
  if (of.length !== to.length) {
    throw new RangeError(`${of.length} samples cannot be paired with ${to.length}`);
  }
  return of.map((value, round) => value / (to[round] as number));
}

/** How much `y` grows for 1 more `x`: the least-squares slope through the points. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const xMean = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const yMean = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  let covariance = 0;
  let variance = 0;
  for (const [x, y] of points) {
    covariance += (x - xMean) * (y - yMean);
    variance += (x - xMean) ** 2;
  }
  if (variance === 0) throw new RangeError('a slope needs two different x');
  return covariance / variance;
}
