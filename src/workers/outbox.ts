/**
 * The giving end of the mailboxes for one giver, a worker or the governor. That giver's
 * thread only. Wait-free; never blocks.
 *
 * ## A recipient may be gone
 *
 * It ends when it likes, and main then takes out what is in its mailbox. So that nothing
 * is left there: a giver puts, and then looks whether the recipient has a peer; main
 * says that it has none, and then takes out. Both are sequentially consistent, so either main
 * sees the entry or the giver sees that nobody reads it, and asks main to look again. A giver
 * that dies in between leaves that to main, which looks again after every death.
 */
import { wake } from '../native.js';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Entry, Mailboxes, MailboxWriter } from '../scheduler/mailbox.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';

/** What may be sent: a connection that somebody had, or one that nobody has accepted yet. */
export type Sent = typeof EntryKind.CONNECTION | typeof EntryKind.ACCEPTED;

export class Outbox {
  readonly #writers: readonly MailboxWriter[];
  readonly #board: Scoreboard;
  readonly #table: ConnectionTable;
  readonly #sent: (recipient: number) => void;
  readonly #left: (recipient: number) => void;

  /**
   * @param giver its number among the givers of `mailboxes`
   * @param sent counts a connection that is about to be on its way to `recipient`
   * @param left asks main to take out what is in the mailbox of `recipient`, which is gone
   */
  constructor(
    mailboxes: Mailboxes,
    giver: number,
    board: Scoreboard,
    table: ConnectionTable,
    sent: (recipient: number) => void,
    left: (recipient: number) => void,
  ) {
    this.#writers = Array.from({ length: mailboxes.workers }, (_, recipient) =>
      mailboxes.writer(giver, recipient),
    );
    this.#board = board;
    this.#table = table;
    this.#sent = sent;
    this.#left = left;
  }

  /** How many entries there is room for. */
  room(recipient: number): number {
    return this.#writer(recipient).free();
  }

  /** Sends `fd`, which the caller has just made. There must be {@link room}. */
  connection(recipient: number, kind: Sent, fd: number, listener: number, boundary: number): void {
    this.#sent(recipient);
    const generation = this.#table.send(fd, listener, boundary);
    this.#writer(recipient).put({ kind, fd, listener, generation, boundary });
  }

  /** Sends on what was taken out of another mailbox. There must be {@link room}. */
  forward(recipient: number, entry: Entry): void {
    this.#writer(recipient).put(entry);
  }

  /** Tells `recipient` that its connection `fd` was taken. There must be {@link room}. */
  drop(recipient: number, fd: number, generation: number): void {
    this.#writer(recipient).put({
      ...{ kind: EntryKind.DROP, fd, generation },
      ...{ listener: 0, boundary: 0 },
    });
  }

  /** After one or more entries were put. */
  deliver(recipient: number): void {
    // Pairs with the store of main: see above. A peer that ends now is main's to notice.
    const peer = this.#board.peer(recipient);
    if (peer === 0) this.#left(recipient);
    else wake(peer);
  }

  #writer(recipient: number): MailboxWriter {
    return this.#writers[recipient] as MailboxWriter;
  }
}
