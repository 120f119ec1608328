/**
 * The worker's end of its mailbox: connections that others gave it become ordinary
 * sockets of its servers, and wrappers of connections that were taken from it go.
 * Worker's thread only; called when the loop is woken.
 */
import type { Socket } from 'node:net';
import { close } from '../native.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Entry, MailboxReader } from '../scheduler/mailbox.js';
import type { Connections } from './connections.js';
import type { Listening } from './listening.js';
import type { Adoption, Tracking } from './tracking.js';

/** Entries in one turn of the loop; the rest waits for the next, after I/O. */
const ENTRIES_PER_TURN = 64;

const scheduleImmediate = setImmediate;

export class Mail {
  readonly #reader: MailboxReader;
  readonly #listening: Listening;
  readonly #tracking: Tracking;
  readonly #connections: Connections;
  readonly #undeliverable: (entry: Entry, full: boolean) => void;
  #adoption: Adoption | null = null;
  #given = false;

  /**
   * @param undeliverable gets a connection whose server no longer listens here, or which
   *   has as many as it will take (`full`).
   */
  constructor(
    reader: MailboxReader,
    listening: Listening,
    tracking: Tracking,
    connections: Connections,
    undeliverable: (entry: Entry, full: boolean) => void,
  ) {
    this.#reader = reader;
    this.#listening = listening;
    this.#tracking = tracking;
    this.#connections = connections;
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
      const adopting = () => {
        this.#connections.arrived();
        this.#tracking.adopting(fd);
      };
      switch (this.#listening.accept(listener, fd, moved, adopting)) {
        case 'accepted':
          return;
        case 'not-listening':
          this.#undeliverable(entry, false);
          return;
        case 'full':
          this.#undeliverable(entry, true);
          return;
        case 'failed':
          close(fd);
      }
    } finally {
      this.#connections.settle();
      this.#adoption = null;
      this.#given = false;
    }
  };
}
