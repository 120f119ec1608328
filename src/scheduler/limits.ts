/**
 * How many connections and requests there may be, and whether there is room for one more. Any thread;
 * wait-free. The answer may be old when it comes: who acts on it takes a place (places.ts), which
 * says no if it was.
 *
 * ## Limits of each worker
 *
 * A worker that has as many as it may have accepts no more. What is given to it comes on top: it
 * would be lost otherwise. For that to have an end, all together never have more than the sum.
 */
import { PLACES_MAX } from './places.js';
import type { Scoreboard } from './scoreboard.js';

/** Infinity: any number. */
export interface Limit {
  readonly total: number;
  /** Of each worker. */
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
  /** Workers; each has two rows. Those of spares come after them: src/runtime/slots.ts. */
  readonly #workers: number;
  readonly #limitsOutstanding: boolean;

  /** @param accepting rows below this number are of workers that accept by themselves */
  constructor(board: Scoreboard, accepting: number, limits: Limits) {
    this.#board = board;
    this.#workers = Math.ceil(accepting / 2);
    this.limits = limits;
    this.#limitsOutstanding = isLimited(limits.outstanding);
  }

  /** New connections that worker `index` may accept now. */
  room(index: number): number {
    // Whether another request could be answered, too, is all that is known of it.
    if (!this.answersMore(index)) return 0;
    const all = this.placesMax - this.#board.places('CONNECTIONS');
    return Math.max(0, Math.min(this.ownRoom(index), all));
  }

  /** The same as far as only its own limit is concerned. */
  ownRoom(index: number): number {
    const { perWorker } = this.limits.connections;
    return Math.max(0, perWorker - this.#board.connections(index));
  }

  /** Places of all workers together. */
  get placesMax(): number {
    const { total, perWorker } = this.limits.connections;
    if (perWorker === Number.POSITIVE_INFINITY) return Math.min(total, PLACES_MAX);
    let workers = 0;
    for (let each = 0; each < this.#workers; each++) {
      if (this.#board.lives(each) || this.#board.lives(each + this.#workers)) workers++;
    }
    return Math.min(total, perWorker * workers, PLACES_MAX);
  }

  /** Whether worker `index` could answer another request. */
  answersMore(index: number): boolean {
    if (!this.#limitsOutstanding) return true;
    const { total, perWorker } = this.limits.outstanding;
    return this.#board.inFlight(index) < perWorker && this.#board.places('REQUESTS') < total;
  }

  /** Requests of all workers together within which one that has begun in worker `index` is answered. */
  requestsMax(index: number): number {
    const { total, perWorker } = this.limits.outstanding;
    return this.#board.inFlight(index) < perWorker ? Math.min(total, PLACES_MAX) : 0;
  }
}
