/**
 * The scoreboard: one row per worker and writer in a SharedArrayBuffer.
 *
 * Any thread may construct one over the same memory. Reads and writes are
 * wait-free: each is one atomic operation, none is retried. Misuse, that is a
 * second writer of a word, loses counts; nothing here can detect it.
 */
import {
  GOVERNOR,
  governorRow,
  HEADER,
  SUPERVISOR,
  supervisorRow,
  VERSION,
  WORKER,
  WORKER_STATES,
  WORKERS_MAX,
  type WorkerStateName,
  wordsFor,
  workerRow,
} from './layout.js';
import { allocateWords, type Misalignment } from './memory.js';

/** One worker's row as plain numbers. Words may be from slightly different moments. */
export interface WorkerRow {
  readonly index: number;
  readonly state: WorkerStateName;
  /** CPU it is pinned to, or null. */
  readonly cpu: number | null;
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
  /** Connections that it was given. */
  readonly received: number;
  /** Connections that the governor took from it while it stood still. */
  readonly rescued: number;
  /** Times the governor paused it, and for how many µs in total. */
  readonly pauses: number;
  readonly pauseUs: number;
  /** Connections that stayed because the kernel saw them inside a message. */
  readonly mismatches: number;
  /** System calls of the governor that failed; those connections stayed. */
  readonly failures: number;
  /** Moves that were decided on and not made: a full mailbox, a thread that could not be paused. */
  readonly refused: number;
}

export class Scoreboard {
  /** The rows, header first. Pass it to another thread to share the board. */
  readonly words: Int32Array<SharedArrayBuffer>;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
  }

  /** New memory for `workers` workers. Called once, by main, before any worker starts. */
  static create(workers: number, misalignmentOf: Misalignment | null): Scoreboard {
    if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX) {
      throw new RangeError(`workers must be from 1 to ${WORKERS_MAX}, not ${workers}`);
    }
    const words = allocateWords(wordsFor(workers), misalignmentOf);
    words[HEADER.VERSION] = VERSION;
    words[HEADER.WORKERS] = workers;
    for (let index = 0; index < workers; index++) words[supervisorRow(index) + SUPERVISOR.CPU] = -1;
    return new Scoreboard(words);
  }

  /** The board that another thread created. */
  static attach(words: Int32Array<SharedArrayBuffer>): Scoreboard {
    if (words[HEADER.VERSION] !== VERSION) {
      throw new RangeError(`scoreboard version ${words[HEADER.VERSION]} is not ${VERSION}`);
    }
    return new Scoreboard(words);
  }

  get workers(): number {
    return Atomics.load(this.words, HEADER.WORKERS);
  }

  /** One worker's row, read word by word. */
  read(index: number): WorkerRow {
    const words = this.words;
    const supervisor = supervisorRow(index);
    const worker = workerRow(index);
    const governor = governorRow(index);
    const cpu = Atomics.load(words, supervisor + SUPERVISOR.CPU);
    const tid = Atomics.load(words, worker + WORKER.TID);
    const state = Atomics.load(words, supervisor + SUPERVISOR.STATE);
    return {
      index,
      state: WORKER_STATES[state] ?? 'empty',
      cpu: cpu < 0 ? null : cpu,
      tid: tid === 0 ? null : tid,
      loops: Atomics.load(words, worker + WORKER.LOOPS) >>> 0,
      heartbeatMs: Atomics.load(words, worker + WORKER.HEARTBEAT_MS) >>> 0,
      connections: Atomics.load(words, worker + WORKER.CONNECTIONS),
      accepted: Atomics.load(words, worker + WORKER.ACCEPTED) >>> 0,
      received: Atomics.load(words, worker + WORKER.RECEIVED) >>> 0,
      rescued: Atomics.load(words, governor + GOVERNOR.RESCUED) >>> 0,
      pauses: Atomics.load(words, governor + GOVERNOR.PAUSES) >>> 0,
      pauseUs: Atomics.load(words, governor + GOVERNOR.PAUSE_US) >>> 0,
      mismatches: Atomics.load(words, governor + GOVERNOR.MISMATCHES) >>> 0,
      failures: Atomics.load(words, governor + GOVERNOR.FAILURES) >>> 0,
      refused: Atomics.load(words, governor + GOVERNOR.REFUSED) >>> 0,
    };
  }

  /** Main's half of a row. */
  supervise(index: number): SupervisorWriter {
    return new SupervisorWriter(this.words, supervisorRow(index));
  }

  /** The governor's share of a row. */
  governor(index: number): GovernorWriter {
    return new GovernorWriter(this.words, governorRow(index));
  }

  /** The worker's own half of its row. */
  own(index: number): WorkerWriter {
    return new WorkerWriter(this.words, workerRow(index));
  }
}

/** Writes GOVERNOR words. The governor only. */
export class GovernorWriter {
  readonly #words: Int32Array;
  readonly #row: number;

  constructor(words: Int32Array, row: number) {
    this.#words = words;
    this.#row = row;
  }

  /** The worker was held at a safepoint. */
  paused(taken: number, mismatches: number, failures: number, us: number): void {
    this.#add(GOVERNOR.PAUSES, 1);
    this.#add(GOVERNOR.PAUSE_US, Math.round(us));
    this.#add(GOVERNOR.RESCUED, taken);
    this.#add(GOVERNOR.MISMATCHES, mismatches);
    this.#add(GOVERNOR.FAILURES, failures);
  }

  /** A move was decided on and could not be made. */
  refused(): void {
    this.#add(GOVERNOR.REFUSED, 1);
  }

  #add(word: number, by: number): void {
    const at = this.#row + word;
    Atomics.store(this.#words, at, (Atomics.load(this.#words, at) + by) | 0);
  }
}

/** Writes SUPERVISOR words. Main only. */
export class SupervisorWriter {
  readonly #words: Int32Array;
  readonly #row: number;

  constructor(words: Int32Array, row: number) {
    this.#words = words;
    this.#row = row;
  }

  state(value: WorkerStateName): void {
    Atomics.store(this.#words, this.#row + SUPERVISOR.STATE, WORKER_STATES.indexOf(value));
  }

  cpu(value: number | null): void {
    Atomics.store(this.#words, this.#row + SUPERVISOR.CPU, value ?? -1);
  }
}

/**
 * Writes WORKER words. The worker that owns the row only: since nobody else
 * writes them, a load and a store make an increment.
 */
export class WorkerWriter {
  readonly #words: Int32Array;
  readonly #row: number;

  constructor(words: Int32Array, row: number) {
    this.#words = words;
    this.#row = row;
  }

  /** Word indices for the native check handle, which writes these two. */
  get loopsIndex(): number {
    return this.#row + WORKER.LOOPS;
  }
  get heartbeatIndex(): number {
    return this.#row + WORKER.HEARTBEAT_MS;
  }

  tid(value: number): void {
    Atomics.store(this.#words, this.#row + WORKER.TID, value);
  }

  accepted(): void {
    this.#add(WORKER.ACCEPTED, 1);
    this.#add(WORKER.CONNECTIONS, 1);
  }

  received(): void {
    this.#add(WORKER.RECEIVED, 1);
    this.#add(WORKER.CONNECTIONS, 1);
  }

  closed(): void {
    this.#add(WORKER.CONNECTIONS, -1);
  }

  #add(word: number, by: number): void {
    const at = this.#row + word;
    Atomics.store(this.#words, at, (Atomics.load(this.#words, at) + by) | 0);
  }
}
