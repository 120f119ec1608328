/**
 * Which thread of a pool gets the next job: the frontier of src/scheduler/frontier.ts over a
 * scoreboard of the pool. Pure; one thread, the one that hands jobs out, owns the board.
 *
 * The board has a row for each thread of the pool and one more, for the giver: its ROUNDS are the
 * jobs ever handed out, and its GAVE words when each thread last got one. OUTSTANDING of a thread
 * is how many jobs it has.
 *
 * What is different from moving connections (src/scheduler/move.ts): a job is a long event that
 * nobody can take back, so it is never put behind another while some thread has none. Among the
 * threads without one the frontier is those that have waited longest; who has several
 * jobs at a time in a thread gets the frontier of both.
 */
import { type Criterion, frontier } from './frontier.js';
import { WORKERS_MAX } from './layout.js';
import type { Misalignment } from './memory.js';
import { below, type Random } from './random.js';
import { Scoreboard } from './scoreboard.js';
import type { WorkerWriter } from './worker-writer.js';

/** A thread as Piscina shows it to its load balancer. */
export interface PoolThread {
  /** Its number. */
  readonly id: number;
  /** Jobs that it has; Infinity if it has one that may be aborted. */
  readonly currentUsage: number;
  /** Whether its task may be aborted: then it gets no other. */
  readonly isRunningAbortableTask: boolean;
  /** Whether it is to end. */
  readonly terminating: boolean;
  /** Whether it has ended. */
  readonly destroyed: boolean;
}

/** Threads that a pool may have: each needs a row, and so does the giver. */
export const POOL_THREADS_MAX = WORKERS_MAX - 1;

interface BalancerOptions {
  /** Most threads that the pool may have at a time; 1 to {@link POOL_THREADS_MAX}. */
  readonly threads: number;
  /** Most jobs that a thread may have at a time. */
  readonly usageMax: number;
  readonly random: Random;
  readonly misalignmentOf: Misalignment | null;
}

export class Balancer {
  /** Row i is that of the thread in slot i, the last one the giver's. */
  readonly board: Scoreboard;
  readonly #usageMax: number;
  readonly #random: Random;
  readonly #giver: WorkerWriter;
  readonly #rows: readonly WorkerWriter[];
  /** Who has which row. One that has gone leaves its row to the next. */
  readonly #threads: (PoolThread | null)[];
  readonly #slots = new Map<number, number>();

  constructor({ threads, usageMax, random, misalignmentOf }: BalancerOptions) {
    this.board = Scoreboard.create(threads + 1, misalignmentOf);
    this.#usageMax = usageMax;
    this.#random = random;
    this.#giver = this.board.own(threads);
    this.#threads = new Array(threads).fill(null);
    this.#rows = this.#threads.map((_, slot) => this.board.own(slot));
  }

  /**
   * The thread that gets the next job, or null if none can take it now.
   *
   * @param abortable the job must be alone in its thread, which is ended if it is aborted
   * @throws RangeError if there are more threads than the board has rows
   */
  choose<T extends PoolThread>(abortable: boolean, threads: readonly T[]): T | null {
    const candidates = this.#candidates(abortable, threads);
    if (candidates.length === 0) return null;
    const bySlot = new Map(candidates.map((thread) => [this.#slotOf(thread), thread]));
    for (const [slot, { currentUsage }] of bySlot) this.#rows[slot]?.outstanding(currentUsage);
    this.#giver.round();
    const m0: Criterion = (slot) => this.board.outstanding(slot);
    const m1: Criterion = (slot) => -this.#giver.roundsSinceGave(slot);
    const best = frontier([...bySlot.keys()], [m0, m1]);
    const slot = best[below(this.#random, best.length)] as number;
    this.#giver.gave(slot, 1);
    return bySlot.get(slot) as T;
  }

  /** The row of thread `id`, or null if it was never given anything, or has gone. */
  slotOf(id: number): number | null {
    return this.#slots.get(id) ?? null;
  }

  #candidates<T extends PoolThread>(abortable: boolean, threads: readonly T[]): readonly T[] {
    const living = threads.filter(({ terminating, destroyed }) => !terminating && !destroyed);
    const free = living.filter(({ currentUsage }) => currentUsage === 0);
    if (free.length > 0 || abortable) return free;
    return living.filter(
      ({ isRunningAbortableTask, currentUsage }) =>
        !isRunningAbortableTask && currentUsage < this.#usageMax,
    );
  }

  #slotOf(thread: PoolThread): number {
    const known = this.#slots.get(thread.id);
    if (known !== undefined) return known;
    const free = this.#threads.findIndex((holder) => holder === null || holder.destroyed);
    if (free === -1) {
      throw new RangeError(`the balancer was made for ${this.#threads.length} threads`);
    }
    for (const [id, slot] of this.#slots) if (slot === free) this.#slots.delete(id);
    this.#threads[free] = thread;
    this.#slots.set(thread.id, free);
    return free;
  }
}
