/**
 * The worker's end of its mailbox: connections that others gave it become ordinary
 * sockets of its servers, and wrappers of connections that were taken from it go.
 * Worker's thread only; called when the loop is woken.
 */
import type { Socket } from 'node:net';
import { close } from '../native.js';
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
  readonly #undeliverable: (entry: Entry) => void;
  #adoption: Adoption | null = null;
  #given = false;

  /** @param undeliverable gets a connection whose server no longer listens here. */
  constructor(
    reader: MailboxReader,
    listening: Listening,
    tracking: Tracking,
    undeliverable: (entry: Entry) => void,
  ) {
    this.#reader = reader;
    this.#listening = listening;
    this.#tracking = tracking;
    this.#undeliverable = undeliverable;
  }

  /** Reads what has come. */
  read = (): void => {
    this.#reader.drain(this.#take, ENTRIES_PER_TURN);
    if (this.#reader.rung()) scheduleImmediate(this.read);
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
    this.#given = true;
    this.#adoption = entry.kind === EntryKind.CONNECTION ? { boundary: entry.boundary } : null;
    try {
      switch (this.#listening.accept(entry.listener, entry.fd)) {
        case 'accepted':
          return;
        case 'not-listening':
          this.#undeliverable(entry);
          return;
        case 'failed':
          close(entry.fd);
      }
    } finally {
      this.#adoption = null;
      this.#given = false;
    }
  };
}
