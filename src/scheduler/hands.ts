/**
 * The hands of the governor: what it has taken from a worker and not yet passed on. In shared memory, so that main can
 * pass it on after the governor's end. Its thread only, which writes the entries natively (native/taking.h has
 * the same layout), and main when it has ended. Wait-free.
 *
 *     empty --native take()--> COUNT entries --each: Hand.pass()--> NOTHING ... --empty()--> empty
 *
 * V8 ends no thread between take() and {@link Hands.hold}. An entry whose KIND is NOTHING has been passed on. Its OLD_FD
 * may be told of twice, by the governor and by main: the generation makes the second void.
 *
 * Tests: test/scheduler/hand.test.ts; the simulation ends the governor anywhere, with a mutant.
 */
import { Hand } from './hand.js';
import { ENTRY_WORDS, type EntryKind, HANDS, HANDS_ENTRY, WORD_BYTES } from './layout.js';

/** What was taken: a connection, perhaps out of a mailbox or an accept queue. */
interface Taken {
  /** NOTHING: it was passed on. */
  readonly kind: EntryKind;
  readonly fd: number;
  /** The descriptor that it had; below 0: none, and where it was taken from. */
  readonly oldFd: number;
  readonly listener: number;
  readonly generation: number;
  readonly boundary: number;
}

/** First word of entry `index`. */
function entryAt(index: number): number {
  return HANDS.ENTRIES + index * ENTRY_WORDS;
}

export class Hands {
  /** Pass it to another thread to share the hands. */
  readonly words: Int32Array<SharedArrayBuffer>;
  /** Where native take() writes what it has taken. */
  readonly entries: Int32Array<SharedArrayBuffer>;
  readonly #floats: Float64Array;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
    this.entries = words.subarray(entryAt(0));
    this.#floats = new Float64Array(words.buffer, words.byteOffset, words.length / 2);
  }

  /** New memory for `max` entries. Called once, by main, before the governor starts. */
  static create(max: number): Hands {
    return new Hands(new Int32Array(new SharedArrayBuffer(entryAt(max) * WORD_BYTES)));
  }

  /** The hands that another thread created. */
  static attach(words: Int32Array<SharedArrayBuffer>): Hands {
    return new Hands(words);
  }

  /** The worker that it was taken from. */
  get victim(): number {
    return this.words[HANDS.VICTIM] as number;
  }

  set victim(worker: number) {
    this.words[HANDS.VICTIM] = worker;
  }

  /** How many entries there are; <= 0: none. */
  get count(): number {
    return this.words[HANDS.COUNT] as number;
  }

  /** Calls `take`, which fills {@link entries} and returns how many it has filled, or -errno. */
  hold(take: () => number): number {
    const count = take();
    this.words[HANDS.COUNT] = count;
    return count;
  }

  /** Everything was passed on. */
  empty(): void {
    this.words[HANDS.COUNT] = 0;
  }

  at(index: number): Taken {
    const at = entryAt(index);
    const { words } = this;
    return {
      kind: words[at + HANDS_ENTRY.KIND] as EntryKind,
      fd: words[at + HANDS_ENTRY.FD] as number,
      oldFd: words[at + HANDS_ENTRY.OLD_FD] as number,
      listener: words[at + HANDS_ENTRY.LISTENER] as number,
      generation: words[at + HANDS_ENTRY.GENERATION] as number,
      boundary: this.#floats[(at + HANDS_ENTRY.BOUNDARY) / 2] as number,
    };
  }

  /** Entry `index` as a hand: its KIND becomes NOTHING when it is passed on. What is taken is counted as such. */
  hand(index: number): Hand {
    return new Hand(this.words, entryAt(index) + HANDS_ENTRY.KIND, null);
  }
}
