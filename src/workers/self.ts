/**
 * Who the calling thread is. Kept on the global object under a registered symbol,
 * so that a server which imports its own copy of gyre sees the same as the copy
 * that started it.
 */

/** What a worker knows of itself. Frozen. */
export interface WorkerSelf {
  /** 0 to `count` - 1. */
  readonly index: number;
  /** CPU that this thread is pinned to, or null if it is not. */
  readonly cpu: number | null;
  /** How many workers the runtime was started with. */
  readonly count: number;
}

const KEY = Symbol.for('gyre.worker');
const holder = globalThis as unknown as Record<symbol, WorkerSelf | undefined>;

/** Called once, by the bootstrap, before any user code. */
export function setSelf(self: WorkerSelf | null): void {
  if (self === null) delete holder[KEY];
  else Object.defineProperty(holder, KEY, { value: Object.freeze(self), configurable: true });
}

/** This thread's worker, or null on a thread that gyre did not start. */
export function getSelf(): WorkerSelf | null {
  return holder[KEY] ?? null;
}
