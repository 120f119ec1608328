/**
 * The scoreboard: one row per worker and writer in a SharedArrayBuffer.
 *
 * Any thread may construct one over the same memory. Reads and writes are
 * wait-free: each is one atomic operation, none is retried, except of those that take a place. Misuse, that is a
 * second writer of a word, loses counts; nothing here can detect it.
 */
import {
  ACCEPTING_STATES,
  type AcceptingState,
  difference,
  GOVERNOR,
  gaveWord,
  givenWord,
  governorRow,
  HEADER,
  iterationsRow,
  NEWCOMERS,
  NEWCOMERS_MAX,
  newcomersRow,
  PAUSE_BUCKETS,
  PLACES,
  placesRow,
  requestsRow,
  SUPERVISOR,
  supervisorRow,
  TIME_BUCKETS,
  TIMES,
  takenWord,
  VERSION,
  WORKER,
  WORKER_STATES,
  WORKERS_MAX,
  type WorkerStateName,
  wordsFor,
  workerRow,
} from './layout.js';
import { allocateWords, type Misalignment } from './memory.js';

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

const SERVING = WORKER_STATES.indexOf('serving');
const EMPTY = WORKER_STATES.indexOf('empty');
const EXITED = WORKER_STATES.indexOf('exited');

export class Scoreboard {
  /** The rows, header first. Pass it to another thread to share the board. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** The same memory. */
  readonly #floats: Float64Array;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
    this.#floats = new Float64Array(words.buffer, words.byteOffset, Math.floor(words.length / 2));
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
    const tid = Atomics.load(words, worker + WORKER.TID);
    const state = Atomics.load(words, supervisor + SUPERVISOR.STATE);
    return {
      index,
      state: WORKER_STATES[state] ?? 'empty',
      cpu: this.cpu(index),
      rings: this.rings(index),
      tid: tid === 0 ? null : tid,
      loops: Atomics.load(words, worker + WORKER.LOOPS) >>> 0,
      heartbeatMs: Atomics.load(words, worker + WORKER.HEARTBEAT_MS) >>> 0,
      connections: this.connections(index),
      accepted: Atomics.load(words, worker + WORKER.ACCEPTED) >>> 0,
      messages: Atomics.load(words, worker + WORKER.MESSAGES) >>> 0,
      armed: Atomics.load(words, worker + WORKER.ARMED) !== 0,
      outstanding: Atomics.load(words, worker + WORKER.OUTSTANDING),
      rounds: Atomics.load(words, worker + WORKER.ROUNDS) >>> 0,
      given: Atomics.load(words, worker + WORKER.GIVEN) >>> 0,
      received: Atomics.load(words, worker + WORKER.RECEIVED) >>> 0,
      held: Atomics.load(words, worker + WORKER.HELD),
      rescued: Atomics.load(words, governor + GOVERNOR.RESCUED) >>> 0,
      pauses: Atomics.load(words, governor + GOVERNOR.PAUSES) >>> 0,
      pauseUs: Atomics.load(words, governor + GOVERNOR.PAUSE_US) >>> 0,
      pausesByUs: Array.from(
        { length: PAUSE_BUCKETS },
        (_, bucket) => Atomics.load(words, governor + GOVERNOR.PAUSES_BY_US + bucket) >>> 0,
      ),
      mismatches: this.#sum(worker + WORKER.MISMATCHES, governor + GOVERNOR.MISMATCHES),
      failures: this.#sum(worker + WORKER.FAILURES, governor + GOVERNOR.FAILURES),
      refused: this.#sum(worker + WORKER.REFUSED, governor + GOVERNOR.REFUSED),
      widened: Atomics.load(words, governor + GOVERNOR.WIDENED) >>> 0,
      narrowed: Atomics.load(words, governor + GOVERNOR.NARROWED) >>> 0,
      events: Atomics.load(words, iterationsRow(index) + TIMES.COUNT) >>> 0,
      iterations: this.#times(iterationsRow(index)),
      inFlight: this.inFlight(index),
      shed: Atomics.load(words, worker + WORKER.SHED) >>> 0,
      accepting: this.accepting(index),
      requests: Atomics.load(words, requestsRow(index) + TIMES.COUNT) >>> 0,
      requestTimes: this.#times(requestsRow(index)),
    };
  }

  #times(row: number): Times {
    const bucket = (_: unknown, i: number) => Atomics.load(this.words, row + TIMES.BY_US + i) >>> 0;
    return {
      sumNs: this.#floats[(row + TIMES.SUM_NS) / 2] as number,
      byUs: Array.from({ length: TIME_BUCKETS }, bucket),
    };
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
  places(of: keyof typeof PLACES): number {
    return Atomics.load(this.words, placesRow() + PLACES[of]);
  }

  /** Gives `count` places back. */
  returnPlaces(of: keyof typeof PLACES, count: number): void {
    Atomics.sub(this.words, placesRow() + PLACES[of], count);
  }

  /** The words that {@link WorkerWriter.enter} and native/taking.cc write for a connection. */
  countsOf(index: number): { readonly places: number; readonly taken: number } {
    return { places: placesRow() + PLACES.CONNECTIONS, taken: governorRow(index) + GOVERNOR.TAKEN };
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

  #sum(one: number, other: number): number {
    return (Atomics.load(this.words, one) + Atomics.load(this.words, other)) >>> 0;
  }

  /** How long the requests of worker `index` take. That worker only. */
  requestTimes(index: number): TimesWriter {
    return new TimesWriter(this.words, this.#floats, requestsRow(index));
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

/** libuv's clock, which the native check handle writes down, is the one of hrtime; in ms. */
function loopClock(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) | 0;
}

/** Index of the bucket that counts a pause of `us` µs. */
export function pauseBucket(us: number): number {
  const bits = us < 1 ? 0 : 32 - Math.clz32(us);
  return Math.min(Math.max(bits - 3, 0), PAUSE_BUCKETS - 1);
}

/** Index of the bucket of TIMES.BY_US that counts what took `us` µs; native/loop.cc does the same. */
export function timeBucket(us: number): number {
  const bits = us < 1 ? 0 : us < 2 ** 31 ? 32 - Math.clz32(us) : 32;
  return Math.min(bits, TIME_BUCKETS - 1);
}

/** Writes words of a REQUESTS row. The worker that owns it only. */
export class TimesWriter {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #row: number;

  constructor(words: Int32Array, floats: Float64Array, row: number) {
    this.#words = words;
    this.#floats = floats;
    this.#row = row;
  }

  /** One more, timed or not. A load and a store: this runs for each request. */
  count(): void {
    const at = this.#row + TIMES.COUNT;
    this.#words[at] = ((this.#words[at] as number) + 1) | 0;
  }

  /** One of them took `ms`. */
  took(ms: number): void {
    const sum = (this.#row + TIMES.SUM_NS) / 2;
    this.#floats[sum] = (this.#floats[sum] as number) + ms * 1e6;
    const bucket = this.#row + TIMES.BY_US + timeBucket(ms * 1e3);
    this.#words[bucket] = ((this.#words[bucket] as number) + 1) | 0;
  }
}

/** Of a word that this thread alone writes. */
function add(words: Int32Array, at: number, by: number): void {
  Atomics.store(words, at, (Atomics.load(words, at) + by) | 0);
}

/**
 * Takes a place, and counts it at word `own` of the caller, unless `limit` are taken.
 *
 * Main gives back as many places as are counted there if the thread is ended, which V8 does at the
 * entry of a function or the turn of a loop: so neither comes between the two words, here and in
 * {@link returnCounted}.
 */
function takeCounted(
  words: Int32Array,
  of: keyof typeof PLACES,
  own: number,
  limit: number,
): boolean {
  const place = placesRow() + PLACES[of];
  for (;;) {
    const taken = Atomics.load(words, place);
    if (taken >= limit) return false;
    if (Atomics.compareExchange(words, place, taken, taken + 1) !== taken) continue;
    Atomics.store(words, own, (Atomics.load(words, own) + 1) | 0);
    return true;
  }
}

/** Gives `count` places back that were counted at word `own`. */
function returnCounted(
  words: Int32Array,
  of: keyof typeof PLACES,
  own: number,
  count: number,
): void {
  const place = placesRow() + PLACES[of];
  Atomics.store(words, own, (Atomics.load(words, own) - count) | 0);
  Atomics.sub(words, place, count);
}

/** Writes GOVERNOR words. The governor only. */
export class GovernorWriter {
  readonly #words: Int32Array;
  readonly #row: number;
  readonly #taken: number;

  constructor(words: Int32Array, row: number, taken: number) {
    this.#words = words;
    this.#row = row;
    this.#taken = taken;
  }

  /** The worker was held at a safepoint, and `taken` events were taken from it for `recipient`. */
  paused(recipient: number, taken: number, mismatches: number, failures: number, us: number): void {
    add(this.#words, this.#taken + recipient, taken);
    this.#add(GOVERNOR.PAUSES, 1);
    this.#add(GOVERNOR.PAUSE_US, Math.round(us));
    this.#add(GOVERNOR.PAUSES_BY_US + pauseBucket(us), 1);
    this.#add(GOVERNOR.RESCUED, taken);
    this.#add(GOVERNOR.MISMATCHES, mismatches);
    this.#add(GOVERNOR.FAILURES, failures);
  }

  /** A move was decided on and could not be made. */
  refused(): void {
    this.#add(GOVERNOR.REFUSED, 1);
  }

  /** It may run on so many rings around its CPU from now on. */
  rings(value: number): void {
    Atomics.store(this.#words, this.#row + GOVERNOR.RINGS, value);
  }

  /** It got a ring more, or lost one. */
  pinned(wider: boolean): void {
    this.#add(wider ? GOVERNOR.WIDENED : GOVERNOR.NARROWED, 1);
  }

  #add(word: number, by: number): void {
    add(this.#words, this.#row + word, by);
  }
}

/** Writes SUPERVISOR words. Main only. */
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

/** First words of what one worker writes. */
export interface OwnWords {
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

/**
 * Writes WORKER words. The worker that owns the row only: since nobody else
 * writes them, a load and a store make an increment.
 */
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

  /** Where it notes what it has in its hand: src/workers/outbox.ts. */
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
    return takeCounted(this.#words, 'CONNECTIONS', this.connectionsIndex, limit);
  }

  /** One connection less, and its place is free. */
  leave(): void {
    returnCounted(this.#words, 'CONNECTIONS', this.connectionsIndex, 1);
  }

  /** One HTTP request more to answer, with a place; false: `limit` are taken already. */
  beginRequest(limit: number): boolean {
    return takeCounted(this.#words, 'REQUESTS', this.#row + WORKER.IN_FLIGHT, limit);
  }

  /** So many requests were answered, or will never be. */
  endRequests(count: number): void {
    returnCounted(this.#words, 'REQUESTS', this.#row + WORKER.IN_FLIGHT, count);
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
