/**
 * Everything that the endpoint knows at one moment, as `GET /snapshot` tells it: types only.
 * `/metrics`, `gyre top` and OpenTelemetry are made of it. docs/operating.md describes it, and a test compares the two.
 *
 * Counts and sums are since the runtime was started, and never smaller than before: also of a
 * worker whose thread was replaced. What cannot be known is null.
 */

import type { ListenAddress } from '../protocol.js';
import type { EndReason, JobsSnapshot, RuntimeState } from '../runtime/api.js';
import type { Blamed } from '../runtime/blame.js';
import type { Capabilities } from '../runtime/capabilities.js';
import type { MoveCount } from '../runtime/move-counts.js';
import type { SourceInfo } from '../runtime/sources/api.js';
import type { AcceptingState, WorkerStateName } from '../scheduler/layout.js';

/** A field that is added does not change it; one that changes its meaning, or goes, does. */
export const SCHEMA = 1;

/** What `GET /snapshot` answers. Counts and sums are since the start. */
export interface Status {
  /** Of this description: it changes when a field changes its meaning or goes. */
  readonly schema: typeof SCHEMA;
  /** When it was taken: ms since 1970. */
  readonly takenAtMs: number;
  /** The option `name`. */
  readonly name: string;
  /** Of gyre. */
  readonly version: string;
  /** Version of Node, as `process.version`. */
  readonly node: string;
  /** Of the process. */
  readonly pid: number;
  /** As `runtime.state`. */
  readonly state: RuntimeState;
  /** As `/readyz`: it serves, and some worker listens. */
  readonly ready: boolean;
  /** Where the workers listen now. */
  readonly addresses: readonly ListenAddress[];
  /** What this system can do, and, of what it cannot, why. */
  readonly capabilities: Capabilities;
  /** How often every worker was replaced, by `reload()`. */
  readonly reloads: number;
  /** Functions that workers stood still in, with the option `blame`. */
  readonly blamed: readonly Blamed[];
  /** Workers, and then the spares that run now. */
  readonly workers: readonly WorkerStatus[];
  /** Pairs of workers between which connections went. Not in any order. */
  readonly moves: readonly MoveCount[];
  /** The job pool. */
  readonly jobs: JobsSnapshot;
  /** Open sources, and what was emitted. */
  readonly sources: readonly SourceInfo[];
  /** Listening TCP sockets. */
  readonly listeners: readonly ListenerStatus[];
  /** The process as a whole. */
  readonly process: ProcessStatus;
  /** Which CPUs share what, from each by itself to all together; empty where that cannot be read. */
  readonly levels: readonly LevelStatus[];
}

/** One level of scheduling groups: see docs/topology.md. */
export interface LevelStatus {
  /** What the CPUs of one group share. */
  readonly kinds: readonly string[];
  /** Ids of the CPUs of each group, ascending. */
  readonly groups: readonly (readonly number[])[];
}

/** A worker, or a spare that runs. */
export interface WorkerStatus {
  /** Its number. */
  readonly index: number;
  /** Whether it is a spare. */
  readonly spare: boolean;
  /** What it is at. */
  readonly state: WorkerStateName;
  /** CPU it is pinned to, or null. */
  readonly cpu: number | null;
  /** Rings of CPUs around its own on which it may run as well, with a soft pin. */
  readonly rings: number;
  /** Kernel thread id, or null where it is unknown. */
  readonly tid: number | null;
  /** Node's number of its thread. */
  readonly threadId: number;
  /** For how long it has not returned to its event loop; 0 while it waits there. */
  readonly stuckSeconds: number;

  /** Open connections. */
  readonly connections: number;
  /** Those of them that it must keep, because the application said so. */
  readonly held: number;
  /** Events that waited when it last looked, after a long iteration. */
  readonly outstanding: number;
  /** Whether it follows the messages of its connections, so that these can move. */
  readonly armed: boolean;

  /** Connections that it accepted itself. */
  readonly accepted: number;
  /** HTTP/1 messages that were seen to begin. */
  readonly messages: number;
  /** HTTP/1 requests that it answered. */
  readonly requests: number;
  /** How long those took; empty without `requestTimes`. */
  readonly requestTimes: Histogram;
  /** HTTP/1 requests to be answered; 0 without `maxOutstanding`. */
  readonly inFlight: number;
  /** Connections and requests refused because of a limit. */
  readonly shed: number;
  /** Whether it accepts new connections, or why they wait in the kernel. */
  readonly accepting: AcceptingState;
  /** Iterations of its event loop. */
  readonly loops: number;
  /** Events that its loop handled. */
  readonly events: number;
  /** How long iterations kept its loop busy. */
  readonly iterations: Histogram;

  /** Times it looked and had more than one event waiting. */
  readonly rounds: number;
  /** Connections that it gave away itself. */
  readonly given: number;
  /** Connections that it was given. */
  readonly received: number;
  /** Connections that the governor took from it while it stood still. */
  readonly rescued: number;
  /** Moves that were decided on and not made. */
  readonly refused: number;
  /** How long the governor paused it, each time. */
  readonly pauses: Histogram;
  /** Connections that stayed because the kernel saw them inside a message. */
  readonly mismatches: number;
  /** System calls that failed when a connection was to move; it stayed. */
  readonly failures: number;
  /** Times that its pin gave way by a ring. */
  readonly widened: number;
  /** Times that its pin was tightened by a ring. */
  readonly narrowed: number;

  /** Time that its threads were on a CPU. */
  readonly cpuSeconds: number | null;
  /** Time that its threads were ready to run and waited for a CPU. */
  readonly runDelaySeconds: number | null;
  /** Time that its loop slept. */
  readonly idleSeconds: number | null;

  /** As it said itself; null if it never did. */
  readonly heap: HeapStatus | null;
  /** Why the application's metrics are not complete, or null. */
  readonly metricsFailure: string | null;

  /** Ends of its threads, by reason. */
  readonly exits: Readonly<Record<EndReason, number>>;
  /** Times that it was started again after its death. */
  readonly restarts: number;
  /** Times that it did not return to its event loop for `hangMs`. */
  readonly hangs: number;
  /** Times that it was replaced because its heap was nearly full. */
  readonly recycles: number;
}

/** How often something took how long. */
export interface Histogram {
  /** Of everything that was counted. */
  readonly sumSeconds: number;
  /** Upper bounds, ascending; one less than there are counts. */
  readonly boundsSeconds: readonly number[];
  /** At `i`: what took less than bound `i`, and not less than the one before; the last has no bound. */
  readonly counts: readonly number[];
}

/** The heap of a worker, as it said itself. */
export interface HeapStatus {
  /** In use. */
  readonly usedBytes: number;
  /** What it may use. */
  readonly limitBytes: number;
  /** How long ago it said so. A worker that stands still says nothing. */
  readonly ageSeconds: number;
}

/** The accept queue of a listening TCP socket. */
export interface ListenerStatus {
  /** Where it listens. */
  readonly address: ListenAddress;
  /** The worker that accepts from it; null: all do, or nobody now. */
  readonly worker: number | null;
  /** Connections that wait to be accepted. */
  readonly queue: number;
  /** How many may wait. */
  readonly queueLimit: number;
  /** Connections turned away because it was full. */
  readonly dropped: number;
}

/** The process as a whole. */
export interface ProcessStatus {
  /** Since 1970. */
  readonly startedAtSeconds: number;
  /** CPU time of all its threads. */
  readonly cpuSeconds: number;
  /** Memory in use. */
  readonly residentBytes: number;
  /** Null where they cannot be counted. */
  readonly openDescriptors: number | null;
}
