/**
 * Firings on their way from main to the worker that is to handle them, so that each is begun
 * once: a word of shared memory for each says whether its handler has begun. The firing itself
 * is a message. Main's thread and the worker's may both call at any time, each its own end; wait-free, no retry
 * loops. A place that is freed while its handler may still begin is handled twice.
 *
 *     free (0) --offer--> waits (n) --begin (worker)----> begun (-n) --free (main)--> free
 *                                    \--takeBack (main)--> free
 *
 * - *begin* and *takeBack* are one compare-and-swap each, from n. One of them succeeds: either the
 *   worker begins the firing, or main has it again and may give it to somebody else, while
 *   its message is still on its way and will be ignored.
 * - Numbers are not used again for 2^31 offers, so a message that comes late never
 *   finds its number in a place that is another offer's by then.
 * - When the worker has ended its words say what it left behind: n, nobody has begun that; -n, its
 *   handler had begun, and nobody knows how far it came.
 *
 * Rejected: one queue from which idle workers take. A sleeping worker must be woken, so somebody has to choose one
 * anyway, and payloads are objects. The message alone: what was posted to a worker that then stands still could not be
 * given to another, or would be handled twice. A lease that lapses: a handler that is slow is then handled twice.
 *
 * Tests: test/scheduler/offers.test.ts, test/sources/chaos.test.ts.
 */
import { OFFER_PLACES, offerPlaces, offerWordsFor } from './layout.js';
import { attachBlock, createBlock, type Misalignment } from './memory.js';

/** Where a firing waits to be begun. */
export interface Offer {
  /** From 0 to OFFER_PLACES - 1. */
  readonly place: number;
  /** Positive; the same only after 2^31 - 1 others. */
  readonly number: number;
}

const NUMBER_MAX = 0x7fffffff;

export class Offers {
  /** Pass it to another thread to share the offers. */
  readonly words: Int32Array<SharedArrayBuffer>;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
  }

  /** New memory for `workers` workers. Called once, by main, before any worker starts. */
  static create(workers: number, misalignmentOf: Misalignment | null): Offers {
    return new Offers(createBlock(workers, offerWordsFor(workers), misalignmentOf));
  }

  /** The offers that another thread created. */
  static attach(words: Int32Array<SharedArrayBuffer>): Offers {
    return new Offers(attachBlock(words));
  }

  /** Main's end for a thread that is about to have `worker`'s places, which are all free. */
  giver(worker: number): OfferGiver {
    return new OfferGiver(this.words, offerPlaces(worker));
  }

  /** The worker's own end. */
  taker(worker: number): OfferTaker {
    return new OfferTaker(this.words, offerPlaces(worker));
  }
}

/** Main's end. Main only. */
export class OfferGiver {
  readonly words: Int32Array;
  readonly #first: number;
  readonly #free = Array.from({ length: OFFER_PLACES }, (_, place) => OFFER_PLACES - 1 - place);
  #last: number;

  /** @param last number of the offer before the first; for tests next to overflow */
  constructor(words: Int32Array, first: number, last = 0) {
    this.words = words;
    this.#first = first;
    this.#last = last;
  }

  get room(): number {
    return this.#free.length;
  }

  /** A place for a firing, whose message is posted after this; null if all are taken. */
  offer(): Offer | null {
    const place = this.#free.pop();
    if (place === undefined) return null;
    this.#last = this.#last === NUMBER_MAX ? 1 : this.#last + 1;
    const number = this.#last;
    Atomics.store(this.words, this.#first + place, number);
    return { place, number };
  }

  /** Whether the handler has begun. */
  hasBegun({ place, number }: Offer): boolean {
    return Atomics.load(this.words, this.#first + place) === -number;
  }

  /** Whether main has it again; else its handler has begun. Its place is free, then. */
  takeBack({ place, number }: Offer): boolean {
    const at = this.#first + place;
    if (Atomics.compareExchange(this.words, at, number, 0) !== number) return false;
    this.#free.push(place);
    return true;
  }

  /** Its handler has settled, or its worker has ended. */
  free({ place }: Offer): void {
    Atomics.store(this.words, this.#first + place, 0);
    this.#free.push(place);
  }
}

/** The worker's end. Its thread only. */
export class OfferTaker {
  readonly words: Int32Array;
  readonly #first: number;

  constructor(words: Int32Array, first: number) {
    this.words = words;
    this.#first = first;
  }

  /** Whether the caller is to handle it: main has not taken it back. */
  begin({ place, number }: Offer): boolean {
    const at = this.#first + place;
    return Atomics.compareExchange(this.words, at, number, -number) === number;
  }
}
