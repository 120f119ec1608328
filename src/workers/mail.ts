/**
 * The worker's end of its mailbox: connections that others gave it become ordinary
 * sockets of its servers, and wrappers of connections that were taken from it go.
 * Worker's thread only; called when the loop is woken.
 */
import type { Socket } from 'node:net';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import { EntryKind } from '../scheduler/layout.js';
import type { Entry, MailboxReader } from '../scheduler/mailbox.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import type { Connections } from './connections.js';
import type { Listening } from './listening.js';
import { scheduleImmediate } from './timers.js';
import type { Adoption, Tracking } from './tracking.js';

/** Entries in one turn of the loop; the rest waits for the next, after I/O. */
const ENTRIES_PER_TURN = 64;

interface MailInit {
  readonly reader: MailboxReader;
  readonly table: ConnectionTable;
  /** With its hand, and the count of its connections. */
  readonly row: WorkerWriter;
  readonly listening: Listening;
  readonly tracking: Tracking;
  readonly connections: Connections;
  /**
   * Gets a connection whose server no longer listens here, or which has as many as it will take
   * (`full`).
   */
  undeliverable(entry: Entry, full: boolean): void;
}

export class Mail {
  readonly #init: MailInit;
  #adoption: Adoption | null = null;
  #given = false;

  constructor(init: MailInit) {
    this.#init = init;
  }

  /** Reads what has come. */
  read = (): void => {
    try {
      this.#init.reader.drain(this.#take, ENTRIES_PER_TURN);
    } finally {
      // Also when the application's `connection` listener has thrown and it goes on
      // after that: nobody rings again for what is left.
      if (this.#init.reader.rung()) scheduleImmediate(this.read);
    }
  };

  /** A socket of this worker was opened. True if it came from here. */
  opened(socket: Socket): boolean {
    this.#init.tracking.opened(socket, this.#adoption);
    return this.#given;
  }

  #take = (entry: Entry): void => {
    const { table, row, listening, tracking, connections, undeliverable } = this.#init;
    const { kind, fd, listener, generation, boundary } = entry;
    if (kind === EntryKind.DROP) {
      tracking.drop(fd, generation);
      return;
    }
    const moved = kind === EntryKind.CONNECTION;
    const { words, handIndex: at } = row;
    const adopting = () => {
      connections.arrived();
      table.adopt(fd, words, row.connectionsIndex, at);
    };
    this.#given = true;
    this.#adoption = moved ? { boundary } : null;
    let became: ReturnType<typeof listening.accept>;
    try {
      became = listening.accept(listener, { fd, words, at, adopting }, moved);
    } finally {
      connections.settle();
      this.#adoption = null;
      this.#given = false;
    }
    // Last, as no function may be entered between this and the head: if the thread ended there, main would have it
    // in a message and find it in the mailbox as well.
    if (became === 'not-listening') undeliverable(entry, false);
    else if (became === 'full') undeliverable(entry, true);
  };
}
