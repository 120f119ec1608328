/**
 * Where the connections go that wait for a worker which has as many as it may have, while
 * others have room: the kernel spreads them by a hash, and knows of no limit. Worker's thread
 * only. Nothing is lost when there is nobody: what waits goes on waiting.
 */
import type { Hand } from '../scheduler/hand.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Capacity } from '../scheduler/limits.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Outbox } from './outbox.js';

interface OverflowInit {
  readonly slot: number;
  /** Slots below this number accept by themselves. */
  readonly accepting: number;
  readonly board: Scoreboard;
  readonly capacity: Capacity;
  readonly outbox: Outbox;
  readonly hand: Hand;
}

export class Overflow {
  readonly #init: OverflowInit;

  constructor(init: OverflowInit) {
    this.#init = init;
  }

  /** The worker with most room; null: nobody has any. */
  recipient(): number | null {
    const { slot: own, accepting, board, capacity, outbox } = this.#init;
    let best: number | null = null;
    let most = 0;
    for (let slot = 0; slot < accepting; slot++) {
      if (slot === own || !board.receives(slot)) continue;
      const room = capacity.room(slot);
      if (room <= most || outbox.room(slot) === 0) continue;
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
    const { outbox, hand } = this.#init;
    hand.receive(fd, accepted);
    outbox.connection(recipient, EntryKind.ACCEPTED, { fd, listener, boundary: 0 }, hand);
    outbox.deliver(recipient);
  }
}
