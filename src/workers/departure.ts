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
import { EntryKind } from '../scheduler/layout.js';
import type { Scoreboard, WorkerWriter } from '../scheduler/scoreboard.js';
import type { Outbox } from './outbox.js';
import type { Tracking } from './tracking.js';

export class Departure {
  readonly #slot: number;
  /** Slots below this number accept by themselves. */
  readonly #accepting: number;
  readonly #board: Scoreboard;
  readonly #row: WorkerWriter;
  readonly #table: ConnectionTable;
  readonly #tracking: Tracking;
  readonly #outbox: Outbox;
  readonly #send: (message: FromWorker) => void;

  constructor(
    who: { readonly slot: number; readonly accepting: number },
    board: Scoreboard,
    row: WorkerWriter,
    table: ConnectionTable,
    tracking: Tracking,
    outbox: Outbox,
    send: (message: FromWorker) => void,
  ) {
    this.#slot = who.slot;
    this.#accepting = who.accepting;
    this.#board = board;
    this.#row = row;
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
      this.#tracking.give(fd, (giving) => this.#hand(fd, giving, recipient));
      if (recipient === null) continue;
      given.add(recipient);
      load.set(recipient, (load.get(recipient) ?? 0) + 1);
    }
    for (const recipient of given) this.#outbox.deliver(recipient);
  }

  #hand(fd: number, { listener, boundary }: Giving, recipient: number | null): boolean {
    const copy = duplicate(fd);
    if (copy < 0) return false;
    if (copy >= this.#table.movableMax) {
      close(copy);
      return false;
    }
    if (recipient !== null) {
      this.#outbox.connection(recipient, EntryKind.CONNECTION, copy, listener, boundary);
      return true;
    }
    this.#row.sent();
    const generation = this.#table.send(copy, listener, boundary);
    const entry = { kind: EntryKind.CONNECTION, fd: copy, listener, generation, boundary };
    this.#send({ kind: 'undeliverable', entry, why: 'not-listening' });
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
