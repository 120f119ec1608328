/**
 * A hand: the word in which a giver notes the descriptor of a connection that it has made, and that is nobody else's
 * yet. The giver's thread only, and main after its end. Wait-free.
 *
 * ## The giver may be ended
 *
 * Such a descriptor is no handle's, so the end of the thread does not close it. So it is noted in shared memory from
 * before anything else happens until it is somebody else's: main sees to what it finds there after a giver's
 * end. V8 ends a thread at the entry of a function or at the turn of a loop and nowhere else, and so neither may come
 * between a system call, or what publishes an entry, and the store here. Until then the giver counts
 * the connection, and from then on it does not: main must know whose its place is (places.ts).
 *
 *     free --make, accept, receive--> noted --pass (published), discard (closed)--> free
 *
 * What was taken out of a mailbox is noted in the same way until a handle has it (`ConnectionTable.adopt`).
 * A worker has one hand, WORKER.HAND, and uses it for one connection after the other. The governor has one
 * for each that a pause may take: hands.ts.
 *
 * Rejected: a word that says "about to make one", which main would have to compare with the process's descriptors.
 *
 * Tests: test/scheduler/hand.test.ts, limits.test.ts; the simulation ends threads at each such point, with two mutants.
 */
import { HAND_ACCEPTED } from './layout.js';

export class Hand {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #count: number | null;

  /**
   * @param at word of the hand
   * @param count word in which the giver counts its connections; null: what it sends is not among them
   */
  constructor(words: Int32Array, at: number, count: number | null) {
    this.#words = words;
    this.#at = at;
    this.#count = count;
  }

  /** Calls `make`, which returns another descriptor of a connection that this giver has, or -errno, and notes that. */
  make(make: () => number): number {
    const fd = make();
    this.#words[this.#at] = fd;
    return fd;
  }

  /** The same for one that accepts a connection, which the giver has counted. */
  accept(accept: () => number): number {
    const fd = accept();
    this.#words[this.#at] = fd < 0 ? 0 : fd | HAND_ACCEPTED;
    return fd;
  }

  /** Notes `fd`, which the giver has counted, out of `accepted`, whose owner would close it when the thread ends. */
  receive(fd: number, accepted: Int32Array): void {
    this.#words[this.#at] = fd | HAND_ACCEPTED;
    accepted[0] = -1;
  }

  /** Closes what {@link make} has noted. @param close calls nothing after close(2) */
  discard(close: (fd: number) => void): void {
    close(this.#words[this.#at] as number);
    this.#words[this.#at] = 0;
  }

  /** `publish` makes what is noted somebody else's. */
  pass(publish: () => void): void {
    const words = this.#words;
    const at = this.#at;
    const count = this.#count;
    publish();
    words[at] = 0;
    if (count !== null) words[count] = ((words[count] as number) - 1) | 0;
  }
}
