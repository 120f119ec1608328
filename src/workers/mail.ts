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

export interface MailEvents {
  /** A connection is here: it is on its way no longer. */
  arrived(): void;
  /** A connection of this worker was taken by the governor. */
  dropped(): void;
  /** Gets a connection that nobody takes here. */
  undeliverable(entry: Entry, why: WhyUndeliverable): void;
}

export class Mail {
  readonly #reader: MailboxReader;
  readonly #listening: Listening;
  readonly #tracking: Tracking;
  readonly #events: MailEvents;
  #adoption: Adoption | null = null;
  #given = false;

  constructor(reader: MailboxReader, listening: Listening, tracking: Tracking, events: MailEvents) {
    this.#reader = reader;
    this.#listening = listening;
    this.#tracking = tracking;
    this.#events = events;
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
      this.#events.dropped();
      this.#tracking.drop(entry.fd, entry.generation);
      return;
    }
    const { kind, fd, listener, boundary } = entry;
    const moved = kind === EntryKind.CONNECTION;
    this.#given = true;
    this.#adoption = moved ? { boundary } : null;
    try {
      const adopting = () => {
        // Before the table says so: of one that is not in transit main counts nothing any more.
        this.#events.arrived();
        this.#tracking.adopting(fd);
      };
      const result = this.#listening.accept(listener, fd, moved, adopting);
      if (result === 'failed') close(fd);
      else if (result !== 'accepted') this.#events.undeliverable(entry, result);
    } finally {
      this.#adoption = null;
      this.#given = false;
    }
  };
}
