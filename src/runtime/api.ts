/**
 * What `createRuntime` gives: the runtime as its user sees it. Types only.
 */
import type { EventEmitter } from 'node:events';
import type { GyreError } from '../errors.js';
import type { RunOptions } from '../job-request.js';
import type { ListenAddress, TracedMove } from '../protocol.js';
import type { WorkerStateName } from '../scheduler/layout.js';
import type { WorkerRow } from '../scheduler/worker-row.js';
import type { Blamed } from './blame.js';
import type { Capabilities } from './capabilities.js';
import type { MoveCount } from './move-counts.js';
import type { SourceFailure, SourceInfo, Sources } from './sources/api.js';

/** A worker as `runtime.workers` lists it. */
export interface WorkerInfo {
  /**
   * 0 to the number of workers less 1; a spare has a number behind those. Its successor has the
   * same.
   */
  readonly index: number;
  /** CPU it is pinned to, or null. A soft pin may give way for a while: see the event `widen`. */
  readonly cpu: number | null;
  /** Node's number of its thread; 0 for `workers: 'inline'`. */
  readonly threadId: number;
  /** Kernel thread id, as top shows it; null before it runs and where there is none. */
  readonly tid: number | null;
  /** `starting` until it listens, then `serving`; `draining` when it is to end; `exited`. */
  readonly state: WorkerStateName;
  /** Whether it is a spare. */
  readonly spare: boolean;
  /**
   * For how long it has not returned to its event loop, in ms; 0 while it waits there. Read
   * from outside, so it is true of a worker that answers nobody.
   */
  readonly stuckMs: number;
}

/** A thread of the job pool. */
export interface JobThreadInfo {
  /** Node's number of it. */
  readonly threadId: number;
  /** Kernel thread id; null before it runs and where there is none. */
  readonly tid: number | null;
  /** CPU that it is bound to, or null. */
  readonly cpu: number | null;
  /** Whether it has a job. */
  readonly busy: boolean;
}

/** The job pool at one moment. Counts are since the runtime started. */
export interface JobsSnapshot {
  /** Jobs that were asked for: by workers and by `runtime.run()`. */
  readonly asked: number;
  /** Those whose function returned. */
  readonly finished: number;
  /** Those whose function threw, or could not be loaded. */
  readonly failed: number;
  /** Those whose thread ended, or did not start. */
  readonly crashed: number;
  /** Those that were cancelled: by their signal, the end of their worker, or `close()`. */
  readonly cancelled: number;
  /** Those that found the queue full. */
  readonly refused: number;
  /** Jobs that wait for a thread now. */
  readonly waiting: number;
  /** Jobs that were handed to a thread, and are not over. */
  readonly running: number;
  /** Threads that run now. */
  readonly threads: readonly JobThreadInfo[];
  /**
   * How many jobs waited how long for a thread: `[0]` counts those of less than 1 ms, `[i]` those
   * of less than `2 ** i` ms and not less than half of that; the last has no upper bound.
   */
  readonly waitsByMs: readonly number[];
  /** How many ran how long, in the same way. */
  readonly runsByMs: readonly number[];
}

/** The scoreboard at one moment. */
export interface Snapshot {
  /** `performance.now()` of the main thread, in ms. */
  readonly takenAtMs: number;
  /** Workers, by their number. */
  readonly workers: readonly WorkerRow[];
  /** Spares that run. */
  readonly spares: readonly WorkerRow[];
  /** Which workers gave connections to which others. Not in any order. */
  readonly moves: readonly MoveCount[];
  /** Functions that workers stood still in, with the option `blame`; the most frequent first. */
  readonly blamed: readonly Blamed[];
  /** The job pool. */
  readonly jobs: JobsSnapshot;
  /** `runtime.sources.list()`. */
  readonly sources: readonly SourceInfo[];
}

/**
 * Why a thread of a worker has ended.
 *
 * - died: an uncaught error, `process.exit()`, or out of memory
 * - finished: by itself, with nothing left to do
 * - replaced: after a reload, a hang or a full heap, or by `resize()`
 * - not-started: it was to replace another, and did not come to listen
 * - closed: the runtime closes
 */
export type EndReason = 'died' | 'finished' | 'replaced' | 'not-started' | 'closed';

/** A worker that has ended. */
export interface WorkerEnd {
  /** Who has ended. */
  readonly worker: WorkerInfo;
  /** Exit code: of `process.exit()` in it, 1 after an uncaught error. */
  readonly code: number;
  /** The uncaught error as {@link GyreError} with the original as `cause`, or null. */
  readonly error: GyreError | null;
  /** Why. */
  readonly reason: EndReason;
  /** After how many ms another thread is started in its place; null: none is. */
  readonly restartInMs: number | null;
}

/** A worker that did not return to its event loop for `hangMs`. */
export interface WorkerHang {
  /** Who hangs. */
  readonly worker: WorkerInfo;
  /** For how long it has not returned to its event loop, in ms. */
  readonly stuckMs: number;
  /** What it was executing, innermost first, as `function (url:line)`; null: could not be seen. */
  readonly stack: readonly string[] | null;
}

/** A worker that stood still while others waited for it, with the option `blame`. */
export interface WorkerStall {
  /** Who stood still. */
  readonly worker: WorkerInfo;
  /** What it was executing, innermost first, as `function (url:line)`. */
  readonly stack: readonly string[];
}

/** A worker whose heap is nearly full. */
export interface WorkerRecycling {
  /** Who is replaced. */
  readonly worker: WorkerInfo;
  /** Share of its heap limit that was in use. */
  readonly heapRatio: number;
}

/** A worker that may run on other CPUs than before, with `pin: 'soft'`. */
export interface WorkerRepinning {
  /** Whose pin it is. */
  readonly worker: WorkerInfo;
  /** Rings of CPUs around its own on which it may run; 0: it is back on its own. */
  readonly rings: number;
  /** Its own CPU and theirs, ascending. */
  readonly cpus: readonly number[];
}

/**
 * Connections that went from one worker to another, and why to that one, with
 * `scheduler: { trace: true }`. Not those of a worker that ends: all of them go, to whoever has fewest.
 */
export interface WorkerMove extends TracedMove {
  /** Number of the worker, or spare, that had them; `to` is who has them now. */
  readonly from: number;
  /** Which of the rings around `from`, the nearest being 1, has `to`; null: one of them is a spare. */
  readonly ring: number | null;
}

/** Events of a {@link Runtime}, and what their listeners are given. */
export interface RuntimeEvents {
  /** A worker's thread runs. */
  worker: [worker: WorkerInfo];
  /** A worker listens on an address. Once for each worker and address. */
  listening: [address: ListenAddress, worker: WorkerInfo];
  /** A worker has ended, for whatever reason. */
  exit: [end: WorkerEnd];
  /**
   * A worker died of an uncaught error, or another failure of a worker. Without a listener the
   * error is written to stderr. In either case the others go on, unless the code is
   * ERR_GYRE_RESTARTS: then the runtime closes.
   */
  error: [error: GyreError];
  /** A worker hangs and is about to be replaced. */
  hang: [hang: WorkerHang];
  /** A worker stood still while something waited for it. Only with the option `blame`. */
  stall: [stall: WorkerStall];
  /** Connections went from one worker to another. Only with `scheduler: { trace: true }`. */
  move: [move: WorkerMove];
  /** A worker's heap is nearly full, and it is about to be replaced. */
  recycle: [recycling: WorkerRecycling];
  /** Other processes keep a worker from its CPUs: it may now run on the next ring, too. */
  widen: [repinning: WorkerRepinning];
  /** There is room again on the CPUs within its outermost ring: it lost that. */
  narrow: [repinning: WorkerRepinning];
  /** Every worker was replaced, by `reload()`. */
  reload: [];
  /**
   * A firing of a source was not handled as it should. Without a listener a warning says so, once
   * for each name and code.
   */
  failure: [failure: SourceFailure];
  /** Everything has ended: no thread, socket or timer is left. */
  close: [];
}

/** Options of {@link Runtime.close}. */
export interface CloseOptions {
  /**
   * How long to wait for what is in flight, in ms. 0: not at all; Infinity: as long as
   * it takes. Default: the option `drainMs` of `createRuntime`.
   */
  drainMs?: number;
}

/** Options of {@link Runtime.reload}. */
export interface ReloadOptions {
  /** The program that the new workers run, and every later one. Default: as before. */
  entry?: string | URL;
  /**
   * How long what cannot move may live on in an old worker, in ms, as WebSockets and long
   * answers. 0: not at all; Infinity: as long as it takes. Default: the option `drainMs`.
   */
  drainMs?: number;
}

/** Where operators look; see the options `admin` and `agentCheck`. */
export interface AdminAddresses {
  /** Of the admin endpoint; null: there is none. */
  readonly endpoint: ListenAddress | null;
  /** Of the agent check; null: there is none. */
  readonly agentCheck: ListenAddress | null;
}

/** `starting`: createRuntime has not resolved; `closed`: nothing is left. */
export type RuntimeState = 'starting' | 'serving' | 'closing' | 'closed';

/** The running whole, as `createRuntime` resolves to it. */
export interface Runtime extends EventEmitter<RuntimeEvents> {
  /** Where the workers listen now. */
  readonly addresses: readonly ListenAddress[];
  /** Workers, by their number. Spares are not among them. */
  readonly workers: readonly WorkerInfo[];
  /** Standby workers that run now; see the option `spares`. */
  readonly spares: readonly WorkerInfo[];
  /** What this system can do, and, of what it cannot, why. */
  readonly capabilities: Capabilities;
  /** Where the admin endpoint and the agent check listen. */
  readonly admin: AdminAddresses;
  /** Timers, signals, paths, descriptors, datagrams, and what is emitted. */
  readonly sources: Sources;
  /** `serving` from when `createRuntime` resolves until `close()` or a signal. */
  readonly state: RuntimeState;
  /** Signals that the application listens for, in any worker. */
  readonly handledSignals: readonly NodeJS.Signals[];
  /** Whether a balancer should send connections: it serves, and some worker listens. */
  readonly ready: boolean;
  /** The scoreboard now. Words may be from slightly different moments. */
  snapshot(): Snapshot;
  /**
   * Runs a CPU-bound function in a thread of the job pool, with a copy of `value`, and resolves to a
   * copy of what it returns. `run()` of `gyre/worker` is the same for workers.
   *
   * Rejects with what the function throws, as Piscina does: of an error another thread gets name,
   * message, stack and cause. With an `AbortError` if `signal` is aborted. And with a GyreError:
   * `ERR_GYRE_JOB_UNKNOWN`, `ERR_GYRE_JOB_VALUE`, `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
   * or `ERR_GYRE_CLOSED` before anything is done, `ERR_GYRE_JOB_QUEUE_FULL` if too many wait, or
   * `ERR_GYRE_JOB_CRASHED` if its thread ended.
   *
   * @param job a name of the option `jobs`, or a `file:` URL, of which `#name` is an export
   * @param value anything that `postMessage()` takes; copied at the call
   */
  run<Result = unknown>(job: string | URL, value?: unknown, options?: RunOptions): Promise<Result>;
  /**
   * Replaces every worker, one after the other, by one that has loaded the program anew. Each
   * replacement listens before the old one gives it all connections that can move, answers what
   * is in flight, and ends: clients notice nothing. Resolves when the last old one has ended.
   * Calls of this and {@link resize} are carried out one after the other.
   *
   * @throws GyreError `ERR_GYRE_RELOAD` if a replacement does not start: the worker that it was to
   *   replace goes on, and so do those that have not been replaced. `ERR_GYRE_STUCK` if an earlier
   *   thread of a worker does not end. `ERR_GYRE_ENTRY_MISSING`, `ERR_GYRE_CLOSED`,
   *   `ERR_GYRE_OPTION_INVALID`
   */
  reload(options?: ReloadOptions): Promise<void>;
  /**
   * Changes the number of workers, up to the option `maxWorkers`. Workers that go give their
   * connections to those that stay. Resolves when all that were added listen and all that
   * were to go have ended.
   *
   * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_CLOSED`, or what kept a new worker
   *   from starting: then there are as many as before
   */
  resize(workers: number): Promise<void>;
  /**
   * Stops accepting, answers what is in flight, and ends every worker; after
   * `drainMs` whatever is left is cut off. Resolves when no thread, descriptor or
   * timer is left. Further calls return the same promise.
   *
   * @throws GyreError `ERR_GYRE_STUCK` if a thread has not ended 5 s after it was terminated, because it
   *   is in a system call that does not return. Everything else is closed then. Node waits for all
   *   threads when a process ends, so such a one ends by SIGKILL only.
   */
  close(options?: CloseOptions): Promise<void>;
}
