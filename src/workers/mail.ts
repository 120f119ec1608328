/**
 * The worker's end of its mailbox: connections that others gave it become ordinary
 * sockets of its servers, and wrappers of connections that were taken from it go.
 * Worker's thread only; called when the loop is woken.
 */
import type { Socket } from 'node:net';
import { close } from '../native.js';
import type { WhyUndeliverable } from '../protocol.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Entry, MailboxReader } from '../scheduler/mailbox.js';
import type { Listening } from './listening.js';
import type { Adoption, Tracking } from './tracking.js';

/** Entries in one turn of the loop; the rest waits for the next, after I/O. */
const ENTRIES_PER_TURN = 64;

const scheduleImmediate = setImmediate;

export class Mail {
  readonly #reader: MailboxReader;
  readonly #listening: Listening;
  readonly #tracking: Tracking;
  readonly #undeliverable: (entry: Entry, why: WhyUndeliverable) => void;
  #adoption: Adoption | null = null;
  #given = false;

  /**
   * @param undeliverable gets a connection that nobody takes here
   */
  constructor(
    reader: MailboxReader,
    listening: Listening,
    tracking: Tracking,
    undeliverable: (entry: Entry, why: WhyUndeliverable) => void,
  ) {
    this.#reader = reader;
    this.#listening = listening;
    this.#tracking = tracking;
    this.#undeliverable = undeliverable;
  }

  /** Reads what has come. */
  read = (): void => {
    try {
      this.#reader.drain(this.#take, ENTRIES_PER_TURN);
    } finally {
      // Also when the application's `connection` listener has thrown and it goes on
      // after that: nobody rings again for what is left.
      if (this.#reader.rung()) scheduleImmediate(this.read);
    }
  };

  /** A socket of this worker was opened. True if it came from here. */
  opened(socket: Socket): boolean {
    this.#tracking.opened(socket, this.#adoption);
    return this.#given;
  }

  #take = (entry: Entry): void => {
    if (entry.kind === EntryKind.DROP) {
      this.#tracking.drop(entry.fd, entry.generation);
      return;
    }
    const { kind, fd, listener, boundary } = entry;
    const moved = kind === EntryKind.CONNECTION;
    this.#given = true;
    this.#adoption = moved ? { boundary } : null;
    try {
      const result = this.#listening.accept(listener, fd, moved, () => this.#tracking.adopting(fd));
      if (result === 'failed') close(fd);
      else if (result !== 'accepted') this.#undeliverable(entry, result);
    } finally {
      this.#adoption = null;
      this.#given = false;
    }
  };
}
