/**
 * The scoreboard: one row per worker and writer in a SharedArrayBuffer. This file makes it and reads its words one by
 * one; worker-row.ts reads a whole row, and each writer has a file: supervisor-writer.ts (main), worker-writer.ts
 * and times-writer.ts (the worker), governor-writer.ts, places.ts (everybody).
 *
 * Any thread may construct one over the same memory. Reads are wait-free: each is one atomic operation, and none
 * is retried. A second writer of a word loses counts; nothing here can detect it.
 *
 * Tests: test/scheduler/scoreboard.test.ts; bench/false-sharing.ts for the distance of rows.
 */
import { difference } from './counter.js';
import { GovernorWriter } from './governor-writer.js';
import {
  ACCEPTING_STATES,
  type AcceptingState,
  BLOCK,
  GOVERNOR,
  gaveWord,
  givenWord,
  governorRow,
  iterationsRow,
  newcomersRow,
  requestsRow,
  SUPERVISOR,
  supervisorRow,
  takenWord,
  WORKER,
  WORKER_STATES,
  wordsFor,
  workerRow,
} from './layout.js';
import { attachBlock, createBlock, type Misalignment } from './memory.js';
import { type Placed, placesWord } from './places.js';
import { SupervisorWriter } from './supervisor-writer.js';
import { TimesWriter } from './times-writer.js';
import { readRow, type WorkerRow } from './worker-row.js';
import { WorkerWriter } from './worker-writer.js';

const SERVING = WORKER_STATES.indexOf('serving');
const EMPTY = WORKER_STATES.indexOf('empty');
const EXITED = WORKER_STATES.indexOf('exited');

export class Scoreboard {
  /** The rows, header first. Pass it to another thread to share the board. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** The same memory. */
  readonly floats: Float64Array;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
    this.floats = new Float64Array(words.buffer, words.byteOffset, Math.floor(words.length / 2));
  }

  /** New memory for `workers` workers. Called once, by main, before any worker starts. */
  static create(workers: number, misalignmentOf: Misalignment | null): Scoreboard {
    const words = createBlock(workers, wordsFor(workers), misalignmentOf);
    for (let index = 0; index < workers; index++) words[supervisorRow(index) + SUPERVISOR.CPU] = -1;
    return new Scoreboard(words);
  }

  /** The board that another thread created. */
  static attach(words: Int32Array<SharedArrayBuffer>): Scoreboard {
    return new Scoreboard(attachBlock(words));
  }

  get workers(): number {
    return Atomics.load(this.words, BLOCK.WORKERS);
  }

  /** One worker's row, read word by word. */
  read(index: number): WorkerRow {
    return readRow(this, index);
  }

  /** CPU that worker `index` is pinned to, or null. */
  cpu(index: number): number | null {
    const cpu = Atomics.load(this.words, supervisorRow(index) + SUPERVISOR.CPU);
    return cpu < 0 ? null : cpu;
  }

  /** Rings around its CPU on which worker `index` may run. */
  rings(index: number): number {
    return Atomics.load(this.words, governorRow(index) + GOVERNOR.RINGS);
  }

  /** Connections that worker `index` has now. */
  connections(index: number): number {
    const taken = Atomics.load(this.words, governorRow(index) + GOVERNOR.TAKEN);
    return difference(Atomics.load(this.words, workerRow(index) + WORKER.CONNECTIONS), taken);
  }

  /** HTTP requests that worker `index` has begun and not answered. */
  inFlight(index: number): number {
    return Atomics.load(this.words, workerRow(index) + WORKER.IN_FLIGHT);
  }

  /** Whether worker `index` accepts, or why not. */
  accepting(index: number): AcceptingState {
    const state = Atomics.load(this.words, workerRow(index) + WORKER.ACCEPTING);
    return ACCEPTING_STATES[state] ?? 'accepts';
  }

  /** Whether row `index` is that of a thread which has not ended. */
  lives(index: number): boolean {
    const state = Atomics.load(this.words, supervisorRow(index) + SUPERVISOR.STATE);
    return state !== EMPTY && state !== EXITED;
  }

  /** Places that are taken, of all workers together. */
  places(of: Placed): number {
    return Atomics.load(this.words, placesWord(of));
  }

  /** Gives `count` places back, which no worker counts. Main only. */
  returnPlaces(of: Placed, count: number): void {
    Atomics.sub(this.words, placesWord(of), count);
  }

  /** The words that {@link WorkerWriter.enter} and native/taking.cc write for a connection. */
  countsOf(index: number): { readonly places: number; readonly taken: number } {
    return { places: placesWord('CONNECTIONS'), taken: governorRow(index) + GOVERNOR.TAKEN };
  }

  /** Clock of the loop of worker `index` at its last iteration. */
  heartbeat(index: number): number {
    return Atomics.load(this.words, workerRow(index) + WORKER.HEARTBEAT_MS);
  }

  /** Events that worker `index` had waiting when it last looked. */
  outstanding(index: number): number {
    return Atomics.load(this.words, workerRow(index) + WORKER.OUTSTANDING);
  }

  /** Above the highest descriptor of which worker `index` ever had an entry. */
  fdEnd(index: number): number {
    return Atomics.load(this.words, workerRow(index) + WORKER.FD_END);
  }

  /**
   * The descriptor that worker `index`, which has ended, had in its hand; <= 0: none. It is the caller's
   * now, and so is the place of its connection.
   */
  takeHand(index: number): number {
    return Atomics.exchange(this.words, workerRow(index) + WORKER.HAND, 0);
  }

  /** What wakes the loop of worker `index`; 0 if it has none now. */
  peer(index: number): number {
    return Atomics.load(this.words, supervisorRow(index) + SUPERVISOR.PEER);
  }

  /** What wakes the loop of worker `index`, whether or not connections move; 0: nothing. */
  waker(index: number): number {
    return Atomics.load(this.words, supervisorRow(index) + SUPERVISOR.WAKER);
  }

  /** Whether worker `index` can be given connections: it listens and is not about to end. */
  receives(index: number): boolean {
    const state = Atomics.load(this.words, supervisorRow(index) + SUPERVISOR.STATE);
    return state === SERVING && this.peer(index) !== 0;
  }

  /** Events that `giver` gave to `recipient` itself, modulo 2^32. */
  given(giver: number, recipient: number): number {
    return Atomics.load(this.words, givenWord(this.workers, giver, recipient)) >>> 0;
  }

  /** Events that the governor took from `victim` for `recipient`, modulo 2^32. */
  taken(victim: number, recipient: number): number {
    return Atomics.load(this.words, takenWord(this.workers, victim, recipient)) >>> 0;
  }

  /** How long the requests of worker `index` take. That worker only. */
  requestTimes(index: number): TimesWriter {
    return new TimesWriter(this.words, this.floats, requestsRow(index));
  }

  /** Main's half of a row. */
  supervise(index: number): SupervisorWriter {
    return new SupervisorWriter(this, index);
  }

  /** The governor's share of a row. */
  governor(index: number): GovernorWriter {
    return new GovernorWriter(this.words, governorRow(index), takenWord(this.workers, index, 0));
  }

  /** The worker's own half of its row. */
  own(index: number): WorkerWriter {
    const { workers, words } = this;
    return new WorkerWriter(words, {
      row: workerRow(index),
      gave: gaveWord(workers, index, 0),
      given: givenWord(workers, index, 0),
      newcomers: newcomersRow(index),
      iterations: iterationsRow(index),
      taken: governorRow(index) + GOVERNOR.TAKEN,
    });
  }
}
