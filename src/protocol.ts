/**
 * The messages between main and the threads that it starts, and what each of these is given at its
 * start: workers, the threads of the job pool, the governor. Types only.
 *
 * Two ports connect main with each worker. On the *requests* port the worker
 * asks and waits, blocked, for the one answer: `server.listen()` and
 * `server.close()` must have taken effect when they return, as they have in a
 * single process. On the *control* port nobody waits.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ArenaHandle, ArenaRequest } from './arena-registry.js';
import type { EventKind, Handled, Handling } from './events.js';
import type { JobNames, JobRef } from './job-request.js';
import type { Limits } from './scheduler/limits.js';
import type { Entry } from './scheduler/mailbox.js';
import type { Rings } from './scheduler/neighbourhood.js';
import type { Offer } from './scheduler/offers.js';
import type { Nearness } from './scheduler/topology.js';

/** What a worker is started with. */
export interface WorkerInit {
  /** Its number as the application sees it: the same after a restart or reload. */
  readonly index: number;
  /** Its rows in shared memory: src/runtime/slots.ts. */
  readonly slot: number;
  /** How many workers the runtime was started with, as the application sees it. */
  readonly count: number;
  /** Slots of workers that accept by themselves; that of a spare is not below it. */
  readonly accepting: number;
  /** Share of its heap limit from which on it says so; 0: never. */
  readonly heapRatio: number;
  /** Whether it counts its requests, and how long its iterations take, for src/admin. */
  readonly timed: boolean;
  /** Whether it times requests as well. */
  readonly timesRequests: boolean;
  /** CPU it is pinned to, or null. */
  readonly cpu: number | null;
  /** CPUs the process was started with; null where the helper cannot tell. */
  readonly inherited: readonly number[] | null;
  /** What os.availableParallelism() says on main: a pinned thread is told 1. */
  readonly parallelism: number;
  readonly entry: string;
  readonly args: readonly string[];
  readonly threadName: string;
  readonly scoreboard: Int32Array<SharedArrayBuffer>;
  /** Null where connections do not move. */
  readonly moving: MovingInit | null;
  /** Which firings its handlers have begun: src/scheduler/offers.ts. */
  readonly offers: Int32Array<SharedArrayBuffer>;
  readonly overload: OverloadInit;
  /** Whether main opens the sockets; without the helper the worker does it itself. */
  readonly sharesListeners: boolean;
  readonly requests: MessagePort;
  readonly control: MessagePort;
  /** One word: how many answers main has posted on `requests`. */
  readonly answered: Int32Array<SharedArrayBuffer>;
  readonly stdio: { readonly stdout: TerminalShape | null; readonly stderr: TerminalShape | null };
  readonly jobs: JobNames;
}

/** What a worker needs to know when it has enough to do. */
export interface OverloadInit {
  readonly limits: Limits;
  /** What becomes of new connections, and requests, beyond them. */
  readonly overload: 'wait' | 'refuse';
  /** Soft limit of the process on descriptors; Infinity where that is not known. */
  readonly descriptorsMax: number;
}

/** What a worker needs so that connections can move. */
export interface MovingInit {
  readonly mailboxes: Int32Array<SharedArrayBuffer>;
  readonly table: Int32Array<SharedArrayBuffer>;
  /** Of each slot of a worker that accepts by itself. */
  readonly rings: readonly Rings[];
  readonly roundMs: number;
  readonly batchMax: number;
  readonly seed: number;
  readonly chaos: boolean;
  /** Whether main hears of each move. */
  readonly trace: boolean;
}

/** Size of the terminal that a stream of main is, for the worker's copy of that stream. */
export interface TerminalShape {
  readonly columns: number;
  readonly rows: number;
}

/** What `server.listen()` asks for, in the terms of net.Server's own set-up. */
export type ListenRequest =
  | {
      readonly kind: 'tcp';
      /** Numeric address, or null for every address of the machine. */
      readonly address: string | null;
      readonly family: 4 | 6;
      readonly port: number;
      /** TCP_IPV6ONLY and TCP_REUSEPORT. */
      readonly flags: number;
      readonly backlog: number;
    }
  | { readonly kind: 'unix'; readonly path: string; readonly backlog: number }
  | { readonly kind: 'fd'; readonly fd: number; readonly backlog: number };

/** Where a server listens, as `server.address()` would say it. */
export type ListenAddress =
  | {
      /** Of `address`. */
      readonly family: 'IPv4' | 'IPv6';
      /** Numeric; `0.0.0.0` and `::` are every address of the machine. */
      readonly address: string;
      /** 1 to 65,535. */
      readonly port: number;
    }
  | {
      /** A Unix socket. */
      readonly family: 'unix';
      /** As it was named; an abstract name begins with NUL. */
      readonly path: string;
    };

export type Request =
  | { readonly kind: 'open'; readonly listen: ListenRequest }
  /**
   * `fds` were closed by the worker. With `grant`, its server stopped listening, and main
   * closes the descriptors for it that the worker has not seen yet.
   */
  | { readonly kind: 'release'; readonly grant: number | null; readonly fds: readonly number[] }
  | { readonly kind: 'arena'; readonly arena: ArenaRequest };

/** The answer to `open`. The worker owns `fd` and `handleFd` from here on. */
export interface Opened {
  readonly ok: true;
  readonly grant: number;
  /** Number of the listener: the same in every worker that accepts for it. */
  readonly listener: number;
  /** -1: the worker is a spare, which accepts nothing by itself. */
  readonly fd: number;
  /** The same socket once more, for the server's handle, which accepts nothing; -1 of a spare. */
  readonly handleFd: number;
  /** Whether its connections may move, as far as the options say. */
  readonly moves: boolean;
  /** Length of the accept queue: what the request names, or the runtime's. */
  readonly backlog: number;
  /** What the socket is bound to, for the server's connection key. */
  readonly address: ListenAddress;
}

/** A refusal, with what node would name in its error. */
export interface Refused {
  readonly ok: false;
  /** -errno */
  readonly errno: number;
  readonly address: string | null;
  readonly family: number;
  readonly port: number;
}

/** The answer to `arena`: it, or the error. */
export type ArenaReply =
  | { readonly ok: true; readonly arena: ArenaHandle }
  | { readonly ok: false; readonly code: string; readonly message: string };

export type OpenReply = Opened | Refused;
export type Reply = OpenReply | ArenaReply | { readonly ok: true; readonly released: true };

/** The fields of a system error that are lost when it is posted. */
export interface SystemFields {
  readonly code?: string | undefined;
  readonly errno?: number | undefined;
  readonly syscall?: string | undefined;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

export type FromWorker =
  /** The thread runs and is about to load the entry. */
  | { readonly kind: 'up'; readonly tid: number | null; readonly wakeId: number | null }
  /** At least one server listens and no `listen()` is pending. */
  | { readonly kind: 'ready' }
  /** A server listens, or no longer does, on something that main did not open. */
  | { readonly kind: 'own'; readonly address: ListenAddress; readonly listening: boolean }
  /**
   * A connection came for a listener that nobody accepts for here any more, or whose
   * server has as many as it will take (`full`).
   */
  | { readonly kind: 'undeliverable'; readonly entry: Entry; readonly full: boolean }
  /** Something was put into the mailbox of `worker`, which is gone. */
  | { readonly kind: 'left'; readonly worker: number }
  /** A `listen()` failed; the application may or may not handle it. */
  | { readonly kind: 'listen-failed'; readonly error: Error; readonly system: SystemFields }
  /** The application began or ceased to listen for a signal. */
  | { readonly kind: 'signal-interest'; readonly signal: NodeJS.Signals; readonly on: boolean }
  /** It called `process.exit()`: it does not end because it had nothing left to do. */
  | { readonly kind: 'exiting' }
  /** It uses more of its heap than it should. */
  | { readonly kind: 'heap'; readonly ratio: number }
  /** It gave connections away: where moves are traced. */
  | { readonly kind: 'moved'; readonly move: TracedMove }
  /** Run a job: its value waits in `port`, where its outcome is to go. */
  | { readonly kind: 'job'; readonly id: number; readonly ref: JobRef; readonly port: MessagePort }
  /** Nobody wants the outcome of a job any more. */
  | { readonly kind: 'job-cancel'; readonly id: number }
  | EventFromWorker
  | Report;

/** One move, and why it was made: where `scheduler.trace` is on. Workers are slots. */
export interface TracedMove {
  /** Who had them. */
  readonly from: number;
  /** Who got them. */
  readonly to: number;
  /** What made the giver give. */
  readonly reason: MoveReason;
  /** Events that the giver had, the one that it stood still in included. */
  readonly events: number;
  /** How many of them went. */
  readonly moved: number;
  /**
   * Of the recipient, as the scheduler's Move has it. Of a return: how many slept, and how many
   * of these were given something.
   */
  readonly outstanding: number;
  /** Rounds since the giver last gave to the recipient. */
  readonly roundsSinceGave: number;
  /** Neighbours that would not have been worse off than the giver. */
  readonly candidates: number;
  /** Those of them that no other was better than: one was drawn. */
  readonly best: number;
  /** For how long the giver was paused, in µs; 0: it made the move itself. */
  readonly pauseUs: number;
}

/**
 * - round: a long iteration was over, and more than one event waited
 * - overload: it had hardly slept for a while, because of short events
 * - return: a spare gave back what a worker could serve
 * - rescue: it stood still, and the governor made the move
 */
export type MoveReason = 'round' | 'overload' | 'return' | 'rescue';

/** What only the worker itself knows: the answer to `report`. */
export interface Report {
  readonly kind: 'report';
  readonly id: number;
  readonly heapUsedBytes: number;
  readonly heapLimitBytes: number;
  /**
   * The application's own metrics, as prom-client's getMetricsAsJSON() gives them; null if they
   * were not asked for.
   */
  readonly metrics: readonly MetricObject[] | null;
  /** Why some of them are missing, or null. */
  readonly failure: string | null;
}

/** What prom-client says of one metric. */
export interface MetricObject {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: string;
  readonly values: readonly MetricValue[];
}

export interface MetricValue {
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it is not the metric's own, as that of a bucket. */
  readonly metricName?: string;
}

export type ToWorker =
  /** Stop listening, answer what is in flight, then exit. `serve`: listen until nothing is. */
  | { readonly kind: 'drain'; readonly serve: boolean }
  /**
   * Stop listening, give every connection that can move to `heir`, or to anybody where that is
   * null, answer what is in flight, then exit.
   */
  | { readonly kind: 'retire'; readonly heir: number | null }
  /** Exit now. */
  | { readonly kind: 'stop' }
  /** Tell what only you know; with `metrics`, also those of the application. */
  | { readonly kind: 'report'; readonly id: number; readonly metrics: boolean }
  /** The process received a signal that the application listens for. */
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  /** Also accept from `fd`, whose worker stopped. Void if the worker gave the grant back. */
  | { readonly kind: 'adopt'; readonly grant: number; readonly fd: number }
  /** No longer accept from `fd`: another worker does again. */
  | { readonly kind: 'yield'; readonly grant: number; readonly fd: number }
  | JobFailure
  | EventToWorker;

/** A job of this worker has no outcome: it was refused, or its thread has ended. */
export interface JobFailure {
  readonly kind: 'job-failed';
  readonly id: number;
  readonly code: string;
  readonly message: string;
  readonly cause?: unknown;
}

/** What a thread of the job pool is started with. */
export interface JobThreadInit {
  readonly name: string;
  /** It binds itself to the one that fewest threads have; null: to none. */
  readonly cpus: readonly number[] | null;
  readonly inherited: readonly number[] | null;
  /** What os.availableParallelism() says on main. */
  readonly parallelism: number;
  readonly niceIncrement: number;
}

/** One job, for a thread of the pool. */
export interface JobTask extends JobRef {
  /** Of a job of the main thread. */
  readonly value?: unknown;
  /** Of a job of a worker: the value waits in it, and the outcome goes there. */
  readonly port?: MessagePort;
}

/** What goes back to a worker. */
export type JobOutcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: unknown };

/** Where a thread of the job pool is. Its only message beside those of Piscina. */
export interface FromJobThread {
  readonly kind: 'job-thread';
  readonly thread: number;
  readonly tid: number | null;
  readonly cpu: number | null;
}

/** An error on its way to another thread, which does not keep what it has beyond this. */
export interface PostedError {
  /** An Error, or what else was thrown, in words if it cannot be cloned. */
  readonly value: unknown;
  readonly code: string | null;
}

/** What became of an emitted event. */
export type Emitted =
  | { readonly handled: Handled }
  | { readonly code: string; readonly message: string; readonly cause: PostedError | null };

/** What a worker says of events. */
export type EventFromWorker =
  /** It has a handler for `name`, or no longer. */
  | { readonly kind: 'handles'; readonly name: string; readonly on: boolean }
  /** A handler has settled; with an error if it threw or rejected. */
  | {
      readonly kind: 'settled';
      readonly id: number;
      readonly offer: Offer;
      readonly error: PostedError | null;
    }
  /** An offered firing was begun by nobody: there is no handler for it here any more. */
  | { readonly kind: 'declined'; readonly id: number; readonly offer: Offer }
  /** The application emits; `emitted` answers. */
  | {
      readonly kind: 'emit';
      readonly call: number;
      readonly name: string;
      readonly payload: unknown;
      readonly handling: Handling;
    }
  /** A handler closes the source of its event. */
  | { readonly kind: 'close-source'; readonly source: number }
  /** It reads no more datagrams for `source`, and the handlers of all that it read have settled. */
  | { readonly kind: 'reads-no-more'; readonly source: number }
  /** Handlers of `times` datagrams have failed; the error is of the last one. */
  | {
      readonly kind: 'datagrams-failed';
      readonly source: number;
      readonly times: number;
      readonly error: PostedError;
    };

/** What main says of events. */
export type EventToWorker =
  /** Handle this, unless it has been taken back. Always answered by `settled` or `declined`, if not. */
  | {
      readonly kind: 'event';
      readonly id: number;
      readonly offer: Offer;
      readonly source: number;
      readonly event: EventKind;
      readonly name: string;
      readonly attempt: number;
      readonly payload: unknown;
    }
  /** The firing has timed out. */
  | { readonly kind: 'abandon'; readonly id: number }
  /** Read datagrams from `fd`, which stays main's, until told not to. */
  | {
      readonly kind: 'read';
      readonly source: number;
      readonly name: string;
      readonly fd: number;
      /** src/scheduler/receptions.ts */
      readonly receptions: Int32Array<SharedArrayBuffer>;
      /** Handlers that may be at work at once. */
      readonly inFlightMax: number;
    }
  /** Answered by `reads-no-more`. */
  | { readonly kind: 'stop-reading'; readonly source: number }
  | { readonly kind: 'emitted'; readonly call: number; readonly outcome: Emitted }
  /** No source fires any more. */
  | { readonly kind: 'no-more-events' };

/** What the governor is started with. */
export interface GovernorInit extends Omit<MovingInit, 'roundMs'> {
  readonly name: string;
  readonly scoreboard: Int32Array<SharedArrayBuffer>;
  readonly limits: Limits;
  readonly tickMs: number;
  /** What it has taken and not yet passed on: src/scheduler/layout.ts. */
  readonly hands: Int32Array<SharedArrayBuffer>;
  /** From when on main hears that a worker stands still, in ms. */
  readonly stalledMs: number;
  /** Null where pins do not give way. */
  readonly softPins: SoftPinsInit | null;
}

/** What the governor needs so that pins give way to other processes. */
export interface SoftPinsInit {
  /** Most workers that there may be: the threads of worker i have slots i and i + this. */
  readonly workers: number;
  /** CPUs that the process was started with. */
  readonly cpus: readonly number[];
  /** Where they are; null if unknown. */
  readonly machine: Nearness | null;
}

export type ToGovernor =
  /** Begin. */
  | { readonly kind: 'start' }
  /** What `wake` and `take` know the loop of `worker` by, from now on; 0: it is gone. */
  | { readonly kind: 'peer'; readonly worker: number; readonly peer: number }
  /** There is no spare to be had now. */
  | { readonly kind: 'no-spare' }
  /** Take every connection that can move from `worker`, at a safepoint. Always answered. */
  | { readonly kind: 'evacuate'; readonly worker: number }
  | { readonly kind: 'stop' };

export type FromGovernor =
  /** Whether connections can move here: null, or why not. The first message. */
  | { readonly kind: 'checked'; readonly unfit: string | null }
  /** Something was put into the mailbox of `worker`, which is gone. */
  | { readonly kind: 'left'; readonly worker: number }
  /** Every worker stands still, and so does every spare. */
  | { readonly kind: 'want-spare' }
  /** Events wait for `worker`, which has not returned to its loop for a while. */
  | {
      readonly kind: 'stalled';
      readonly worker: number;
      readonly heartbeat: number;
      /** Whether something is ready for it. */
      readonly waits: boolean;
    }
  | { readonly kind: 'evacuated'; readonly worker: number; readonly taken: number }
  /** It moved connections: where moves are traced. */
  | { readonly kind: 'moved'; readonly move: TracedMove }
  | ({ readonly kind: 'repinned' } & Repinning);

/** A worker, by its number, has a ring of CPUs more than before, or one less. */
export interface Repinning {
  readonly worker: number;
  readonly wider: boolean;
  /** Rings around its CPU on which it may run. */
  readonly rings: number;
  /** Its CPU and theirs. */
  readonly cpus: readonly number[];
}
