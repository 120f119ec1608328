/**
 * A worker as its operator sees it: a number and a CPU. Threads come and go on it. Main thread only; it
 * starts and ends nobody, and knows who is there.
 *
 *     current   the thread that serves, or is to; dead for a moment after its death
 *     next      its replacement, which does not listen yet
 *     leaving   the thread that was replaced, until its last connection has gone
 *
 * Each seat has two slots of shared memory, so there are never more than two threads on it:
 * while one is leaving, a replacement waits.
 */
import { Backoff } from './backoff.js';
import type { WorkerHandle } from './worker-handle.js';

/**
 * How soon a worker that has died is started again. Who served for a second did not die of how it starts.
 * No evidence for more or less.
 */
const BACKOFF = { livedMs: 1_000, firstMs: 100, maxMs: 10_000 };
/** So that workers which died together do not start together. */
const JITTER = 0.25;

export class Seat {
  readonly index: number;
  readonly cpu: number | null;
  current: WorkerHandle | null = null;
  next: WorkerHandle | null = null;
  leaving: WorkerHandle | null = null;
  /** When its latest thread was started. */
  startedAt = 0;
  /** Settles when the last replacement has been made. */
  replacing: Promise<void> = Promise.resolve();
  /** Settles when a replacement that starts has taken over, or has failed. */
  taking: Promise<void> = Promise.resolve();
  /** One starts of which that depends: if it fails, and its predecessor has died, another starts. */
  takes = false;
  readonly #backoff = new Backoff(BACKOFF);
  #servesSince: number | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(index: number, cpu: number | null) {
    this.index = index;
    this.cpu = cpu;
  }

  /** Those that have not ended. */
  get threads(): WorkerHandle[] {
    return [this.current, this.next, this.leaving]
      .filter((thread) => thread !== null)
      .filter(({ state }) => state !== 'exited');
  }

  at(slot: number): WorkerHandle | null {
    const { current, next, leaving } = this;
    return [next, current, leaving].find((thread) => thread?.slot === slot) ?? null;
  }

  /** The slot of the thread that `slot` is to replace, while both run. */
  replaces(slot: number): number | null {
    const { current, next, leaving } = this;
    if (next?.slot === slot) return current?.slot ?? null;
    return current?.slot === slot ? (leaving?.slot ?? null) : null;
  }

  /** Whether a timer is to start another. */
  get waits(): boolean {
    return this.#timer !== null;
  }

  /** `worker` listens. */
  serves(worker: WorkerHandle): void {
    if (this.current === worker) this.#servesSince = performance.now();
  }

  /** `worker` has the place of one that has ended, or is lost. */
  succeed(worker: WorkerHandle): void {
    this.stopWaiting();
    if (this.current?.lost) this.leaving = this.current;
    this.current = worker;
  }

  /** The replacement takes over. */
  promote(): void {
    this.current = this.next;
    this.next = null;
    this.#servesSince = this.current?.state === 'serving' ? performance.now() : null;
  }

  /** The thread that serves has replaced one that lived: how its predecessors died is forgotten. */
  forgive(): void {
    this.#backoff.reset();
  }

  /**
   * Has `start` called when it is time to start another in the place of one that has died.
   *
   * @param random from 0 to 1
   * @returns after how long, in ms
   */
  startAgain(start: () => void, random: () => number): number {
    const served = this.#servesSince === null ? 0 : performance.now() - this.#servesSince;
    this.#servesSince = null;
    const backoff = this.#backoff.after(served);
    const delay = backoff === 0 ? 0 : backoff * (1 + JITTER * (2 * random() - 1));
    this.stopWaiting();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      start();
    }, delay);
    return Math.round(delay);
  }

  stopWaiting(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Resolves when nobody is leaving who will ever have left, so that a slot is free. */
  async freed(): Promise<void> {
    if (this.leaving !== null) await this.leaving.ended();
  }
}
