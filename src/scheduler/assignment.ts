/**
 * Which worker handles a firing: one for all sources, which main asks. Pure, apart from what it
 * remembers: the round in which each worker was last given a firing, and where the sources that
 * collaborate are.
 *
 * A firing is one event that nobody has yet. It goes to one worker of the Pareto frontier over
 * m0 (events it has outstanding: fewer is better) and m1 (rounds since it was last given a
 * firing: more is better), chosen at random from it. As in a worker's own round (move.ts), somebody
 * who has nothing to do comes before everybody who has; and whoever stands still is the last.
 *
 * - *Divergent* sources know no neighbourhood: all workers are candidates, and m1 spreads them
 *   over these.
 * - Sources that *collaborate* have a home in common, a worker. Their firings go to the home's
 *   scheduling group: that worker and its innermost ring. When nobody there can handle one (no
 *   handler, ended, or standing still) the home moves outwards to the nearest ring where somebody
 *   can, and all sources of the key with it: what they share in caches is there next time.
 *   It does not move for being busy, or it would follow every peak of the load. The first home of
 *   a key is chosen as for a divergent firing, with the fewest other homes as a third criterion.
 */
import { type Criterion, frontier } from './frontier.js';
import type { Rings } from './neighbourhood.js';
import { below, type Random } from './random.js';

export interface AssignmentQuestion {
  /** Workers that could be given it at all. */
  readonly candidates: readonly number[];
  /** Events that `worker` has outstanding, firings among them. */
  outstanding(worker: number): number;
  /** Whether `worker` has not returned to its event loop for a while. */
  standsStill(worker: number): boolean;
}

/** An answer; {@link Assignment.given} says that it was acted on. */
export interface Assigned {
  readonly worker: number;
  /** Where the home of the key is after that; null for a divergent source. */
  readonly home: number | null;
}

/** Keys of which the home is remembered; of more, the one that was used longest ago goes. */
const KEYS_MAX = 4_096;

export class Assignment {
  readonly #rings: readonly Rings[];
  readonly #random: Random;
  readonly #last: number[];
  #round = 0;
  /** By key. The last one used is the last one in it. */
  readonly #homes = new Map<string, number>();

  /** @param rings of every worker that there may be: neighbourhood.ts */
  constructor(rings: readonly Rings[], random: Random) {
    this.#rings = rings;
    this.#random = random;
    this.#last = new Array(rings.length).fill(0);
  }

  /** Who gets a firing of a source that collaborates under `key`; null: there is no candidate. */
  choose(key: string | null, q: AssignmentQuestion): Assigned | null {
    const { candidates } = q;
    if (candidates.length === 0) return null;
    const awake = candidates.filter((worker) => !q.standsStill(worker));
    const able = awake.length > 0 ? awake : candidates;
    if (key === null) return { worker: this.#best(able, q), home: null };
    const home = this.#homes.get(key);
    if (home === undefined) {
      const homes = [...this.#homes.values()];
      const worker = this.#best(able, q, [
        (each) => homes.reduce((count, other) => count + Number(other === each), 0),
      ]);
      return { worker, home: worker };
    }
    for (const [at, ring] of this.#outwards(home).entries()) {
      const near = ring.filter((worker) => able.includes(worker));
      if (near.length === 0) continue;
      const worker = this.#best(near, q);
      return { worker, home: at === 0 ? home : worker };
    }
    // In no ring of the home: a spare.
    const worker = this.#best(able, q);
    return { worker, home };
  }

  /** `assigned` was given to its worker. True if the home of `key` has moved by that. */
  given(key: string | null, { worker, home }: Assigned): boolean {
    this.#round++;
    this.#last[worker] = this.#round;
    if (key === null || home === null) return false;
    const before = this.#homes.get(key);
    this.#homes.delete(key);
    this.#homes.set(key, home);
    if (this.#homes.size > KEYS_MAX) {
      const [oldest] = this.#homes.keys();
      if (oldest !== undefined) this.#homes.delete(oldest);
    }
    return before !== undefined && before !== home;
  }

  /**
   * Those of `candidates` who are in the group of `key`'s home: for a source that is handled
   * without asking each time. Without one there it moves as above.
   */
  group(key: string | null, candidates: readonly number[]): readonly number[] {
    if (key === null) return candidates;
    const nobody = { candidates, outstanding: () => 0, standsStill: () => false };
    const assigned = this.choose(key, nobody);
    if (assigned === null || assigned.home === null) return candidates;
    if (this.#homes.get(key) !== assigned.home) this.given(key, assigned);
    const [group = []] = this.#outwards(assigned.home);
    const near = candidates.filter((worker) => group.includes(worker));
    return near.length > 0 ? near : candidates;
  }

  /** The home's group, and then what is around it, nearest first. */
  #outwards(home: number): readonly (readonly number[])[] {
    const [innermost = [], ...rest] = this.#rings[home] ?? [];
    return [[home, ...innermost], ...rest];
  }

  #best(
    workers: readonly number[],
    q: AssignmentQuestion,
    more: readonly Criterion[] = [],
  ): number {
    const events = new Map(workers.map((worker) => [worker, q.outstanding(worker)]));
    const idle = workers.filter((worker) => events.get(worker) === 0);
    const best = frontier(idle.length > 0 ? idle : workers, [
      (worker) => events.get(worker) ?? 0,
      (worker) => (this.#last[worker] ?? 0) - this.#round,
      ...more,
    ]);
    return best[below(this.#random, best.length)] as number;
  }
}
