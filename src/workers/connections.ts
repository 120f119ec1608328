/**
 * The connections that this worker accepted: counted in its row of the
 * scoreboard, and known one by one for the end. Worker's thread only.
 *
 * It hears of them from node's `net.server.socket` diagnostics channel, so no
 * server is patched, and it allocates nothing per request.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import type { WorkerWriter } from '../scheduler/scoreboard.js';

const CHANNEL = 'net.server.socket';

export interface ConnectionsEvents {
  /** Follows a new connection; tells whether another worker gave it. */
  isGiven(socket: Socket): boolean;
  /** One has closed. */
  closed(): void;
}

export class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #row: WorkerWriter;
  readonly #events: ConnectionsEvents;
  readonly #closed: (this: Socket) => void;
  #whenNone: (() => void) | undefined;

  constructor(row: WorkerWriter, events: ConnectionsEvents) {
    this.#row = row;
    this.#events = events;
    const self = this;
    this.#closed = function () {
      self.#sockets.delete(this);
      self.#row.closed();
      events.closed();
      if (self.#sockets.size === 0) self.#whenNone?.();
    };
  }

  install(): void {
    subscribe(CHANNEL, this.#opened);
  }

  uninstall(): void {
    unsubscribe(CHANNEL, this.#opened);
  }

  [Symbol.iterator](): IterableIterator<Socket> {
    return this.#sockets.values();
  }

  /** Resolves when no accepted connection is open: at once if there is none now. */
  none(): Promise<void> {
    if (this.#sockets.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenNone = resolve;
    });
  }

  #opened = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    this.#sockets.add(socket);
    if (this.#events.isGiven(socket)) this.#row.received();
    else this.#row.accepted();
    socket.once('close', this.#closed);
  };
}
