/**
 * Requests, as they arrive: a Poisson process of fast ones, with slow ones among them.
 * Pure. The same seed gives the same requests to whatever serves them.
 */
import { type Random, seededRandom } from '../../src/scheduler/random.js';

export const FAST_SHAPES = ['exponential', 'lognormal', 'pareto', 'constant'] as const;

export interface Load {
  readonly fastPerSecond: number;
  /** Mean service time of a fast request. */
  readonly fastMs: number;
  /** How the service times of fast requests are distributed. */
  readonly fastShape: (typeof FAST_SHAPES)[number];
  readonly slowPerSecond: number;
  /** Service time of each slow request. */
  readonly slowMs: number;
}

export interface Request {
  readonly dueMs: number;
  readonly slow: boolean;
  readonly serviceMs: number;
}

/** Standard deviation of a lognormal service time's logarithm: p99 is about 6 × the mean. */
const LOGNORMAL_SIGMA = 1;

/** Of a Pareto distribution that ends at so many times its least value: p99.9 is 31 × the mean. */
const PARETO_ALPHA = 1.5;
const PARETO_END = 1000;

/** Uniform in (0, 1). */
export function uniform(random: Random): number {
  return (random() + 0.5) / 2 ** 32;
}

/** With mean 1. */
export function exponential(random: Random): number {
  return -Math.log(uniform(random));
}

/** Marsaglia's polar method: of the elementary functions V8 changes sine and power now and then. */
function normal(random: Random): number {
  for (;;) {
    const x = 2 * uniform(random) - 1;
    const square = x ** 2 + (2 * uniform(random) - 1) ** 2;
    if (square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square);
  }
}

/** `base` to a fraction. */
const power = (base: number, exponent: number) => Math.exp(exponent * Math.log(base));

/** Share of a Pareto distribution without an end that is below PARETO_END. */
const PARETO_SHARE = 1 - power(PARETO_END, -PARETO_ALPHA);
/** Mean of the one that ends there, in units of its least value. */
const PARETO_MEAN =
  ((PARETO_ALPHA / (PARETO_ALPHA - 1)) * (1 - power(PARETO_END, 1 - PARETO_ALPHA))) / PARETO_SHARE;

const SHAPES: Readonly<Record<Load['fastShape'], (random: Random) => number>> = {
  exponential,
  lognormal: (random) => Math.exp(LOGNORMAL_SIGMA * normal(random) - LOGNORMAL_SIGMA ** 2 / 2),
  pareto: (random) => power(1 - PARETO_SHARE * uniform(random), -1 / PARETO_ALPHA) / PARETO_MEAN,
  constant: () => 1,
};

/** All requests that arrive before `endMs`, in order. */
export function* arrivals(load: Load, endMs: number, seed: number): Generator<Request> {
  const random = seededRandom(seed);
  const perMs = (load.fastPerSecond + load.slowPerSecond) / 1000;
  const slowShare = load.slowPerSecond / 1000 / perMs;
  const shape = SHAPES[load.fastShape];
  for (let dueMs = exponential(random) / perMs; dueMs < endMs; ) {
    const slow = uniform(random) < slowShare;
    yield { dueMs, slow, serviceMs: slow ? load.slowMs : load.fastMs * shape(random) };
    dueMs += exponential(random) / perMs;
  }
}
