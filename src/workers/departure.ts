/**
 * Gives everything away: what a worker does with its connections before it ends. Worker's
 * thread only.
 *
 * They go through the mailboxes like all moves, to the heir (the thread that replaces this
 * one) or to whoever has fewest connections. Where there is nobody, main keeps them until
 * there is: see `Moving.deliver`.
 */
import { close, duplicate } from '../native.js';
import type { FromWorker } from '../protocol.js';
import type { ConnectionTable, Giving } from '../scheduler/connection-table.js';
import type { Hand } from '../scheduler/hand.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Outbox } from './outbox.js';
import type { Tracking } from './tracking.js';

interface DepartureInit {
  readonly slot: number;
  /** Slots below this number accept by themselves. */
  readonly accepting: number;
  readonly board: Scoreboard;
  readonly table: ConnectionTable;
  readonly tracking: Tracking;
  readonly outbox: Outbox;
  readonly hand: Hand;
  send(message: FromWorker): void;
}

export class Departure {
  readonly #init: DepartureInit;

  constructor(init: DepartureInit) {
    this.#init = init;
  }

  /**
   * Gives every connection that stands between two messages away.
   *
   * @param heir slot that gets them while it can; null: whoever has fewest
   * @param last whether there is no later: then main gets what nobody has room for
   */
  giveAll(heir: number | null, last: boolean): void {
    const { tracking } = this.#init;
    tracking.settle();
    this.give([...tracking.descriptors()], heir, last);
  }

  /** The same with those of `descriptors` only. */
  give(descriptors: readonly number[], heir: number | null, last: boolean): void {
    const { recipients, load } = this.#recipients(heir);
    const given = new Set<number>();
    for (const fd of descriptors) {
      const recipient = this.#least(recipients, load);
      if (recipient === null && !last) break;
      this.#init.tracking.give(fd, (giving) => this.#pass(fd, giving, recipient));
      if (recipient === null) continue;
      given.add(recipient);
      load.set(recipient, (load.get(recipient) ?? 0) + 1);
    }
    for (const recipient of given) this.#init.outbox.deliver(recipient);
  }

  #pass(fd: number, { listener, boundary }: Giving, recipient: number | null): boolean {
    const { table, outbox, hand, send } = this.#init;
    const copy = hand.make(() => duplicate(fd));
    if (copy < 0) return false;
    if (copy >= table.movableMax) {
      hand.discard(close);
      return false;
    }
    const sent = { fd: copy, listener, boundary };
    if (recipient !== null) outbox.connection(recipient, EntryKind.CONNECTION, sent, hand);
    else outbox.toMain(sent, hand, (entry) => send({ kind: 'undeliverable', entry, full: false }));
    return true;
  }

  #recipients(heir: number | null) {
    const { slot: own, accepting, board } = this.#init;
    const load = new Map<number, number>();
    const recipients: number[] = [];
    const consider = (slot: number) => {
      if (slot === own || !board.receives(slot)) return;
      recipients.push(slot);
      load.set(slot, board.connections(slot));
    };
    if (heir !== null) consider(heir);
    if (recipients.length > 0) return { recipients, load };
    for (let slot = 0; slot < accepting; slot++) consider(slot);
    return { recipients, load };
  }

  #least(recipients: readonly number[], load: ReadonlyMap<number, number>): number | null {
    let best: number | null = null;
    for (const slot of recipients) {
      if (this.#init.outbox.room(slot) === 0) continue;
      if (best === null || (load.get(slot) ?? 0) < (load.get(best) ?? 0)) best = slot;
    }
    return best;
  }
}
