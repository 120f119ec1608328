/**
 * Which neighbour gets how many of a worker's events: DESIGN's round, steps 1 to 3.
 * Pure; asked by a worker for itself, or by the governor for a worker it has paused.
 *
 * With e events: e <= 1, no move. Otherwise floor(e / 2) go to one worker of the nearest
 * ring that has a candidate, chosen at random from the frontier over m0 (its outstanding
 * events: fewer is better) and m1 (rounds since the giver gave to it: more is better).
 * A candidate accepts and does not end up worse off: what it then has is at most
 * what the giver keeps. The random choice keeps givers that see the same scoreboard
 * from all giving to the same worker.
 *
 * ## Why not all of a wide ring
 *
 * Asking a worker what it has outstanding costs whoever asks a system call or two. In a ring of
 * 63 where most have nothing to do the answers are all the same, and a governor that has to make
 * a move for each of many workers is late with the last. So members are asked in random order
 * until 8 of them would do, and these are compared. A ring with one candidate is still searched
 * until that is found. Simulated on 64 CPUs in one ring, p95 is 13% better than when all are asked
 * at 42% load, and 5% at 68%; with caches of 8 nothing changes. Asking 4 or 2 gains a few percent
 * more, but 8 are all neighbours in most shared caches. (docs/simulation.md, study search.)
 *
 * ## Why not fewer than floor(e / 2) to one that has something to do
 *
 * A candidate with o events fits only if o <= e mod 2, so moves go to slackers and
 * nobody else. Giving floor((e - o) / 2) would be the same move where there is one, and
 * one more wherever e - o >= 2. Counting events, it is better: the larger of two
 * queues becomes smaller, and everybody's waiting time with it. But a move costs both
 * sides work that the events they keep wait for. With service time s, and c for one
 * connection's move on either side, moving (e - o) / 2 saves s (e - o)² / 4 of waiting in
 * total and costs about c (e - o)(e + o) / 2, so it pays if
 *
 *     s / c > 2 (e + o) / (e - o)
 *
 * That is 2 for a slacker, 6 for a neighbour half as loaded as the giver, and grows
 * without bound as they become equal. A hello-world handler takes about as
 * long as a move. Simulated (2 and 8 workers, Poisson arrivals, 0.3 to 0.9 ms requests
 * with 50 ms ones among them), the two rules' percentiles are within noise of each other,
 * while partial moves move up to twice as many connections. And a slacker's count is the one
 * number that is hardly ever stale.
 *
 * Refusing only what leaves the recipient with more than the giver *had*
 * (o + floor(e / 2) <= e) lets two busy workers send the same events to and fro: in the
 * simulation it takes p99 from 0.14 s to 17 s at 97% load.
 *
 * ## What counts as an event
 *
 * A worker that stands still is in the middle of one, which nobody can take from it. Whoever
 * asks for such a worker should count that one as well: then a single connection that
 * waits behind an endless callback is moved, as it should be, while a worker that can
 * still act keeps its only event. (8 workers, the same simulation: p95 3.2 to 2.1 ms.)
 */
import { type Criterion, frontier } from './frontier.js';
import type { Rings } from './neighbourhood.js';
import { below, type Random } from './random.js';

/** Candidates of a ring that are compared, at most. See above. */
export const CANDIDATES_MAX = 8;

export interface MoveQuestion {
  /** The worker that would give. */
  readonly giver: number;
  /**
   * How many events it has: movable connections with something to read, entries in its
   * accept queue, and the one that it stands still in. See above.
   */
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
  /** Candidates of a ring that are compared, at most. Default: {@link CANDIDATES_MAX}. */
  readonly candidatesMax?: number;
}

export interface Move {
  readonly recipient: number;
  /** How many events to give it. */
  readonly count: number;
}

/** Up to `max` members of `ring` that fit, any as likely as any other. */
function candidatesIn(
  ring: readonly number[],
  max: number,
  random: Random,
  fits: (worker: number) => boolean,
): number[] {
  if (ring.length <= max) return ring.filter(fits);
  const candidates: number[] = [];
  // Fisher and Yates's shuffle, as far as it is needed. (Asking on from a random place would
  // prefer whoever comes after many that do not fit.)
  const left = [...ring];
  while (left.length > 0 && candidates.length < max) {
    const at = below(random, left.length);
    const worker = left[at] as number;
    left[at] = left.at(-1) as number;
    left.pop();
    if (fits(worker)) candidates.push(worker);
  }
  return candidates;
}

/** The move to make, or null for none. */
export function chooseMove(q: MoveQuestion): Move | null {
  if (q.events <= 1) return null;
  const count = Math.floor(q.events / 2);
  const kept = q.events - count;
  const m0: Criterion = (worker) => q.outstanding(worker);
  const m1: Criterion = (worker) => -q.roundsSinceGave(worker);
  const fits = (worker: number) =>
    worker !== q.giver && q.accepts(worker) && q.outstanding(worker) + count <= kept;
  for (const ring of q.rings) {
    const candidates = candidatesIn(ring, q.candidatesMax ?? CANDIDATES_MAX, q.random, fits);
    if (candidates.length === 0) continue;
    const best = frontier(candidates, [m0, m1]);
    return { recipient: best[below(q.random, best.length)] as number, count };
  }
  return null;
}
