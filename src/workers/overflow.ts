/**
 * Where the connections go that wait for a worker which has as many as it may have, while
 * others have room: the kernel spreads them by a hash, and knows of no limit. Worker's thread
 * only.
 */

import { EntryKind } from '../scheduler/layout.js';
import type { Capacity } from '../scheduler/limits.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Outbox } from './outbox.js';

export class Overflow {
  readonly #slot: number;
  /** Slots below this number accept by themselves. */
  readonly #accepting: number;
  /** Word of its hand: src/workers/outbox.ts. */
  readonly #hand: number;
  readonly #board: Scoreboard;
  readonly #capacity: Capacity;
  readonly #outbox: Outbox;

  constructor(
    who: { readonly slot: number; readonly accepting: number; readonly hand: number },
    board: Scoreboard,
    capacity: Capacity,
    outbox: Outbox,
  ) {
    this.#slot = who.slot;
    this.#accepting = who.accepting;
    this.#hand = who.hand;
    this.#board = board;
    this.#capacity = capacity;
    this.#outbox = outbox;
  }

  /** The worker with most room; null: nobody has any. */
  recipient(): number | null {
    let best: number | null = null;
    let most = 0;
    for (let slot = 0; slot < this.#accepting; slot++) {
      if (slot === this.#slot || !this.#board.receives(slot)) continue;
      const room = this.#capacity.room(slot);
      if (room <= most || this.#outbox.room(slot) === 0) continue;
      best = slot;
      most = room;
    }
    return best;
  }

  /**
   * Gives the connection `fd`, which nobody has read, to `recipient`.
   * @param accepted where it is noted that it was accepted
   */
  give(fd: number, accepted: Int32Array, listener: number, recipient: number): void {
    this.#outbox.receive(this.#hand, fd, accepted);
    this.#outbox.connection(recipient, EntryKind.ACCEPTED, fd, listener, 0, this.#hand);
    this.#outbox.deliver(recipient);
  }
}
