/**
 * `gyre/worker`: what a server may ask about the worker it runs in.
 *
 * @module
 */
import type { Socket } from 'node:net';
import {
  getMovingControl,
  getSelf,
  type MetricsRegistry,
  namedRegistries,
  type WorkerSelf,
} from './workers/self.js';

export type { MetricsRegistry, WorkerSelf };

/** The worker that this thread is, or null on a thread that gyre did not start. */
export const worker: WorkerSelf | null = getSelf();

/**
 * Keeps `socket` in this worker: it is never moved, whatever it carries. Call it again
 * for no effect; it ends with {@link release} or the connection. Without effect where
 * connections do not move.
 */
export function hold(socket: Socket): void {
  getMovingControl()?.hold(socket);
}

/**
 * Says that a raw TCP connection stands between two messages: everything read so far was
 * handled, everything written has left, and nothing that this worker remembers of it is
 * needed for what comes next. Until it is read from again, it may continue in another
 * worker, as a new `connection` event there. Call it after each message.
 *
 * HTTP/1 connections need no call. A connection that was held is no longer.
 *
 * @returns false if it stays: where connections do not move, over TLS, after an upgrade,
 *   within an HTTP message or before it is known that there is none, or while there are bytes
 *   that were not sent or not read.
 */
export function release(socket: Socket): boolean {
  return getMovingControl()?.release(socket) ?? false;
}

/**
 * Adds the metrics of a prom-client registry to those of the admin endpoint, which sums them up
 * over all workers. The default registry of a prom-client that was loaded from a file of its own
 * needs no call; one that was bundled does, and so does every other registry. Without effect
 * where `admin` is off, and when it is called again.
 */
export function exposeMetrics(registry: MetricsRegistry): void {
  namedRegistries().add(registry);
}
