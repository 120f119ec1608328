/**
 * Writes a worker's own words of the scoreboard: WORKER, NEWCOMERS, GAVE and GIVEN. The thread that has the row
 * only: since nobody else writes them, a load and a store make an increment. Wait-free, but for taking a place
 * (places.ts). A second writer loses counts, and nothing here can detect it.
 */
import { add, difference } from './counter.js';
import {
  ACCEPTING_STATES,
  type AcceptingState,
  NEWCOMERS,
  NEWCOMERS_MAX,
  TIME_BUCKETS,
  TIMES,
  WORKER,
} from './layout.js';
import { returnPlaces, takePlace } from './places.js';

/** libuv's clock, which the native check handle writes down, is the one of hrtime; in ms. */
function loopClock(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) | 0;
}

/** First words of what one worker writes. */
interface OwnWords {
  /** WORKER row. */
  readonly row: number;
  /** GAVE and GIVEN rows. */
  readonly gave: number;
  readonly given: number;
  /** NEWCOMERS row. */
  readonly newcomers: number;
  /** ITERATIONS row. */
  readonly iterations: number;
  /** The GOVERNOR word TAKEN. */
  readonly taken: number;
}

/** WORKER words that say how things are now, and not what has been. */
const OF_ONE_THREAD = [
  ...[WORKER.OUTSTANDING, WORKER.HELD, WORKER.ARMED, WORKER.IN_FLIGHT, WORKER.ACCEPTING],
] as const;

export class WorkerWriter {
  readonly #words: Int32Array;
  readonly #row: number;
  readonly #at: OwnWords;

  constructor(words: Int32Array, at: OwnWords) {
    this.#words = words;
    this.#row = at.row;
    this.#at = at;
  }

  /** Word indices for the native handles, which write these four. */
  get loopsIndex(): number {
    return this.#row + WORKER.LOOPS;
  }
  get heartbeatIndex(): number {
    return this.#row + WORKER.HEARTBEAT_MS;
  }
  /** Where the loop counts its iterations. */
  get iterations() {
    const row = this.#at.iterations;
    const bucketsIndex = row + TIMES.BY_US;
    const [sumIndex, countIndex] = [row + TIMES.SUM_NS, row + TIMES.COUNT];
    return { sumIndex, countIndex, bucketsIndex, buckets: TIME_BUCKETS };
  }
  get outstandingIndex(): number {
    return this.#row + WORKER.OUTSTANDING;
  }
  get armedIndex(): number {
    return this.#row + WORKER.ARMED;
  }

  /** Where it notes what it has in its hand: hand.ts. */
  get handIndex(): number {
    return this.#row + WORKER.HAND;
  }

  /** Whether messages are to be followed. */
  get armed(): boolean {
    return Atomics.load(this.#words, this.armedIndex) !== 0;
  }

  /** The word that counts messages, and where it is: so that one costs a load and a store. */
  get messagesIndex(): number {
    return this.#row + WORKER.MESSAGES;
  }
  /** The word that counts its connections, and those that were taken from it. */
  get connectionsIndex(): number {
    return this.#row + WORKER.CONNECTIONS;
  }
  get words(): Int32Array {
    return this.#words;
  }

  /** A new thread has the row: what an earlier one had is no longer there. */
  begin(tid: number): void {
    for (const word of OF_ONE_THREAD) Atomics.store(this.#words, this.#row + word, 0);
    const taken = Atomics.load(this.#words, this.#at.taken);
    Atomics.store(this.#words, this.#row + WORKER.CONNECTIONS, taken);
    // The last thread's would look as if it still stood still there.
    Atomics.store(this.#words, this.heartbeatIndex, loopClock());
    Atomics.store(this.#words, this.#row + WORKER.TID, tid);
  }

  /** It has `events` waiting. Of a worker its loop writes this, natively. */
  outstanding(events: number): void {
    Atomics.store(this.#words, this.outstandingIndex, events);
  }

  /** It begins a round. */
  round(): void {
    this.#add(WORKER.ROUNDS, 1);
  }

  /** Rounds since it gave to `recipient`. */
  roundsSinceGave(recipient: number): number {
    const round = Atomics.load(this.#words, this.#row + WORKER.ROUNDS);
    return difference(round, Atomics.load(this.#words, this.#at.gave + recipient));
  }

  /** It gave `count` events to `recipient` in this round. */
  gave(recipient: number, count: number): void {
    const round = Atomics.load(this.#words, this.#row + WORKER.ROUNDS);
    Atomics.store(this.#words, this.#at.gave + recipient, round);
    this.#add(WORKER.GIVEN, count);
    add(this.#words, this.#at.given + recipient, count);
  }

  /** The connection table has an entry of its for `fd`. */
  reached(fd: number): void {
    const end = this.#row + WORKER.FD_END;
    if (fd >= Atomics.load(this.#words, end)) Atomics.store(this.#words, end, fd + 1);
  }

  /** It has opened a connection with descriptor `fd`. */
  opened(fd: number): void {
    this.reached(fd);
    const opened = this.#at.newcomers + NEWCOMERS.OPENED;
    const count = Atomics.load(this.#words, opened);
    const slot = (count >>> 0) % NEWCOMERS_MAX;
    Atomics.store(this.#words, this.#at.newcomers + NEWCOMERS.FDS + slot, fd);
    Atomics.store(this.#words, opened, (count + 1) | 0);
  }

  refused(): void {
    this.#add(WORKER.REFUSED, 1);
  }

  mismatched(): void {
    this.#add(WORKER.MISMATCHES, 1);
  }

  failed(): void {
    this.#add(WORKER.FAILURES, 1);
  }

  /** One more connection that it must keep, or one less. */
  held(by: 1 | -1): void {
    this.#add(WORKER.HELD, by);
  }

  accepted(): void {
    this.#add(WORKER.ACCEPTED, 1);
  }

  received(): void {
    this.#add(WORKER.RECEIVED, 1);
  }

  /** One connection more, with a place; false: `limit` are taken already. */
  enter(limit: number): boolean {
    return takePlace(this.#words, 'CONNECTIONS', this.connectionsIndex, limit);
  }

  /** One connection less, and its place is free. */
  leave(): void {
    returnPlaces(this.#words, 'CONNECTIONS', this.connectionsIndex, 1);
  }

  /** One HTTP request more to answer, with a place; false: `limit` are taken already. */
  beginRequest(limit: number): boolean {
    return takePlace(this.#words, 'REQUESTS', this.#row + WORKER.IN_FLIGHT, limit);
  }

  /** So many requests were answered, or will never be. */
  endRequests(count: number): void {
    returnPlaces(this.#words, 'REQUESTS', this.#row + WORKER.IN_FLIGHT, count);
  }

  /** It refused a connection or a request. */
  shed(): void {
    this.#add(WORKER.SHED, 1);
  }

  accepting(state: AcceptingState): void {
    Atomics.store(this.#words, this.#row + WORKER.ACCEPTING, ACCEPTING_STATES.indexOf(state));
  }

  #add(word: number, by: number): void {
    add(this.#words, this.#row + word, by);
  }
}
