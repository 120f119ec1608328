/**
 * Finds workers that hang, that is, do not return to their event loop for `hangMs`. Main thread only.
 *
 * Somebody tells of a worker that stands still: the governor or, where there is none, a look at all of
 * them now and then. It is looked at when its time is over, and once more a moment later. Nothing
 * here runs while nobody stands still, but for those looks.
 */
import { stuckMsOf, type WorkerHandle } from './worker-handle.js';

/** How often heartbeats are read where nobody says who stands still: a share of `hangMs`. */
const LOOKS = 4;
const LOOK_MAX_MS = 1_000;
/** How long a worker that seems to hang is looked at again: the whole process may have stood still. */
const HANG_SURE_MS = 100;

export interface HangWatchOptions {
  /** 0: nobody ever hangs. */
  readonly hangMs: number;
  /** How long a worker that loads its program may take. */
  readonly startMs: number;
}

export class HangWatch {
  readonly #options: HangWatchOptions;
  readonly #found: (worker: WorkerHandle, stuckMs: number) => Promise<void>;
  readonly #suspects = new Map<WorkerHandle, NodeJS.Timeout>();
  /** Those that were found, until that has settled. */
  readonly #hung = new Set<WorkerHandle>();
  #looks: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param found hears of each that hangs, once; not again before what it returns has settled */
  constructor(
    options: HangWatchOptions,
    found: (worker: WorkerHandle, stuckMs: number) => Promise<void>,
  ) {
    this.#options = options;
    this.#found = found;
  }

  /** Looks by itself, where nobody calls {@link stalled}. */
  lookAt(workers: () => readonly WorkerHandle[]): void {
    const { hangMs } = this.#options;
    if (hangMs === 0 || this.#closed) return;
    const every = Math.min(hangMs / LOOKS, LOOK_MAX_MS);
    const look = () => {
      for (const worker of workers()) if (stuckMsOf(worker) >= every) this.stalled(worker);
    };
    this.#looks = setInterval(look, every).unref();
  }

  /** `worker` stands still; if it does so for `hangMs`, it is found. */
  stalled(worker: WorkerHandle): void {
    const limit = this.#limitMsOf(worker);
    if (limit === null || this.#closed || worker.state === 'exited' || worker.lost) return;
    if (this.#suspects.has(worker) || this.#hung.has(worker)) return;
    // Timers cut fractions off, and nobody tells of the same stall a second time.
    const wait = Math.max(Math.ceil(limit - stuckMsOf(worker)) + 1, 0);
    const look = () => {
      this.#suspects.delete(worker);
      if (!this.hangs(worker)) return;
      this.#suspects.set(
        worker,
        setTimeout(() => {
          this.#suspects.delete(worker);
          if (this.hangs(worker)) this.#tell(worker);
        }, HANG_SURE_MS),
      );
    };
    this.#suspects.set(worker, setTimeout(look, wait).unref());
  }

  /**
   * Whether `worker` hangs. If it stands still in something else by now, of which nobody tells
   * while it is suspected of the first, that is looked at in its turn.
   */
  hangs(worker: WorkerHandle): boolean {
    const stuck = stuckMsOf(worker);
    const limit = this.#limitMsOf(worker);
    if (stuck === 0 || limit === null || this.#closed) return false;
    if (stuck >= limit) return true;
    this.stalled(worker);
    return false;
  }

  /** The thread of `worker` has ended. */
  ended(worker: WorkerHandle): void {
    clearTimeout(this.#suspects.get(worker));
    this.#suspects.delete(worker);
  }

  /** Nobody is found any more. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#looks);
    for (const timer of this.#suspects.values()) clearTimeout(timer);
    this.#suspects.clear();
  }

  async #tell(worker: WorkerHandle): Promise<void> {
    this.#hung.add(worker);
    await this.#found(worker, stuckMsOf(worker));
    this.#hung.delete(worker);
  }

  /** One that loads its program may take as long as it may to listen. Null: for ever. */
  #limitMsOf({ state }: WorkerHandle): number | null {
    const { hangMs, startMs } = this.#options;
    if (hangMs === 0 || (state === 'starting' && startMs === Number.POSITIVE_INFINITY)) return null;
    return state === 'starting' ? Math.max(hangMs, startMs) : hangMs;
  }
}
