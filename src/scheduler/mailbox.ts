/**
 * Mailboxes: how descriptors travel between threads. One ring for each giver and
 * recipient, and for each recipient a doorbell which says in whose rings to look.
 *
 * Givers are the workers, the governor ({@link Mailboxes.governor}) and main
 * ({@link Mailboxes.main}); recipients are the workers. Any thread may construct
 * one over the same memory. In one ring one thread may put and one may take:
 * a second one loses or repeats entries, and nothing here can detect it.
 *
 * Wait-free on both sides: no step is ever retried, put() takes a fixed number of
 * steps, and drain() as many as there were givers and entries when it looked.
 *
 * ## Nothing is lost
 *
 * A giver writes the entry, then the tail, then the bell. A recipient reads the bell,
 * then the tail, then the entry, then writes the head, which lets the giver use the
 * place again. Each pair of store and load is sequentially consistent and orders the
 * plain accesses around it.
 *
 * ## No wake-up is lost
 *
 * A recipient's wake-up must be a latch: a wake that comes while it is awake makes
 * it look again (`uv_async_send` does that, and so does a counter with Atomics.wait).
 * put() says `wake` to the giver that changed a word of the bell from zero. One that
 * found it nonzero may stay silent, because
 *
 * - the recipient, which alone clears the bell, has not looked since the bell became
 *   nonzero, and
 * - whoever made it nonzero has woken the recipient or is about to.
 *
 * So the recipient will look after this giver rang, and finds its tail written.
 * Three duties follow:
 *
 * - drain() clears the bell *before* it reads a tail. After it, an entry put in
 *   between would be in a ring that nobody will look into.
 * - drain() may leave entries, and then leaves the bell rung. Givers stay silent, so
 *   the recipient must look again by itself: while {@link MailboxReader.rung}.
 * - A giver may die between publishing, ringing and waking. After a giver's death main
 *   rings for it ({@link Mailboxes.ringFor}) and wakes every recipient: one look too
 *   many, and none too few.
 *
 * ## When a recipient stands still
 *
 * What waits in its mailbox then waits as long as it does. So the governor takes connections
 * back out while it has the recipient paused, in native/mail.cc: it makes the entry NOTHING,
 * which the recipient skips. The pause may fall between any two steps of the recipient. That
 * looks at an entry only when it is at the head and BUSY is set, so all connections are the
 * governor's to take back but that one, and what main has put because it found nobody else. BUSY stays
 * set when `take` throws, and then one entry too many is left alone, until the next look.
 *
 * ## When a recipient dies
 *
 * After its thread has ended and before another has its place, main is the reader of its
 * mailbox and calls {@link MailboxReader.drainAll}, since the bell may have been cleared by
 * one who could not finish. src/workers/outbox.ts says what becomes of what is put later. An
 * entry counts as taken when `take` has returned or thrown. One whose taker died at work is therefore seen
 * again, never lost; the connection table tells whether that descriptor was adopted.
 *
 * ## Rejected
 *
 * Messages with descriptors between threads: what is in a port's queue cannot be read after its thread has died.
 *
 * ## Tests
 *
 * test/scheduler/mailbox.test.ts runs this source in every interleaving on small rings; models `mailbox`, `recall`
 * and `departure` (test/models) and real threads (test/native/mailbox.cc) do the same of the protocol, with mutants.
 */
import { difference } from './counter.js';
import {
  bellBit,
  bellRow,
  bellWord,
  bellWords,
  busyWord,
  CAPACITY_MAX,
  ENTRY_WORDS,
  EntryKind,
  entryWord,
  giversFor,
  headWord,
  MAILBOX_ENTRY,
  MAILBOXES,
  mailboxWordsFor,
  tailWord,
} from './layout.js';
import { attachBlock, createBlock, type Misalignment } from './memory.js';

export { EntryKind };

export interface Entry {
  readonly kind: EntryKind;
  readonly fd: number;
  /** What it was accepted from. */
  readonly listener: number;
  /** Generation of `fd` in the connection table. */
  readonly generation: number;
  /** Bytes that the application had consumed at the last boundary. */
  readonly boundary: number;
}

/**
 * What became of an entry.
 *
 * - full: not put; nothing changed
 * - queued: put, and the recipient will look without being woken
 * - wake: put, and the caller must now wake the recipient
 */
export type Put = 'full' | 'queued' | 'wake';

export type Take = (entry: Entry, giver: number) => void;

type Words = Int32Array<SharedArrayBuffer>;

export class Mailboxes {
  /** Pass it to another thread to share the mailboxes. */
  readonly words: Words;
  readonly #floats: Float64Array;

  private constructor(words: Words) {
    this.words = words;
    this.#floats = new Float64Array(words.buffer, words.byteOffset, words.length / 2);
  }

  /**
   * New memory for `workers` recipients. Called once, by main, before any worker starts.
   * @param capacity entries in each ring; a power of two from 2 on
   * @param start where the free-running positions start; tests start next to overflow
   */
  static create(
    workers: number,
    capacity: number,
    misalignmentOf: Misalignment | null,
    start = 0,
  ): Mailboxes {
    if (capacity < 2 || capacity > CAPACITY_MAX || !Number.isInteger(Math.log2(capacity))) {
      throw new RangeError(`capacity must be a power of two to ${CAPACITY_MAX}, not ${capacity}`);
    }
    const words = createBlock(workers, mailboxWordsFor(workers, capacity), misalignmentOf);
    words[MAILBOXES.CAPACITY] = capacity;
    // Memory is zero already; leaving it untouched leaves it without pages.
    for (let giver = 0; start !== 0 && giver < giversFor(workers); giver++) {
      for (let recipient = 0; recipient < workers; recipient++) {
        const head = headWord(workers, capacity, giver, recipient);
        words[head] = start;
        words[tailWord(head)] = start;
      }
    }
    return new Mailboxes(words);
  }

  /** The mailboxes that another thread created. */
  static attach(words: Words): Mailboxes {
    return new Mailboxes(attachBlock(words));
  }

  get workers(): number {
    return this.words[MAILBOXES.WORKERS] as number;
  }

  get capacity(): number {
    return this.words[MAILBOXES.CAPACITY] as number;
  }

  /** The governor as a giver. */
  get governor(): number {
    return this.workers;
  }

  /** Main as a giver. */
  get main(): number {
    return this.workers + 1;
  }

  /** After the death of `giver`, by main, who then wakes every recipient. */
  ringFor(giver: number): void {
    const { workers } = this;
    for (let recipient = 0; recipient < workers; recipient++) {
      const bell = bellRow(workers, recipient) + bellWord(giver);
      // Pairs with the recipient's exchange in #drain, as in put().
      Atomics.or(this.words, bell, bellBit(giver));
    }
  }

  /** The giving end of one ring. */
  writer(giver: number, recipient: number): MailboxWriter {
    return new MailboxWriter(this, this.#floats, giver, recipient);
  }

  /** The taking end of all rings to `recipient`. */
  reader(recipient: number): MailboxReader {
    return new MailboxReader(this, this.#floats, recipient);
  }
}

/** Puts into one ring. The giver's thread only. */
export class MailboxWriter {
  readonly #words: Words;
  readonly #floats: Float64Array;
  readonly #capacity: number;
  readonly #head: number;
  readonly #tail: number;
  readonly #bell: number;
  readonly #bit: number;

  constructor(mailboxes: Mailboxes, floats: Float64Array, giver: number, recipient: number) {
    const { workers, capacity } = mailboxes;
    this.#words = mailboxes.words;
    this.#floats = floats;
    this.#capacity = capacity;
    this.#head = headWord(workers, capacity, giver, recipient);
    this.#tail = tailWord(this.#head);
    this.#bell = bellRow(workers, recipient) + bellWord(giver);
    this.#bit = bellBit(giver);
  }

  /** How many entries there is room for; at least as many stay true until the next put. */
  free(): number {
    const tail = Atomics.load(this.#words, this.#tail);
    // Pairs with the recipient's store in #take.
    const head = Atomics.load(this.#words, this.#head);
    return this.#capacity - difference(tail, head);
  }

  put(entry: Entry): Put {
    const words = this.#words;
    const tail = Atomics.load(words, this.#tail); // its own: any load would do
    // Pairs with the recipient's store in #take: what it has read may be overwritten.
    const head = Atomics.load(words, this.#head);
    if (difference(tail, head) === this.#capacity) return 'full';
    const at = entryWord(this.#head, this.#capacity, tail);
    words[at + MAILBOX_ENTRY.KIND] = entry.kind;
    words[at + MAILBOX_ENTRY.FD] = entry.fd;
    words[at + MAILBOX_ENTRY.LISTENER] = entry.listener;
    words[at + MAILBOX_ENTRY.GENERATION] = entry.generation;
    this.#floats[(at + MAILBOX_ENTRY.BOUNDARY) / 2] = entry.boundary;
    // Pairs with the recipient's load in #take: publishes the entry.
    Atomics.store(words, this.#tail, (tail + 1) | 0);
    // Pairs with the recipient's exchange in #drain: whoever sees the bit sees the tail.
    return Atomics.or(words, this.#bell, this.#bit) === 0 ? 'wake' : 'queued';
  }
}

/** Takes from all rings to one recipient. The recipient's thread only; after its death, main. */
export class MailboxReader {
  readonly #words: Words;
  readonly #floats: Float64Array;
  readonly #workers: number;
  readonly #capacity: number;
  readonly #recipient: number;
  readonly #bell: number;
  /** Bits taken from the bell whose rings are not empty yet, while in #drain. */
  readonly #rung: Int32Array;
  /** The giver to begin with, so that a busy one does not starve those after it. */
  #next = 0;

  constructor(mailboxes: Mailboxes, floats: Float64Array, recipient: number) {
    const { workers, capacity } = mailboxes;
    this.#words = mailboxes.words;
    this.#floats = floats;
    this.#workers = workers;
    this.#capacity = capacity;
    this.#recipient = recipient;
    this.#bell = bellRow(workers, recipient);
    this.#rung = new Int32Array(bellWords(workers));
  }

  /** Whether there may be something to take. */
  rung(): boolean {
    for (let word = 0; word < this.#rung.length; word++) {
      if (Atomics.load(this.#words, this.#bell + word) !== 0) return true;
    }
    return false;
  }

  /**
   * Takes at most `max` entries, in each giver's order, and returns how many. If it
   * left any, or if `take` threw, the bell is rung again: the caller must look again.
   */
  drain(take: Take, max: number): number {
    return this.#drain(take, max, false);
  }

  /** Takes everything, whether or not the bell says so. */
  drainAll(take: Take): number {
    return this.#drain(take, Number.POSITIVE_INFINITY, true);
  }

  /** @param all whether to look into every ring, rung or not */
  #drain(take: Take, max: number, all: boolean): number {
    const givers = giversFor(this.#workers);
    const rung = this.#rung;
    for (let word = 0; word < rung.length; word++) {
      // Pairs with the giver's or in put(). Before any tail is read: see above.
      rung[word] = Atomics.exchange(this.#words, this.#bell + word, 0);
    }
    for (let giver = 0; all && giver < givers; giver++) {
      const word = bellWord(giver);
      rung[word] = (rung[word] as number) | bellBit(giver);
    }
    const first = this.#next;
    let taken = 0;
    try {
      for (let i = 0; i < givers && taken < max; i++) {
        const giver = (first + i) % givers;
        const word = bellWord(giver);
        const bit = bellBit(giver);
        if (((rung[word] as number) & bit) === 0) continue;
        taken += this.#take(giver, take, max - taken);
        if (taken < max) rung[word] = (rung[word] as number) & ~bit;
        else this.#next = (giver + 1) % givers;
      }
    } finally {
      for (let word = 0; word < rung.length; word++) {
        const left = rung[word] as number;
        if (left !== 0) Atomics.or(this.#words, this.#bell + word, left);
      }
    }
    return taken;
  }

  #take(giver: number, take: Take, max: number): number {
    const words = this.#words;
    const headAt = headWord(this.#workers, this.#capacity, giver, this.#recipient);
    const head = Atomics.load(words, headAt); // its own: any load would do
    // Pairs with the giver's store in put(): the entries up to it are written. It is
    // read once; what is put from now on rings the bell again.
    const tail = Atomics.load(words, tailWord(headAt));
    const count = Math.min(difference(tail, head), max);
    if (count === 0) return 0;
    // From here on the governor leaves the entry at the head alone: see above.
    Atomics.store(words, busyWord(headAt), 1);
    for (let i = 0; i < count; i++) {
      const at = entryWord(headAt, this.#capacity, head + i);
      const entry: Entry = {
        kind: Atomics.load(words, at + MAILBOX_ENTRY.KIND) as EntryKind,
        fd: words[at + MAILBOX_ENTRY.FD] as number,
        listener: words[at + MAILBOX_ENTRY.LISTENER] as number,
        generation: words[at + MAILBOX_ENTRY.GENERATION] as number,
        boundary: this.#floats[(at + MAILBOX_ENTRY.BOUNDARY) / 2] as number,
      };
      try {
        if (entry.kind !== EntryKind.NOTHING) take(entry, giver);
      } finally {
        // Pairs with the giver's load in put(): it may use the place again.
        Atomics.store(words, headAt, (head + i + 1) | 0);
      }
    }
    Atomics.store(words, busyWord(headAt), 0);
    return count;
  }
}

/** The mailboxes as native/mail.h takes them: their words, and where in them everything is. */
export function nativeMail({ words, workers, capacity }: Mailboxes): {
  words: Words;
  layout: Int32Array;
} {
  const first = headWord(workers, capacity, 0, 0);
  return {
    words,
    layout: Int32Array.of(
      giversFor(workers),
      capacity,
      first,
      headWord(workers, capacity, 1, 0) - first,
      busyWord(0),
      tailWord(0),
      entryWord(0, capacity, 0),
      ENTRY_WORDS,
      MAILBOX_ENTRY.KIND,
      MAILBOX_ENTRY.FD,
      MAILBOX_ENTRY.LISTENER,
      MAILBOX_ENTRY.GENERATION,
      MAILBOX_ENTRY.BOUNDARY,
      EntryKind.NOTHING,
      EntryKind.CONNECTION,
      EntryKind.ACCEPTED,
    ),
  };
}
