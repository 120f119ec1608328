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
 * ## The giver may be ended
 *
 * A descriptor that it has made for a connection is no handle's, so the end of its thread does not close
 * it. (Nor is one that was taken out of a mailbox, until it is: src/workers/mail.ts.) So it is noted in shared memory, in the giver's *hand*, from before anything else happens until it is
 * somebody else's: main sees to what it finds there after a giver's end. V8 ends a thread at the entry of a
 * function or at the turn of a loop and nowhere else, and so neither may come between a system call, or
 * the store that publishes an entry, and the store in the hand. Until then the giver counts the connection,
 * and from then on it does not: main must know whose its place is (src/scheduler/places.ts).
 */
import { close, wake } from '../native.js';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import { EntryKind, HAND_ACCEPTED } from '../scheduler/layout.js';
import type { Entry, Mailboxes, MailboxWriter } from '../scheduler/mailbox.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';

/** What may be sent: a connection that somebody had, or one that nobody has accepted yet. */
export type Sent = typeof EntryKind.CONNECTION | typeof EntryKind.ACCEPTED;

export class Outbox {
  readonly #writers: readonly MailboxWriter[];
  readonly #board: Scoreboard;
  readonly #table: ConnectionTable;
  readonly #left: (recipient: number) => void;
  /** With the giver's hand, and at `#count` how many connections it has; null: it is not counted there. */
  readonly #words: Int32Array;
  readonly #count: number | null;

  /**
   * @param giver its number among the givers of `mailboxes`
   * @param left asks main to take out what is in the mailbox of `recipient`, which is gone
   * @param words in which the giver's hand is
   * @param count word in which the giver counts its connections; null: what it sends is not among them
   */
  constructor(
    mailboxes: Mailboxes,
    giver: number,
    board: Scoreboard,
    table: ConnectionTable,
    left: (recipient: number) => void,
    words: Int32Array,
    count: number | null,
  ) {
    this.#writers = Array.from({ length: mailboxes.workers }, (_, recipient) =>
      mailboxes.writer(giver, recipient),
    );
    this.#board = board;
    this.#table = table;
    this.#left = left;
    this.#words = words;
    this.#count = count;
  }

  /**
   * Calls `make`, which returns another descriptor of a connection that this giver has, or -errno, and
   * puts that into the hand at word `hand`.
   */
  make(hand: number, make: () => number): number {
    const fd = make();
    this.#words[hand] = fd;
    return fd;
  }

  /** The same for one that accepts a connection, which the giver has counted. */
  accept(hand: number, accept: () => number): number {
    const fd = accept();
    this.#words[hand] = fd < 0 ? 0 : fd | HAND_ACCEPTED;
    return fd;
  }

  /**
   * Puts `fd` into the hand, which the giver has counted, out of `accepted`, whose owner would close it when
   * the thread ends.
   */
  receive(hand: number, fd: number, accepted: Int32Array): void {
    this.#words[hand] = fd | HAND_ACCEPTED;
    accepted[0] = -1;
  }

  /** Closes what {@link make} has put into the hand. */
  discard(hand: number): void {
    close(this.#words[hand] as number);
    this.#words[hand] = 0;
  }

  /** How many entries there is room for. */
  room(recipient: number): number {
    return this.#writer(recipient).free();
  }

  /** Sends `fd`, which is in the hand. There must be {@link room}. */
  connection(
    recipient: number,
    kind: Sent,
    fd: number,
    listener: number,
    boundary: number,
    hand: number,
  ): void {
    const generation = this.#table.send(fd, listener, boundary);
    this.forward(recipient, { kind, fd, listener, generation, boundary }, hand);
  }

  /** Sends on what was taken out of another mailbox and is in the hand. There must be {@link room}. */
  forward(recipient: number, entry: Entry, hand: number): void {
    this.#pass(hand, () => this.#writer(recipient).put(entry));
  }

  /** Gives `fd`, which is in the hand, to main: `send` posts the entry. */
  toMain(
    fd: number,
    listener: number,
    boundary: number,
    hand: number,
    send: (entry: Entry) => void,
  ): void {
    const generation = this.#table.send(fd, listener, boundary);
    const entry = { kind: EntryKind.CONNECTION, fd, listener, generation, boundary };
    this.#pass(hand, () => send(entry));
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

  /** `publish` makes what is in the hand somebody else's. */
  #pass(hand: number, publish: () => void): void {
    const words = this.#words;
    const count = this.#count;
    publish();
    words[hand] = 0;
    if (count !== null) words[count] = ((words[count] as number) - 1) | 0;
  }

  #writer(recipient: number): MailboxWriter {
    return this.#writers[recipient] as MailboxWriter;
  }
}
