/**
 * Gives everything away: what a worker does with its connections before it ends. Worker's
 * thread only.
 *
 * They go through the mailboxes like all moves, to the heir (the thread that replaces this
 * one) or to whoever has fewest connections. Where there is nobody, main keeps them until
 * there is: see `Moving.deliver`.
 */
import { duplicate } from '../native.js';
import type { FromWorker } from '../protocol.js';
import type { ConnectionTable, Giving } from '../scheduler/connection-table.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Outbox } from './outbox.js';
import type { Tracking } from './tracking.js';

export class Departure {
  readonly #slot: number;
  /** Slots below this number accept by themselves. */
  readonly #accepting: number;
  /** Word of its hand: src/workers/outbox.ts. */
  readonly #hand: number;
  readonly #board: Scoreboard;
  readonly #table: ConnectionTable;
  readonly #tracking: Tracking;
  readonly #outbox: Outbox;
  readonly #send: (message: FromWorker) => void;

  constructor(
    who: { readonly slot: number; readonly accepting: number; readonly hand: number },
    board: Scoreboard,
    table: ConnectionTable,
    tracking: Tracking,
    outbox: Outbox,
    send: (message: FromWorker) => void,
  ) {
    this.#slot = who.slot;
    this.#accepting = who.accepting;
    this.#hand = who.hand;
    this.#board = board;
    this.#table = table;
    this.#tracking = tracking;
    this.#outbox = outbox;
    this.#send = send;
  }

  /**
   * Gives every connection that stands between two messages away.
   *
   * @param heir slot that gets them while it can; null: whoever has fewest
   * @param last whether there is no later: then main gets what nobody has room for
   */
  giveAll(heir: number | null, last: boolean): void {
    this.#tracking.settle();
    this.give([...this.#tracking.descriptors()], heir, last);
  }

  /** The same with those of `descriptors` only. */
  give(descriptors: readonly number[], heir: number | null, last: boolean): void {
    const { recipients, load } = this.#recipients(heir);
    const given = new Set<number>();
    for (const fd of descriptors) {
      const recipient = this.#least(recipients, load);
      if (recipient === null && !last) break;
      this.#tracking.give(fd, (giving) => this.#pass(fd, giving, recipient));
      if (recipient === null) continue;
      given.add(recipient);
      load.set(recipient, (load.get(recipient) ?? 0) + 1);
    }
    for (const recipient of given) this.#outbox.deliver(recipient);
  }

  #pass(fd: number, { listener, boundary }: Giving, recipient: number | null): boolean {
    const hand = this.#hand;
    const copy = this.#outbox.make(hand, () => duplicate(fd));
    if (copy < 0) return false;
    if (copy >= this.#table.movableMax) {
      this.#outbox.discard(hand);
      return false;
    }
    if (recipient !== null) {
      this.#outbox.connection(recipient, EntryKind.CONNECTION, copy, listener, boundary, hand);
      return true;
    }
    this.#outbox.toMain(copy, listener, boundary, hand, (entry) =>
      this.#send({ kind: 'undeliverable', entry, full: false }),
    );
    return true;
  }

  #recipients(heir: number | null) {
    const load = new Map<number, number>();
    const recipients: number[] = [];
    const consider = (slot: number) => {
      if (slot === this.#slot || !this.#board.receives(slot)) return;
      recipients.push(slot);
      load.set(slot, this.#board.connections(slot));
    };
    if (heir !== null) consider(heir);
    if (recipients.length > 0) return { recipients, load };
    for (let slot = 0; slot < this.#accepting; slot++) consider(slot);
    return { recipients, load };
  }

  #least(recipients: readonly number[], load: ReadonlyMap<number, number>): number | null {
    let best: number | null = null;
    for (const slot of recipients) {
      if (this.#outbox.room(slot) === 0) continue;
      if (best === null || (load.get(slot) ?? 0) < (load.get(best) ?? 0)) best = slot;
    }
    return best;
  }
}
