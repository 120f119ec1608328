/**
 * Writes a worker's SUPERVISOR words of the scoreboard, and clears up its row after the end of its thread. Main only;
 * wait-free. To clear up while the thread runs loses what that writes.
 */
import {
  GOVERNOR,
  governorRow,
  SUPERVISOR,
  supervisorRow,
  WORKER,
  WORKER_STATES,
  type WorkerStateName,
  workerRow,
} from './layout.js';
import type { Scoreboard } from './scoreboard.js';

export class SupervisorWriter {
  readonly #board: Scoreboard;
  readonly #index: number;
  readonly #words: Int32Array;
  readonly #row: number;

  constructor(board: Scoreboard, index: number) {
    this.#board = board;
    this.#index = index;
    this.#words = board.words;
    this.#row = supervisorRow(index);
  }

  state(value: WorkerStateName): void {
    Atomics.store(this.#words, this.#row + SUPERVISOR.STATE, WORKER_STATES.indexOf(value));
  }

  cpu(value: number | null): void {
    Atomics.store(this.#words, this.#row + SUPERVISOR.CPU, value ?? -1);
  }

  /** 0 before what waits in the mailbox of a worker that has ended is taken out. */
  peer(value: number): void {
    // Pairs with the load in deliver() of src/workers/outbox.ts, which says why.
    Atomics.store(this.#words, this.#row + SUPERVISOR.PEER, value);
  }

  waker(value: number): void {
    Atomics.store(this.#words, this.#row + SUPERVISOR.WAKER, value);
  }

  /**
   * The worker's thread has ended, and what it had with it: its places are free, but for that of what is in
   * its hand ({@link Scoreboard.takeHand}). Nobody takes anything from it any more, since its loop is gone.
   */
  buried(): void {
    const board = this.#board;
    const row = workerRow(this.#index);
    const inHand = Atomics.load(this.#words, row + WORKER.HAND) > 0 ? 1 : 0;
    board.returnPlaces('CONNECTIONS', board.connections(this.#index) - inHand);
    board.returnPlaces('REQUESTS', board.inFlight(this.#index));
    const taken = Atomics.load(this.#words, governorRow(this.#index) + GOVERNOR.TAKEN);
    Atomics.store(this.#words, row + WORKER.CONNECTIONS, taken);
    Atomics.store(this.#words, row + WORKER.IN_FLIGHT, 0);
    Atomics.store(this.#words, row + WORKER.ACCEPTING, 0);
  }
}
