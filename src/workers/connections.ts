/**
 * The connections that this worker accepted or was given: counted in its row of the
 * scoreboard and in the places of all workers together (src/scheduler/places.ts), and known one
 * by one for the end. Worker's thread only.
 *
 * It hears of them from node's `net.server.socket` diagnostics channel, so no
 * server is patched, and it allocates nothing per request.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import type { Capacity } from '../scheduler/limits.js';
import { PLACES_MAX } from '../scheduler/places.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import { SOCKET_OPENED } from './channels.js';

interface ConnectionsEvents {
  /** Follows a new connection; tells whether another worker gave it. */
  isGiven(socket: Socket): boolean;
  /** One has closed, or gone elsewhere. */
  eased(): void;
}

export class Connections {
  readonly #sockets = new Set<Socket>();
  readonly #row: WorkerWriter;
  readonly #capacity: Capacity;
  readonly #events: ConnectionsEvents;
  readonly #closed: (this: Socket) => void;
  /** Sockets that live on elsewhere, and whose wrappers here have not closed yet. */
  readonly #moved = new Set<Socket>();
  /** A connection is counted that has no socket yet. */
  #expected = false;
  #whenNone: (() => void) | undefined;
  #opened = 0;

  constructor(row: WorkerWriter, capacity: Capacity, events: ConnectionsEvents) {
    this.#row = row;
    this.#capacity = capacity;
    this.#events = events;
    const self = this;
    this.#closed = function () {
      self.#sockets.delete(this);
      if (!self.#moved.delete(this)) row.leave();
      events.eased();
      if (self.#sockets.size === 0) self.#whenNone?.();
    };
  }

  install(): void {
    subscribe(SOCKET_OPENED, this.#onOpened);
  }

  uninstall(): void {
    unsubscribe(SOCKET_OPENED, this.#onOpened);
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

  /** Counts one that is about to be accepted; false: there are as many as there may be. */
  expect(): boolean {
    if (!this.#row.enter(this.#capacity.placesMax)) return false;
    this.#expected = true;
    return true;
  }

  /** One that another worker had, or has accepted for this one, is counted and about to get a socket. */
  arrived(): void {
    this.#expected = true;
  }

  /** The one that was counted goes to another worker instead, and is counted until it does. */
  sent(): void {
    this.#expected = false;
  }

  /** If the one that was counted has no socket now, because there was none or its server dropped it, it is not. */
  settle(): void {
    if (this.#expected) this.#row.leave();
    this.#expected = false;
  }

  /** The connection of `socket` lives on elsewhere, and the wrapper here is about to close. */
  left(socket: Socket): void {
    if (this.#sockets.has(socket)) this.#moved.add(socket);
  }

  #onOpened = (message: unknown): void => {
    const { socket } = message as { socket: Socket };
    // Of a socket of its own libuv tells when it has accepted.
    if (!this.#expected) this.#row.enter(PLACES_MAX);
    this.#expected = false;
    this.#opened++;
    this.#sockets.add(socket);
    if (this.#events.isGiven(socket)) this.#row.received();
    else this.#row.accepted();
    socket.once('close', this.#closed);
  };
}
