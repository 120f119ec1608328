/**
 * A worker from main's side, whether it is a thread or runs inline. Main thread only.
 */
import type { Readable } from 'node:stream';
import { stuckMs } from '../native.js';
import type { FromWorker, ToWorker } from '../protocol.js';
import type { WorkerStateName } from '../scheduler/layout.js';

/** How a worker ended. */
export interface WorkerExit {
  readonly code: number;
  /** What was thrown and not caught, if that was the reason. */
  readonly error: unknown;
}

export interface WorkerHandleEvents {
  message: [FromWorker];
  exit: [WorkerExit];
  /** It was terminated and does not end; it may yet. */
  lost: [];
}

export interface WorkerHandle {
  /** Number of the worker, which outlives this thread. */
  readonly index: number;
  /** Its rows in shared memory. */
  readonly slot: number;
  readonly cpu: number | null;
  /** Node's number of the thread; 0 is the main thread. */
  readonly threadId: number;
  /** Kernel thread id; null before it runs or where there is none. */
  readonly tid: number | null;
  readonly state: WorkerStateName;
  /** What wakes its loop; null before it runs or without the native helper. */
  readonly wakeId: number | null;
  /** The last `listen()` that failed in it. */
  readonly listenError: Error | null;
  on<K extends keyof WorkerHandleEvents>(
    event: K,
    listener: (...args: WorkerHandleEvents[K]) => void,
  ): this;
  send(message: ToWorker): void;
  /** Whether the application in it listens for `signal`. */
  handles(signal: NodeJS.Signals): boolean;
  /** Hands `signal` to the application. */
  signal(signal: NodeJS.Signals): void;
  /** Whether its end is nobody's fault: it was told to, or had nothing left to do. */
  readonly endIsExpected: boolean;
  /**
   * Tells it to stop listening, finish what is in flight, and exit.
   *
   * @param serve whether it listens until nothing is in flight
   */
  drain(serve?: boolean): void;
  /** Like {@link drain}, but what can move goes to slot `heir`; null: to anybody. */
  retire(heir: number | null): void;
  /** Ends it now. */
  stop(): void;
  /**
   * How long its loop has slept in epoll, in ms. Known from outside, whatever it does; null when
   * it has ended.
   */
  loopIdleMs(): number | null;
  /**
   * Its heap, as Chrome's DevTools read it. Resolves when it has a moment for that; it then stands
   * still for as long as it takes.
   *
   * @throws Error if it has ended
   */
  heapSnapshot(): Promise<Readable>;
  /** Ends its thread, which does not answer. */
  terminate(): void;
  /** It was terminated, and has not ended for so long that nobody waits for it. */
  readonly lost: boolean;
  /** Resolves when it has ended, or is lost. */
  ended(): Promise<void>;
}

/**
 * For how long it has not returned to its loop, in ms; 0 while it sleeps there. Seen from outside, so
 * it is true of one that answers nobody.
 */
export function stuckMsOf({ state, wakeId }: Pick<WorkerHandle, 'state' | 'wakeId'>): number {
  return wakeId === null || state === 'exited' ? 0 : stuckMs(wakeId);
}
