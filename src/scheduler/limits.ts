/**
 * How many connections and requests there may be, and how many more that leaves. Pure:
 * decides from the scoreboard. Any thread; wait-free.
 *
 * Each worker counts its own, in words that it alone writes, and anybody adds them up. So a
 * sum may be of slightly different moments, and where several workers accept in the same
 * instant each may take the last place. What a worker has itself is exact.
 *
 * Connections that move count on their way, too: after a reload half of them may be there. And
 * where each worker has a limit of its own, all together have the sum of these, or else a
 * worker could take new ones again and again for those that were taken from it.
 */
import type { Scoreboard } from './scoreboard.js';

/** Infinity: any number. */
export interface Limit {
  readonly total: number;
  /** Of each thread of a worker, and of each spare. */
  readonly perWorker: number;
}

export interface Limits {
  readonly connections: Limit;
  /** HTTP requests that have begun and are not answered. */
  readonly outstanding: Limit;
}

export const NO_LIMIT: Limit = Object.freeze({
  total: Number.POSITIVE_INFINITY,
  perWorker: Number.POSITIVE_INFINITY,
});

/** Whether there is any. */
export function isLimited({ total, perWorker }: Limit): boolean {
  return total !== Number.POSITIVE_INFINITY || perWorker !== Number.POSITIVE_INFINITY;
}

export class Capacity {
  readonly limits: Limits;
  readonly #board: Scoreboard;
  /** Rows below this number are of workers that accept by themselves. */
  readonly #accepting: number;
  readonly #limitsConnections: boolean;
  readonly #limitsOutstanding: boolean;

  constructor(board: Scoreboard, accepting: number, limits: Limits) {
    this.#board = board;
    this.#accepting = accepting;
    this.limits = limits;
    this.#limitsConnections = isLimited(limits.connections);
    this.#limitsOutstanding = isLimited(limits.outstanding);
  }

  /** New connections that worker `index` may take now; Infinity without a limit. */
  room(index: number): number {
    // Whether another request could be answered, too, is all that is known of it.
    if (this.excess(index) >= 0) return 0;
    if (!this.#limitsConnections) return Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(this.#ownPlaces(index), this.#places()));
  }

  /**
   * Whether worker `index` may take a connection that is on its way. Among those of all workers
   * that one has its place already.
   */
  takes(index: number): boolean {
    return this.excess(index) < 0 && this.#ownPlaces(index) > 0;
  }

  /** Requests that worker `index` has begun beyond what it may; below 0: so many more may begin. */
  excess(index: number): number {
    if (!this.#limitsOutstanding) return Number.NEGATIVE_INFINITY;
    const board = this.#board;
    const { total, perWorker } = this.limits.outstanding;
    const excess = board.requests(index) - perWorker;
    if (total === Number.POSITIVE_INFINITY) return excess;
    let sum = 0;
    for (let each = 0; each < board.workers; each++) {
      if (board.lives(each)) sum += board.requests(each);
    }
    return Math.max(excess, sum - total);
  }

  #ownPlaces(index: number): number {
    const { perWorker } = this.limits.connections;
    return perWorker - this.#board.connections(index) + this.#board.lost(index);
  }

  /** In all workers together. */
  #places(): number {
    const board = this.#board;
    const { total, perWorker } = this.limits.connections;
    let sum = board.inTransit();
    let workers = 0;
    for (let each = 0; each < board.workers; each++) {
      if (!board.lives(each)) continue;
      sum += board.connections(each) - board.lost(each);
      if (each < this.#accepting) workers++;
    }
    return Math.min(total, perWorker * workers) - sum;
  }
}
