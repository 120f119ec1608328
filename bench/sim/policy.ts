/**
 * How requests come to workers: gyre, what it competes with, and the limits.
 *
 * The limits and the rivals that choose for each request pay nothing for choosing, and
 * the connection goes wherever it was sent: no server does better by the same rule.
 */
import { below, type Random } from '../../src/scheduler/random.js';
import type { Connection } from './connection.js';
import type { Worker } from './worker.js';

export interface Policy {
  /** All workers serve one queue. */
  readonly oneQueue?: boolean;
  /** Go's: a request is interrupted after a quantum if others wait. */
  readonly timeSliced?: boolean;
  /** Connections are dealt to workers in turn at the start. Otherwise by chance. */
  readonly dealt?: boolean;
  /** Which worker this request, the n-th, goes to. Otherwise the one that owns the connection. */
  place?(workers: readonly Worker[], random: Random, n: number): number;
  /** Workers that have nothing to do take half of what another one has ready, and begin with it. */
  readonly steals?: boolean;
  /** Workers give, and the governor takes. */
  readonly moves?: boolean;
}

function outstanding({ ready, inPoll }: Worker): number {
  return ready.length + (inPoll ? 0 : 1);
}

/** One of the workers with the fewest requests: the first from a random one on. */
function shortest(workers: readonly Worker[], random: Random): number {
  const from = below(random, workers.length);
  let best = workers[from] as Worker;
  for (let at = 1; at < workers.length && outstanding(best) > 0; at++) {
    const worker = workers[(from + at) % workers.length] as Worker;
    if (outstanding(worker) < outstanding(best)) best = worker;
  }
  return best.index;
}

function ofTwo(workers: readonly Worker[], random: Random): number {
  const a = workers[below(random, workers.length)] as Worker;
  const b = workers[below(random, workers.length)] as Worker;
  return (outstanding(b) < outstanding(a) ? b : a).index;
}

export const POLICIES = {
  hashed: {},
  dealt: { dealt: true },
  'round-robin': { place: (workers, _random, n) => n % workers.length },
  'shortest-queue': { place: shortest },
  'two-choices': { place: ofTwo },
  stealing: { steals: true },
  gyre: { moves: true },
  'one-queue': { oneQueue: true },
  'time-sliced': { oneQueue: true, timeSliced: true },
} as const satisfies Record<string, Policy>;

export type PolicyName = keyof typeof POLICIES;

/** For a worker with nothing to do: half of what another one has ready, found from a random one on. */
export function steal(thief: Worker, workers: readonly Worker[], random: Random): Connection[] {
  const from = below(random, workers.length);
  for (let at = 0; at < workers.length; at++) {
    const victim = workers[(from + at) % workers.length] as Worker;
    if (victim !== thief && !victim.inPoll && victim.ready.length > 0) {
      return victim.take(Math.ceil(victim.ready.length / 2), 'oldest');
    }
  }
  return [];
}

/** A worker with nothing to do, found from a random one on; one that `isBest` before others. */
export function idler(
  workers: readonly Worker[],
  random: Random,
  isBest: (worker: Worker) => boolean,
): Worker | null {
  const from = below(random, workers.length);
  let second: Worker | null = null;
  for (let at = 0; at < workers.length; at++) {
    const worker = workers[(from + at) % workers.length] as Worker;
    if (!worker.inPoll || !worker.thread.blocked) continue;
    if (isBest(worker)) return worker;
    second ??= worker;
  }
  return second;
}
