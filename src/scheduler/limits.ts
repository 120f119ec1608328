/**
 * How many connections and requests there may be, and how many more that leaves. Pure:
 * decides from the scoreboard. Any thread; wait-free.
 *
 * Each worker counts its own, in words that it alone writes, and anybody adds them up. So the
 * sum may be of slightly different moments, and where several workers accept in the same
 * instant each may take the last place. What a worker has itself is exact.
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
  readonly #limited: boolean;

  constructor(board: Scoreboard, limits: Limits) {
    this.#board = board;
    this.limits = limits;
    this.#limited = isLimited(limits.connections) || isLimited(limits.outstanding);
  }

  /** New connections that worker `index` may take now; Infinity without a limit. */
  room(index: number): number {
    if (!this.#limited) return Number.POSITIVE_INFINITY;
    const { connections, outstanding } = this.limits;
    const board = this.#board;
    // Whether another request could be answered, too, is all that is known of it.
    if (this.#left(outstanding, board.requests(index), (each) => board.requests(each)) <= 0) {
      return 0;
    }
    const left = this.#left(connections, board.connections(index), (each) =>
      board.connections(each),
    );
    return Math.max(left, 0);
  }

  /** Requests that worker `index` has begun beyond what it may; 0 or less: none. */
  excess(index: number): number {
    const board = this.#board;
    const { outstanding } = this.limits;
    return -this.#left(outstanding, board.requests(index), (each) => board.requests(each));
  }

  #left({ total, perWorker }: Limit, own: number, count: (index: number) => number): number {
    const left = perWorker - own;
    if (total === Number.POSITIVE_INFINITY || left <= 0) return left;
    let sum = 0;
    for (let index = 0; index < this.#board.workers; index++) {
      if (this.#board.lives(index)) sum += count(index);
    }
    return Math.min(left, total - sum);
  }
}
