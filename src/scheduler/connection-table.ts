/**
 * The connection table: for each descriptor number, whose connection it is and
 * whether it could move now.
 */
import { CONNECTION, CONNECTION_WORDS, ConnectionState, DESCRIPTORS_MAX } from './layout.js';
import { allocateWords, type Misalignment } from './memory.js';

export { ConnectionState as State };

export interface Connection {
  /** Index of the worker that owns it, or null. */
  readonly worker: number | null;
  readonly state: ConnectionState;
  readonly listener: number;
  readonly generation: number;
  readonly boundary: number;
}

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

  /** The table that another thread created. */
  static attach(words: Words): ConnectionTable {
    return new ConnectionTable(words);
  }

  /** Starts a connection under `fd`; returns its generation, or 0 if `fd` is not tracked. */
  open(
    fd: number,
    worker: number,
    listener: number,
    boundary: number,
    state: ConnectionState,
  ): number {
    if (!this.#tracks(fd)) return 0;
    const words = this.words;
    const at = fd * CONNECTION_WORDS;
    const generation = ((words[at + CONNECTION.GENERATION] as number) + 1) | 0;
    words[at + CONNECTION.GENERATION] = generation;
    words[at + CONNECTION.LISTENER] = listener;
    this.#floats[(at + CONNECTION.BOUNDARY) / 2] = boundary;
    words[at + CONNECTION.STATE] = state;
    words[at + CONNECTION.OWNER] = worker + 1;
    return generation;
  }

  /** A message has begun. */
  begin(fd: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS + CONNECTION.STATE;
    if (this.words[at] !== ConnectionState.HELD) this.words[at] = ConnectionState.IN_MESSAGE;
  }

  /** It stands between two messages, after `boundary` bytes. */
  between(fd: number, boundary: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS;
    if (this.words[at + CONNECTION.STATE] === ConnectionState.HELD) return;
    this.release(fd, boundary);
  }

  /** It stays until it is released, whatever begins and ends on it. */
  hold(fd: number): void {
    if (!this.#tracks(fd)) return;
    this.words[fd * CONNECTION_WORDS + CONNECTION.STATE] = ConnectionState.HELD;
  }

  /** As {@link between}, and it is no longer held. */
  release(fd: number, boundary: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS;
    this.#floats[(at + CONNECTION.BOUNDARY) / 2] = boundary;
    this.words[at + CONNECTION.STATE] = ConnectionState.BETWEEN;
  }

  /** Its owner is about to close `fd`. */
  close(fd: number): void {
    if (!this.#tracks(fd)) return;
    const at = fd * CONNECTION_WORDS;
    this.words[at + CONNECTION.STATE] = ConnectionState.UNTRACKED;
    this.words[at + CONNECTION.OWNER] = 0;
  }

  /** The thread of `worker` has ended, and its descriptors with it. */
  forget(worker: number): void {
    for (let fd = 0; fd < this.descriptorsMax; fd++) {
      if (this.words[fd * CONNECTION_WORDS + CONNECTION.OWNER] === worker + 1) this.close(fd);
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

  /** False for -1, too: a socket that is closed has no descriptor. */
  #tracks(fd: number): boolean {
    return fd >>> 0 < this.descriptorsMax;
  }
}
