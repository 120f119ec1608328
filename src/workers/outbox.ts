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
 *
 * What it sends is in a hand until then: src/scheduler/hand.ts. Test: model `departure`.
 */
import { wake } from '../native.js';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import type { Hand } from '../scheduler/hand.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Entry, Mailboxes, MailboxWriter } from '../scheduler/mailbox.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';

/** What may be sent: a connection that somebody had, or one that nobody has accepted yet. */
export type Sent = typeof EntryKind.CONNECTION | typeof EntryKind.ACCEPTED;

/** Its descriptor is in the giver's hand. */
type Connection = Pick<Entry, 'fd' | 'listener' | 'boundary'>;

interface OutboxInit {
  readonly mailboxes: Mailboxes;
  /** Its number among the givers of `mailboxes`. */
  readonly giver: number;
  readonly board: Scoreboard;
  readonly table: ConnectionTable;
  /** Asks main to take out what is in the mailbox of `recipient`, which is gone. */
  left(recipient: number): void;
}

export class Outbox {
  readonly #init: OutboxInit;
  readonly #writers: readonly MailboxWriter[];

  constructor(init: OutboxInit) {
    this.#init = init;
    const { mailboxes, giver } = init;
    this.#writers = Array.from({ length: mailboxes.workers }, (_, recipient) =>
      mailboxes.writer(giver, recipient),
    );
  }

  /** How many entries there is room for. */
  room(recipient: number): number {
    return this.#writer(recipient).free();
  }

  /** Sends what is in `hand`. There must be {@link room}. */
  connection(recipient: number, kind: Sent, sent: Connection, hand: Hand): void {
    const generation = this.#init.table.send(sent.fd, sent.listener, sent.boundary);
    this.forward(recipient, { kind, ...sent, generation }, hand);
  }

  /** Sends on what was taken out of another mailbox and is in `hand`. There must be {@link room}. */
  forward(recipient: number, entry: Entry, hand: Hand): void {
    hand.pass(() => this.#writer(recipient).put(entry));
  }

  /** Gives what is in `hand` to main: `send` posts the entry. */
  toMain(sent: Connection, hand: Hand, send: (entry: Entry) => void): void {
    const generation = this.#init.table.send(sent.fd, sent.listener, sent.boundary);
    hand.pass(() => send({ kind: EntryKind.CONNECTION, ...sent, generation }));
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
    const peer = this.#init.board.peer(recipient);
    if (peer === 0) this.#init.left(recipient);
    else wake(peer);
  }

  #writer(recipient: number): MailboxWriter {
    return this.#writers[recipient] as MailboxWriter;
  }
}
