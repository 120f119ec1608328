/**
 * When the requests of an open-loop load are due: two Poisson processes, one of fast and
 * one of slow requests, drawn from a seed, so that every variant of a round gets the
 * same arrivals. And the limit, which is made of the same arrivals. Pure.
 */
import { type Percentiles, Recorder } from './latencies.js';

export interface Load {
  /** Requests at the start that are not counted, in seconds. */
  readonly warmup: number;
  /** Requests after those, in seconds. */
  readonly seconds: number;
  readonly connections: number;
  readonly fastPerSecond: number;
  /** What a fast request computes, in ms of CPU. 0: nothing, it is answered at once. */
  readonly fastMs: number;
  /** 0: there are no slow ones. */
  readonly slowPerSecond: number;
  readonly slowMs: number;
  readonly seed: number;
}

/** The flags of a benchmark in the words of its command line, as {@link Load} has them. */
export interface LoadFlags extends Pick<Load, 'seconds' | 'connections'> {
  /** Default: none. */
  readonly warmup?: number;
  /** Requests per second. */
  readonly fast: number;
  /** What a fast one computes, in ms. Default: nothing. */
  readonly work?: number;
  /** Requests per second. Default: none. */
  readonly slow?: number;
  /** What a slow one computes, in ms. */
  readonly ms?: number;
}

/** The load of a benchmark in `round`, whose number alone makes the seed: all its variants face the same. */
export function loadOf(flags: LoadFlags, round: number): Load {
  const { warmup = 0, seconds, connections, fast, work = 0, slow = 0, ms = 0 } = flags;
  return {
    ...{ warmup, seconds, connections, seed: round + 1 },
    ...{ fastPerSecond: fast, fastMs: work, slowPerSecond: slow, slowMs: ms },
  };
}

export interface Arrival {
  /** From the start of the load. */
  readonly dueMs: number;
  readonly slow: boolean;
}

/** Uniform in [0, 1): mulberry32, after Tommy Ettinger. */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Arrivals of both kinds, in order. */
export function schedule(load: Load): Arrival[] {
  const random = uniform(load.seed);
  const arrivals: Arrival[] = [];
  for (const slow of [false, true]) {
    const rate = slow ? load.slowPerSecond : load.fastPerSecond;
    for (let at = 0; rate > 0; ) {
      at += (-Math.log(1 - random()) / rate) * 1000;
      if (at >= (load.warmup + load.seconds) * 1000) break;
      arrivals.push({ dueMs: at, slow });
    }
  }
  return arrivals.sort((a, b) => a.dueMs - b.dueMs);
}

/** What a request that computes nothing takes a server, in ms; some of it is the client's. */
const ANSWER_MS = 0.1;

/**
 * The same arrivals at one queue with `servers` servers, first come first served: what
 * moving connections without cost could reach.
 */
export function oneQueue(load: Load, servers: number): { fast: Percentiles; slow: Percentiles } {
  const freeAt = new Array<number>(servers).fill(0);
  const fast = new Recorder();
  const slow = new Recorder();
  for (const arrival of schedule(load)) {
    const first = freeAt.indexOf(Math.min(...freeAt));
    const worksMs = (arrival.slow ? load.slowMs : load.fastMs) + ANSWER_MS;
    const endMs = Math.max(arrival.dueMs, freeAt[first] as number) + worksMs;
    freeAt[first] = endMs;
    if (arrival.dueMs < load.warmup * 1000) continue;
    (arrival.slow ? slow : fast).record(endMs - arrival.dueMs);
  }
  return { fast: fast.percentiles(), slow: slow.percentiles() };
}
