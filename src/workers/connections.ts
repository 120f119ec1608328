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

export class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #row: WorkerWriter;
  readonly #isGiven: (socket: Socket) => boolean;
  readonly #closed: (this: Socket) => void;
  #whenNone: (() => void) | undefined;
  #opened = 0;

  /** @param isGiven follows a new connection; tells whether another worker gave it. */
  constructor(row: WorkerWriter, isGiven: (socket: Socket) => boolean) {
    this.#row = row;
    this.#isGiven = isGiven;
    const self = this;
    this.#closed = function () {
      self.#sockets.delete(this);
      self.#row.closed();
      if (self.#sockets.size === 0) self.#whenNone?.();
    };
  }

  install(): void {
    subscribe(CHANNEL, this.#onOpened);
  }

  uninstall(): void {
    unsubscribe(CHANNEL, this.#onOpened);
  }

  [Symbol.iterator](): IterableIterator<Socket> {
    return this.#sockets.values();
  }

  /** How many there ever were. */
  get opened(): number {
    return this.#opened;
  }

  /** Resolves when no accepted connection is open: at once if there is none now. */
  none(): Promise<void> {
    if (this.#sockets.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenNone = resolve;
    });
  }

  #onOpened = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    this.#opened++;
    this.#sockets.add(socket);
    if (this.#isGiven(socket)) this.#row.received();
    else this.#row.accepted();
    socket.once('close', this.#closed);
  };
}
