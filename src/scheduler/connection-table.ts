/**
 * The connection table: for each descriptor number, whose connection it is and
 * whether it could move now. Indexed by number, which the kernel keeps unique in the
 * process; numbers from {@link ConnectionTable.descriptorsMax} on are not tracked, and
 * their connections never move. Any thread, as the table below says; wait-free.
 *
 * ## Who may do what
 *
 *     from                 | to                    | by
 *     ---------------------+-----------------------+-----------------------------------
 *     UNTRACKED            | IN_TRANSIT            | send: who made the descriptor
 *     IN_TRANSIT           | UNTRACKED             | adopt: who took it out of a mailbox
 *     UNTRACKED            | FRESH .. HELD,        | open: who owns it from now on
 *                          | LISTENING             |
 *     FRESH, BETWEEN       | IN_MESSAGE            | begin: owner
 *     IN_MESSAGE           | BETWEEN               | between: owner
 *     FRESH .. IN_MESSAGE  | HELD                  | hold: owner
 *     FRESH .. HELD        | BETWEEN               | release: owner
 *     FRESH .. HELD        | IN_MESSAGE            | unhold: owner
 *     FRESH, BETWEEN       | TAKEN, IN_MESSAGE     | governor, while the owner is paused
 *     FRESH, BETWEEN       | GIVING                | tryGive: owner
 *     GIVING               | FRESH .. IN_MESSAGE   | keep: owner
 *     any                  | UNTRACKED             | close: owner, or main of what is in transit
 *
 * From TAKEN only close() leads on: the number refers to a socket on which nothing
 * happens until the owner has dropped its wrapper.
 *
 * The owner must call close() *before* it closes the descriptor, and nothing for this
 * number after. The kernel gives a closed number to the next who asks, on any thread:
 * a late call would speak of somebody else's connection. A note about a number that
 * travels in a mailbox carries the generation, and is void if that has changed: a DROP whose
 * wrapper is gone already, or a CONNECTION that is seen again because the worker which
 * took it died just then. If that worker had adopted it, the end of the thread has closed the
 * descriptor, and the number may be somebody else's.
 *
 * ## Why plain stores suffice
 *
 * begin() and between() run for each request, so they are two or three plain accesses
 * and allocate nothing. An entry has one writer at a time: its owner while that
 * runs, and the governor while it has the owner paused. The futex handshake of the
 * pause orders the owner's accesses before the governor's, and its release those
 * before what the owner does next. From one owner to the next the order
 * comes from the kernel, which hands out a number only after it was closed.
 *
 * The pause may fall between any two instructions of the owner, so it is for each
 * method to be right when cut in two:
 *
 * - begin(): not yet IN_MESSAGE, but a byte of the message was read. The kernel's count is
 *   past BOUNDARY, and the governor leaves the connection alone. In the same way every
 *   hook that comes late or never makes a connection stay.
 * - between(): IN_MESSAGE until its last store, and so left alone.
 * - hold(), release(): called when the application likes, so also just when the governor
 *   takes the connection. They change the state by compare-and-exchange, and the only one who
 *   can make that fail is the governor: by taking the connection, which then is gone, or by
 *   finding a message that nobody has told of, and then the second try succeeds.
 * - tryGive(): the owner duplicates the descriptor and drops it, and the governor may pause
 *   it in between. GIVING is nothing that the governor takes, so one of the two has it.
 * - open(): OWNER is written last, and a connection without owner is not looked at.
 * - close(): STATE is written first, and read in the same instant: whether the governor took the
 *   connection before decides who counts it.
 *
 * The entries of a thread that was terminated still name it as their owner, although their numbers
 * are free: node closes them before it lets go of the loop, which can be paused until then. Main takes that name
 * away when it has heard of the end ({@link ConnectionTable.forget}). Until then the number may be somebody else's, who has
 * not said so yet; the governor sees by SOCKET that it is.
 *
 * ## Rejected
 *
 * A table of owners in JavaScript on main: each move would wait for main, and what is on its way to main is the
 * same question again. Closing by number after a death: it may be somebody else's by then.
 *
 * ## Tests
 *
 * test/scheduler/connection-table.test.ts stops this source at every access; model `table` (test/models) and real
 * threads (test/native/table.cc) do the same of the protocol, with mutants; the simulation has one more.
 */
import { CONNECTION, CONNECTION_WORDS, ConnectionState, DESCRIPTORS_MAX } from './layout.js';
import { allocateWords, type Misalignment } from './memory.js';

export { ConnectionState as State };

/** One entry as plain values, which may be from slightly different moments. */
export interface Connection {
  /** Index of the worker that owns it, or null. */
  readonly worker: number | null;
  readonly state: ConnectionState;
  readonly listener: number;
  readonly generation: number;
  readonly boundary: number;
}

/** What its owner is about to give away. */
export type Giving = Pick<Connection, 'state' | 'listener' | 'boundary'>;

/** Descriptors that moving leaves to accept(2), files and all else. No evidence for more or less. */
const DESCRIPTORS_LEFT = 32;

const NO_WORKER = -1;

const NOBODYS: Connection = {
  worker: null,
  state: ConnectionState.UNTRACKED,
  listener: 0,
  generation: 0,
  boundary: 0,
};

type Words = Int32Array<SharedArrayBuffer>;

export class ConnectionTable {
  /** Pass it to another thread to share the table. */
  readonly words: Words;
  /** Descriptors from this number on are not tracked. */
  readonly descriptorsMax: number;
  readonly #floats: Float64Array;

  private constructor(words: Words) {
    this.words = words;
    this.descriptorsMax = words.length / CONNECTION_WORDS;
    this.#floats = new Float64Array(words.buffer, words.byteOffset, words.length / 2);
  }

  /**
   * New memory for descriptors below `descriptorsMax`, of which at most DESCRIPTORS_MAX
   * are tracked. Called once, by main, before any worker starts.
   */
  static create(descriptorsMax: number, misalignmentOf: Misalignment | null): ConnectionTable {
    if (!(descriptorsMax >= 1)) {
      throw new RangeError(`there must be a descriptor to track, not ${descriptorsMax}`);
    }
    const tracked = Math.floor(Math.min(descriptorsMax, DESCRIPTORS_MAX));
    return new ConnectionTable(allocateWords(tracked * CONNECTION_WORDS, misalignmentOf));
  }

  /**
   * Moving makes descriptors below this number only. A connection has two from when it is given
   * until its owner has dropped the wrapper, and where the last ones are in use new connections
   * wait that could have been served.
   */
  get movableMax(): number {
    return this.descriptorsMax - DESCRIPTORS_LEFT;
  }

  /** The table that another thread created. */
  static attach(words: Words): ConnectionTable {
    return new ConnectionTable(words);
  }

  /**
   * Starts a connection under `fd`, of which the application has consumed `boundary`
   * bytes. Returns its generation, or 0 if `fd` is not tracked.
   *
   * @param socket the lower half of the kernel's name of it (SO_COOKIE), 0: unknown. Whoever takes the
   *   connection compares it with what is there.
   */
  open(
    fd: number,
    worker: number,
    listener: number,
    boundary: number,
    state: ConnectionState,
    socket = 0,
  ): number {
    if (!this.#tracks(fd)) return 0;
    const words = this.words;
    const at = fd * CONNECTION_WORDS;
    const generation = ((words[at + CONNECTION.GENERATION] as number) + 1) | 0;
    words[at + CONNECTION.OWNER] = 0;
    words[at + CONNECTION.GENERATION] = generation;
    words[at + CONNECTION.LISTENER] = listener;
    this.#floats[(at + CONNECTION.BOUNDARY) / 2] = boundary;
    // After OWNER in every order: who finds this one must not find the owner before.
    Atomics.store(words, at + CONNECTION.SOCKET, socket);
    words[at + CONNECTION.STATE] = state;
    words[at + CONNECTION.OWNER] = worker + 1;
    return generation;
  }

  /**
   * The caller has just made `fd`, by dup(2) or accept4(2), and will put it into a mailbox.
   * Returns the generation for the entry. Whoever takes that out calls {@link adopt}, or, if nobody is
   * to have the connection any more, {@link close}.
   */
  send(fd: number, listener: number, boundary: number): number {
    return this.open(fd, NO_WORKER, listener, boundary, ConnectionState.IN_TRANSIT);
  }

  /** Whether the `fd` that an entry speaks of has not been adopted since it was sent. */
  isInTransit(fd: number, generation: number): boolean {
    const { state, generation: current } = this.read(fd);
    return state === ConnectionState.IN_TRANSIT && current === generation;
  }

  /** The first bytes of a message were read. A held connection stays held. */
  begin(fd: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS + CONNECTION.STATE;
    if (this.words[at] !== ConnectionState.HELD) this.words[at] = ConnectionState.IN_MESSAGE;
  }

  /**
   * The message that {@link begin} began is over, `boundary` bytes are consumed and
   * nothing is left to write. A held connection stays held.
   */
  between(fd: number, boundary: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS;
    if (this.words[at + CONNECTION.STATE] === ConnectionState.HELD) return;
    this.#floats[(at + CONNECTION.BOUNDARY) / 2] = boundary;
    this.words[at + CONNECTION.STATE] = ConnectionState.BETWEEN;
  }

  /**
   * Its owner wants to give it away now: if this is not null, nobody else does any more,
   * and the caller goes on to {@link close} or {@link keep} in the same turn.
   */
  tryGive(fd: number): Giving | null {
    if (!this.#tracks(fd)) return null;
    const at = fd * CONNECTION_WORDS;
    const state = Atomics.load(this.words, at + CONNECTION.STATE);
    if (state !== ConnectionState.FRESH && state !== ConnectionState.BETWEEN) return null;
    const giving = ConnectionState.GIVING;
    if (Atomics.compareExchange(this.words, at + CONNECTION.STATE, state, giving) !== state) {
      return null;
    }
    return {
      state,
      listener: this.words[at + CONNECTION.LISTENER] as number,
      boundary: this.#floats[(at + CONNECTION.BOUNDARY) / 2] as number,
    };
  }

  /** The caller of {@link tryGive} keeps it after all. */
  keep(fd: number, state: ConnectionState): void {
    this.words[fd * CONNECTION_WORDS + CONNECTION.STATE] = state;
  }

  /** It stays, whatever begins and ends on it. False: too late, it was taken. */
  hold(fd: number): boolean {
    if (!this.#tracks(fd)) return true;
    return this.#change(fd * CONNECTION_WORDS + CONNECTION.STATE, ConnectionState.HELD);
  }

  /**
   * The application says that it stands between two messages, after `boundary` bytes,
   * held or not. False: it was taken meanwhile.
   */
  release(fd: number, boundary: number): boolean {
    if (!this.#tracks(fd)) return true;
    const at = fd * CONNECTION_WORDS;
    // Nobody minds if it is written after all to a connection that was taken.
    this.#floats[(at + CONNECTION.BOUNDARY) / 2] = boundary;
    return this.#change(at + CONNECTION.STATE, ConnectionState.BETWEEN);
  }

  /** It is no longer held; whether it stands between two messages is not known. */
  unhold(fd: number): boolean {
    if (!this.#tracks(fd)) return true;
    return this.#change(fd * CONNECTION_WORDS + CONNECTION.STATE, ConnectionState.IN_MESSAGE);
  }

  /** Its owner is about to close `fd`. Returns the state that it had. */
  close(fd: number): ConnectionState {
    if (!this.#tracks(fd)) return ConnectionState.UNTRACKED;
    const at = fd * CONNECTION_WORDS;
    const state = Atomics.exchange(this.words, at + CONNECTION.STATE, ConnectionState.UNTRACKED);
    this.words[at + CONNECTION.OWNER] = 0;
    return state as ConnectionState;
  }

  /**
   * `fd`, which was on its way, is the caller's: counted at `words[count]`, and in its hand at
   * `words[hand]` until it is a handle's. The thread may be ended at the entry of each function: none of these
   * without the others, or main would deliver, or keep, what it takes for lost.
   */
  adopt(fd: number, words: Int32Array, count: number, hand: number): void {
    const state = this.#tracks(fd) ? fd * CONNECTION_WORDS + CONNECTION.STATE : null;
    if (state !== null) {
      this.words[state] = ConnectionState.UNTRACKED;
      this.words[state - CONNECTION.STATE + CONNECTION.OWNER] = 0;
    }
    words[count] = ((words[count] as number) + 1) | 0;
    words[hand] = fd;
  }

  /** The thread of `worker`, which had descriptors below `end`, has ended, and they with it. */
  forget(worker: number, end = this.descriptorsMax): void {
    for (let fd = 0; fd < Math.min(end, this.descriptorsMax); fd++) {
      // The end of the thread has closed the number: somebody may have been given it by now, and be
      // writing the entry.
      Atomics.compareExchange(this.words, fd * CONNECTION_WORDS + CONNECTION.OWNER, worker + 1, 0);
    }
  }

  /** The entry of `fd`; nobody's if it is not tracked. Another thread's may be changing. */
  read(fd: number): Connection {
    if (!this.#tracks(fd)) return NOBODYS;
    const words = this.words;
    const at = fd * CONNECTION_WORDS;
    const owner = words[at + CONNECTION.OWNER] as number;
    return {
      worker: owner === 0 ? null : owner - 1,
      state: words[at + CONNECTION.STATE] as ConnectionState,
      listener: words[at + CONNECTION.LISTENER] as number,
      generation: words[at + CONNECTION.GENERATION] as number,
      boundary: this.#floats[(at + CONNECTION.BOUNDARY) / 2] as number,
    };
  }

  /** Sets the state at word `at` unless the connection was taken, even just now. */
  #change(at: number, to: ConnectionState): boolean {
    // The governor changes it once at most: to TAKEN, or to IN_MESSAGE, and then no more.
    for (let tries = 0; tries < 2; tries++) {
      const from = Atomics.load(this.words, at);
      if (from === ConnectionState.TAKEN) return false;
      if (Atomics.compareExchange(this.words, at, from, to) === from) return true;
    }
    return false;
  }

  /** False for -1, too: a socket that is closed has no descriptor. */
  #tracks(fd: number): boolean {
    return fd >>> 0 < this.descriptorsMax;
  }
}

/** A table as native/connection_table.h takes it: its words, and where in them everything is. */
export function nativeTable(table: ConnectionTable): { words: Words; layout: Int32Array } {
  const layout = Int32Array.of(
    CONNECTION_WORDS,
    CONNECTION.OWNER,
    CONNECTION.STATE,
    CONNECTION.LISTENER,
    CONNECTION.GENERATION,
    CONNECTION.BOUNDARY,
    CONNECTION.SOCKET,
    ConnectionState.FRESH,
    ConnectionState.BETWEEN,
    ConnectionState.IN_MESSAGE,
    ConnectionState.LISTENING,
    ConnectionState.TAKEN,
    table.movableMax,
  );
  return { words: table.words, layout };
}
