/**
 * Requests, as they arrive: a Poisson process of fast ones, with slow ones among them.
 * Pure. The same seed gives the same requests to whatever serves them.
 */
import { type Random, seededRandom } from '../../src/scheduler/random.js';

export const FAST_SHAPES = ['exponential', 'lognormal', 'constant'] as const;

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

/** Standard deviation of a lognormal service time's logarithm: p99 is about 7 × the mean. */
const LOGNORMAL_SIGMA = 1;

/** Uniform in (0, 1). */
export function uniform(random: Random): number {
  return (random() + 0.5) / 2 ** 32;
}

/** With mean 1. */
export function exponential(random: Random): number {
  return -Math.log(uniform(random));
}

function normal(random: Random): number {
  return Math.sqrt(2 * exponential(random)) * Math.cos(2 * Math.PI * uniform(random));
}

const SHAPES: Readonly<Record<Load['fastShape'], (random: Random) => number>> = {
  exponential,
  lognormal: (random) => Math.exp(LOGNORMAL_SIGMA * normal(random) - LOGNORMAL_SIGMA ** 2 / 2),
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
