/**
 * Who has which rows of shared memory. A worker lives on through deaths and reloads under one
 * number; a thread of it has a *slot*, which is what the scoreboard, the mailboxes and the
 * connection table know. Each worker has two slots, so that its next thread can serve before
 * the last one has gone. Those of the spares come after them. Pure.
 *
 *     slot   0 … max-1      first slots of the workers
 *          max … 2 max-1    their second slots
 *        2 max …            spares
 */
import { WORKERS_MAX as SLOTS_MAX } from '../scheduler/layout.js';

/** Most workers of a runtime. */
export const RUNTIME_WORKERS_MAX = SLOTS_MAX / 2;

export class Slots {
  /** Most workers that there may be. */
  readonly workers: number;
  readonly spares: number;

  constructor(workers: number, spares: number) {
    this.workers = workers;
    this.spares = spares;
  }

  get total(): number {
    return this.accepting + this.spares;
  }

  /** Slots of threads that accept by themselves are below this number. */
  get accepting(): number {
    return 2 * this.workers;
  }

  isSpare(slot: number): boolean {
    return slot >= this.accepting;
  }

  /** The number of the worker, or spare, that has `slot`. */
  indexOf(slot: number): number {
    return this.isSpare(slot) ? slot - this.workers : slot % this.workers;
  }

  /** Both slots of worker `index`. */
  of(index: number): readonly [number, number] {
    return [index, index + this.workers];
  }

  /** The other slot of the same worker. A spare has one only. */
  twin(slot: number): number | null {
    if (this.isSpare(slot)) return null;
    return slot < this.workers ? slot + this.workers : slot - this.workers;
  }
}
