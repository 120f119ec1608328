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
import type { MoveCount } from '../runtime/moves.js';
import type { SourceInfo } from '../runtime/sources/api.js';
import type { AcceptingState, WorkerStateName } from '../scheduler/layout.js';

/** A field that is added does not change it; one that changes its meaning, or goes, does. */
export const SCHEMA = 1;

export interface Status {
  readonly schema: typeof SCHEMA;
  /** When it was taken: ms since 1970. */
  readonly takenAtMs: number;
  /** The option `name`. */
  readonly name: string;
  readonly version: string;
  readonly node: string;
  readonly pid: number;
  readonly state: RuntimeState;
  readonly ready: boolean;
  readonly addresses: readonly ListenAddress[];
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
  readonly listeners: readonly ListenerStatus[];
  readonly process: ProcessStatus;
  /** Which CPUs share what, from each by itself to all together; empty where that cannot be read. */
  readonly levels: readonly LevelStatus[];
}

/** One level of scheduling groups: see docs/topology.md. */
export interface LevelStatus {
  /** What the CPUs of one group share. */
  readonly kinds: readonly string[];
  readonly groups: readonly (readonly number[])[];
}

export interface WorkerStatus {
  readonly index: number;
  readonly spare: boolean;
  readonly state: WorkerStateName;
  readonly cpu: number | null;
  /** Rings of CPUs around its own on which it may run as well, with a soft pin. */
  readonly rings: number;
  readonly tid: number | null;
  readonly threadId: number;
  readonly stuckSeconds: number;

  readonly connections: number;
  readonly held: number;
  readonly outstanding: number;
  readonly armed: boolean;

  readonly accepted: number;
  readonly messages: number;
  readonly requests: number;
  readonly requestTimes: Histogram;
  /** HTTP/1 requests to be answered; 0 without `maxOutstanding`. */
  readonly inFlight: number;
  /** Connections and requests refused because of a limit. */
  readonly shed: number;
  readonly accepting: AcceptingState;
  readonly loops: number;
  readonly events: number;
  readonly iterations: Histogram;

  readonly rounds: number;
  readonly given: number;
  readonly received: number;
  readonly rescued: number;
  readonly refused: number;
  readonly pauses: Histogram;
  readonly mismatches: number;
  readonly failures: number;
  /** Times that its pin gave way by one more ring, and by one less. */
  readonly widened: number;
  readonly narrowed: number;

  /** Time that its threads were on a CPU, waited for one, and slept in epoll. */
  readonly cpuSeconds: number | null;
  readonly runDelaySeconds: number | null;
  readonly idleSeconds: number | null;

  /** As it said itself; null if it never did. */
  readonly heap: HeapStatus | null;
  /** Why the application's metrics are not complete, or null. */
  readonly metricsFailure: string | null;

  readonly exits: Readonly<Record<EndReason, number>>;
  readonly restarts: number;
  readonly hangs: number;
  readonly recycles: number;
}

/** How often something took how long. */
export interface Histogram {
  readonly sumSeconds: number;
  readonly boundsSeconds: readonly number[];
  /** [i]: what took less than bound i, and not less than the one before; the last had none. */
  readonly counts: readonly number[];
}

export interface HeapStatus {
  readonly usedBytes: number;
  readonly limitBytes: number;
  /** How long ago it said so. A worker that stands still says nothing. */
  readonly ageSeconds: number;
}

/** The accept queue of a listening TCP socket. */
export interface ListenerStatus {
  readonly address: ListenAddress;
  /** The worker that accepts from it; null: all do, or nobody now. */
  readonly worker: number | null;
  readonly queue: number;
  readonly queueLimit: number;
  /** Connections turned away because it was full. */
  readonly dropped: number;
}

/** The process as a whole. */
export interface ProcessStatus {
  readonly startedAtSeconds: number;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly openDescriptors: number | null;
}
