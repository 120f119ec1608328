/**
 * The standby workers. One is started when the governor finds that every worker stands
 * still, and ends when it was of no use for a while. Main thread only.
 *
 * A spare runs the same program as the workers. It accepts nothing by itself; connections
 * come from the governor, and it gives them back when a worker can serve them (see
 * src/workers/rounds.ts).
 */
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Slots } from './slots.js';
import type { WorkerHandle } from './worker-handle.js';

/** How long a spare that is given nothing stays. No evidence for more or less. */
const IDLE_MS = 60_000;

/** Spares in a row that may end by themselves before no more are started. */
const FAILURES_MAX = 3;

export class Spares {
  readonly #first: number;
  readonly #board: Scoreboard;
  readonly #spawn: (slot: number) => WorkerHandle;
  /** By slot; the first one is after those of the workers. */
  readonly #handles: (WorkerHandle | null)[];
  readonly #timers = new Map<WorkerHandle, NodeJS.Timeout>();
  readonly #retired = new WeakSet<WorkerHandle>();
  #failures = 0;
  #closed = false;

  /** @param spawn starts the one that is to have a slot; it throws a GyreError if it cannot */
  constructor(slots: Slots, board: Scoreboard, spawn: (slot: number) => WorkerHandle) {
    this.#first = slots.accepting;
    this.#board = board;
    this.#spawn = spawn;
    this.#handles = new Array(slots.spares).fill(null);
  }

  /** Those that run now. */
  get handles(): WorkerHandle[] {
    return this.#handles.filter((handle) => handle !== null);
  }

  /** The one that has `slot`. */
  at(slot: number): WorkerHandle | null {
    return this.#handles[slot - this.#first] ?? null;
  }

  /** Starts one. False if none can be had now. */
  start(): boolean {
    const slot = this.#handles.indexOf(null);
    if (slot < 0 || this.#closed || this.#failures >= FAILURES_MAX) return false;
    const handle = this.#spawn(this.#first + slot);
    this.#handles[slot] = handle;
    handle.on('message', ({ kind }) => {
      if (kind === 'up') this.#watch(handle, this.#board.read(handle.slot).received);
      if (kind === 'ready') this.#failures = 0;
    });
    handle.on('exit', () => {
      this.#handles[slot] = null;
      clearTimeout(this.#timers.get(handle));
      this.#timers.delete(handle);
      if (!this.#retired.has(handle)) this.#failures++;
    });
    return true;
  }

  /** Ends those that run: the program has changed. Others start when they are needed. */
  replace(): void {
    for (const handle of this.handles) this.#retire(handle);
  }

  /** No more are started. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  /** Retires `handle` when it was given nothing for a while and has nothing left. */
  #watch(handle: WorkerHandle, received: number): void {
    if (this.#retired.has(handle)) return;
    const timer = setTimeout(() => {
      const now = this.#board.read(handle.slot);
      if (now.received !== received || now.connections > 0) {
        this.#watch(handle, now.received);
        return;
      }
      this.#retire(handle);
    }, IDLE_MS);
    this.#timers.set(handle, timer.unref());
  }

  /** What it is still given in this moment it sends back when it no longer listens. */
  #retire(handle: WorkerHandle): void {
    if (this.#retired.has(handle)) return;
    this.#retired.add(handle);
    clearTimeout(this.#timers.get(handle));
    handle.retire(null);
    this.#timers.set(handle, setTimeout(() => handle.stop(), IDLE_MS).unref());
  }
}
