/**
 * When a worker is ready: some server listens, and no `listen()` is pending; or the application says so. Worker's
 * thread only. That is told once, in a later turn than the last `listen()`.
 */
import { type EventEmitter, errorMonitor } from 'node:events';
import type { Server } from 'node:net';
import { scheduleImmediate } from './timers.js';

interface ReadinessEvents {
  /** Whether any server listens now. */
  listens(): boolean;
  /** At most once. */
  ready(): void;
  /** A `listen()` has failed. */
  failed(error: Error): void;
}

export class Readiness {
  readonly #events: ReadinessEvents;
  #pending = 0;
  #ready = false;

  constructor(events: ReadinessEvents) {
    this.#events = events;
  }

  /** The application serves, whether or not it listens on anything. */
  declare(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#events.ready();
  }

  /**
   * Follows one `listen()` to its end, without being a listener that handles errors.
   *
   * @returns what ends it sooner, for a `listen()` that threw
   */
  follow(server: Server): () => void {
    this.#pending++;
    let settled = false;
    const settle = () => {
      if (settled) return;
      settled = true;
      this.#pending--;
      server.removeListener('listening', settle);
      server.removeListener('close', settle);
      (server as EventEmitter).removeListener(errorMonitor, fail);
      this.#checkReady();
    };
    const fail = (error: Error) => {
      this.#events.failed(error);
      settle();
    };
    server.once('listening', settle);
    server.once('close', settle);
    (server as EventEmitter).once(errorMonitor, fail);
    return settle;
  }

  #checkReady(): void {
    if (this.#ready || this.#pending > 0 || !this.#events.listens()) return;
    // Later in this turn the application may call listen() on another server.
    scheduleImmediate(() => {
      if (this.#pending === 0 && this.#events.listens()) this.declare();
    });
  }
}
