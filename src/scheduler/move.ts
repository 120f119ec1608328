/**
 * Which neighbour gets how many of a worker's events: DESIGN's round, steps 1 to 3.
 * Pure; asked by a worker for itself, or by the governor for a worker it has paused.
 */
import { type Criterion, frontier } from './frontier.js';
import type { Rings } from './neighbourhood.js';
import { below, type Random } from './random.js';

export interface MoveQuestion {
  /** The worker that would give. */
  readonly giver: number;
  /** How many events it has: its movable connections with something to read, and its accept queue. */
  readonly events: number;
  /** The giver's neighbourhood. */
  readonly rings: Rings;
  /** Events that `worker` has outstanding. */
  outstanding(worker: number): number;
  /** How many rounds ago the giver last gave to `worker`. */
  roundsSinceGave(worker: number): number;
  /** Whether `worker` can be given anything at all. */
  accepts(worker: number): boolean;
  readonly random: Random;
}

export interface Move {
  readonly recipient: number;
  /** How many events to give it. */
  readonly count: number;
}

/** The move to make, or null for none. */
export function chooseMove(q: MoveQuestion): Move | null {
  if (q.events <= 1) return null;
  const count = Math.floor(q.events / 2);
  const kept = q.events - count;
  const m0: Criterion = (worker) => q.outstanding(worker);
  const m1: Criterion = (worker) => -q.roundsSinceGave(worker);
  for (const ring of q.rings) {
    const candidates = ring.filter(
      (worker) => worker !== q.giver && q.accepts(worker) && q.outstanding(worker) + count <= kept,
    );
    if (candidates.length === 0) continue;
    const best = frontier(candidates, [m0, m1]);
    return { recipient: best[below(q.random, best.length)] as number, count };
  }
  return null;
}
