/**
 * What the scoreboard says of one worker, as plain numbers. Any thread; wait-free. Words are read one by one, so
 * two of them may be from slightly different moments: nothing may be decided by their difference.
 */
import {
  type AcceptingState,
  GOVERNOR,
  governorRow,
  iterationsRow,
  PAUSE_BUCKETS,
  requestsRow,
  SUPERVISOR,
  supervisorRow,
  TIME_BUCKETS,
  TIMES,
  WORKER,
  WORKER_STATES,
  type WorkerStateName,
  workerRow,
} from './layout.js';
import type { Scoreboard } from './scoreboard.js';

/** How often something took how long. All zero unless somebody may want to know. */
export interface Times {
  /** Of everything that is in `byUs`, in ns. */
  readonly sumNs: number;
  /**
   * `[i]` counts what took less than `2 ** i` µs, and not less than half of that; the last has no
   * upper bound. Modulo 2^32.
   */
  readonly byUs: readonly number[];
}

/** One worker's row as plain numbers. Words may be from slightly different moments. */
export interface WorkerRow {
  /** Number of the worker. */
  readonly index: number;
  /** What it is at. */
  readonly state: WorkerStateName;
  /** CPU it is pinned to, or null. */
  readonly cpu: number | null;
  /**
   * Rings of CPUs around that one on which it may run as well, because others compete for its own;
   * 0: none. Only with `pin: 'soft'`.
   */
  readonly rings: number;
  /** Kernel thread id, or null where unknown. */
  readonly tid: number | null;
  /** Loop iterations modulo 2^32. Compare two snapshots by wrapped difference. */
  readonly loops: number;
  /** Loop clock at the last iteration: ms on the monotonic clock, modulo 2^32. */
  readonly heartbeatMs: number;
  /** Open connections that it accepted. */
  readonly connections: number;
  /** Connections it ever accepted itself, modulo 2^32, as are all counts below. */
  readonly accepted: number;
  /** HTTP messages that were seen to begin; those that come too fast are not followed. */
  readonly messages: number;
  /** Whether it follows the messages of its connections, so that these can move. */
  readonly armed: boolean;
  /** Events that were ready and waiting when it last looked, after a long iteration. */
  readonly outstanding: number;
  /** Times it looked and had more than one event waiting. */
  readonly rounds: number;
  /** Connections that it gave away itself. */
  readonly given: number;
  /** Connections that it was given. */
  readonly received: number;
  /** Connections that it has now and must keep, because the application said so. */
  readonly held: number;
  /** Connections that the governor took from it while it stood still. */
  readonly rescued: number;
  /** Times the governor paused it. */
  readonly pauses: number;
  /** For how many µs in total. */
  readonly pauseUs: number;
  /**
   * How many pauses took how long: `[i]` counts those of less than `2 ** (i + 3)` µs, and not
   * less than half of that, except in the first; the last has no upper bound.
   */
  readonly pausesByUs: readonly number[];
  /** Connections that stayed because the kernel saw them inside a message. */
  readonly mismatches: number;
  /** System calls of the governor that failed; those connections stayed. */
  readonly failures: number;
  /** Moves that were decided on and not made: a full mailbox, a thread that could not be paused. */
  readonly refused: number;
  /** Times it got another ring of CPUs. */
  readonly widened: number;
  /** Times it lost one. */
  readonly narrowed: number;
  /** Events that its loop handled. With the next three zero unless `admin` is on. */
  readonly events: number;
  /** How long iterations of its loop kept it busy. */
  readonly iterations: Times;
  /** HTTP/1 requests that it answered. */
  readonly requests: number;
  /** How long those took that were timed: all, or a sample of them where they come fast. */
  readonly requestTimes: Times;
  /** HTTP requests that have begun and are not answered; 0 without `maxOutstanding`. */
  readonly inFlight: number;
  /** Connections and requests that it refused because of `maxConnections` or `maxOutstanding`. */
  readonly shed: number;
  /** Whether it accepts new connections, or why they wait in the kernel. */
  readonly accepting: AcceptingState;
}

/** Counts at `first` and after. */
function countsAt(words: Int32Array, first: number, length: number): number[] {
  return Array.from({ length }, (_, i) => Atomics.load(words, first + i) >>> 0);
}

function timesAt({ words, floats }: Scoreboard, row: number): Times {
  return {
    sumNs: floats[(row + TIMES.SUM_NS) / 2] as number,
    byUs: countsAt(words, row + TIMES.BY_US, TIME_BUCKETS),
  };
}

/** The row of worker `index`. */
export function readRow(board: Scoreboard, index: number): WorkerRow {
  const { words } = board;
  const [supervisor, worker] = [supervisorRow(index), workerRow(index)];
  const [governor, iterations] = [governorRow(index), iterationsRow(index)];
  const requests = requestsRow(index);
  const count = (at: number) => Atomics.load(words, at) >>> 0;
  /** Of a word that the worker and the governor have each. */
  const both = (name: 'MISMATCHES' | 'FAILURES' | 'REFUSED') =>
    (count(worker + WORKER[name]) + count(governor + GOVERNOR[name])) >>> 0;
  const tid = Atomics.load(words, worker + WORKER.TID);
  return {
    index,
    state: WORKER_STATES[Atomics.load(words, supervisor + SUPERVISOR.STATE)] ?? 'empty',
    cpu: board.cpu(index),
    rings: board.rings(index),
    tid: tid === 0 ? null : tid,
    loops: count(worker + WORKER.LOOPS),
    heartbeatMs: count(worker + WORKER.HEARTBEAT_MS),
    connections: board.connections(index),
    accepted: count(worker + WORKER.ACCEPTED),
    messages: count(worker + WORKER.MESSAGES),
    armed: Atomics.load(words, worker + WORKER.ARMED) !== 0,
    outstanding: board.outstanding(index),
    rounds: count(worker + WORKER.ROUNDS),
    given: count(worker + WORKER.GIVEN),
    received: count(worker + WORKER.RECEIVED),
    held: Atomics.load(words, worker + WORKER.HELD),
    rescued: count(governor + GOVERNOR.RESCUED),
    pauses: count(governor + GOVERNOR.PAUSES),
    pauseUs: count(governor + GOVERNOR.PAUSE_US),
    pausesByUs: countsAt(words, governor + GOVERNOR.PAUSES_BY_US, PAUSE_BUCKETS),
    mismatches: both('MISMATCHES'),
    failures: both('FAILURES'),
    refused: both('REFUSED'),
    widened: count(governor + GOVERNOR.WIDENED),
    narrowed: count(governor + GOVERNOR.NARROWED),
    events: count(iterations + TIMES.COUNT),
    iterations: timesAt(board, iterations),
    inFlight: board.inFlight(index),
    shed: count(worker + WORKER.SHED),
    accepting: board.accepting(index),
    requests: count(requests + TIMES.COUNT),
    requestTimes: timesAt(board, requests),
  };
}

/** What is counted over the whole life of a row, modulo 2^32. */
const COUNTS = [
  ...['loops', 'accepted', 'messages', 'rounds', 'given', 'received', 'rescued'],
  ...['pauses', 'pauseUs', 'mismatches', 'failures', 'refused', 'widened', 'narrowed', 'shed'],
  ...['events', 'requests'],
] as readonly (keyof WorkerRow)[];

function addBuckets(one: readonly number[], other: readonly number[]): number[] {
  return one.map((count, i) => (count + (other[i] ?? 0)) >>> 0);
}

function addTimes(one: Times, other: Times): Times {
  return { sumNs: one.sumNs + other.sumNs, byUs: addBuckets(one.byUs, other.byUs) };
}

/** `row` with the counts of `other` added: of threads that had the same worker's other row. */
export function addCounts(row: WorkerRow, other: WorkerRow): WorkerRow {
  const sums = COUNTS.map((key) => [key, ((row[key] as number) + (other[key] as number)) >>> 0]);
  return {
    ...{ ...row, ...Object.fromEntries(sums) },
    pausesByUs: addBuckets(row.pausesByUs, other.pausesByUs),
    iterations: addTimes(row.iterations, other.iterations),
    requestTimes: addTimes(row.requestTimes, other.requestTimes),
  };
}
