/**
 * Latencies in a histogram of constant size (HdrHistogram: values to three digits,
 * whatever their range), and the percentiles of it. Pure.
 */
import { build } from 'hdr-histogram-js';

/** More than any load lasts; a latency beyond it is recorded as this. */
const MAX_US = 600e6;

/**
 * Percentiles that show a whole distribution up to the 99.9th: eight to each nine, so that they are
 * as far from each other where the axis is logarithmic in what is left of 100.
 */
export const CURVE_PERCENTILES: readonly number[] = Array.from({ length: 25 }, (_, step) =>
  Number((100 - 100 * 10 ** (-step / 8)).toFixed(4)),
);

/** In ms; NaN where nothing was recorded. */
export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** At {@link CURVE_PERCENTILES}. */
  readonly curve: readonly number[];
}

export class Recorder {
  readonly #histogram = build({
    ...{ lowestDiscernibleValue: 1, highestTrackableValue: MAX_US },
    numberOfSignificantValueDigits: 3,
  });

  /** Rounded to a µs. What is negative, by the clocks of two threads, counts as 0. */
  record(ms: number): void {
    this.#histogram.recordValue(Math.min(MAX_US, Math.max(0, Math.round(ms * 1000))));
  }

  percentiles(): Percentiles {
    const { totalCount: count } = this.#histogram;
    const at = (percentile: number) =>
      count === 0 ? Number.NaN : this.#histogram.getValueAtPercentile(percentile) / 1000;
    return {
      ...{ count, p50: at(50), p90: at(90), p95: at(95), p99: at(99), p999: at(99.9) },
      ...{ max: at(100), curve: CURVE_PERCENTILES.map(at) },
    };
  }
}
