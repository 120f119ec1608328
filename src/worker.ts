/**
 * `gyre/worker`: what a server may ask about the worker it runs in.
 *
 * @module gyre/worker
 */
import type { Socket } from 'node:net';
import { GyreError } from './errors.js';
import {
  type EventHandler,
  emitHandling,
  eventName,
  type Handled,
  type HandlingOptions,
  type SourceEvent,
} from './events.js';
import type { RunOptions } from './job-request.js';
import {
  getEventsControl,
  getJobRunner,
  getMovingControl,
  getSelf,
  type MetricsRegistry,
  namedRegistries,
  type WorkerSelf,
} from './workers/self.js';
import type { ShutdownHandler } from './workers/shutdown.js';

export type {
  Datagram,
  DatagramEvent,
  DatagramPeer,
  EmittedEvent,
  EventHandler,
  EventKind,
  EventOf,
  FdEvent,
  FdFiring,
  Handled,
  HandlingOptions,
  PathChange,
  PathEvent,
  PathFiring,
  SignalEvent,
  SignalFiring,
  SourceEvent,
  TimerEvent,
  TimerFiring,
} from './events.js';
export type { MetricsRegistry, RunOptions, ShutdownHandler, WorkerSelf };

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

/**
 * Runs a CPU-bound function in a thread of the runtime's job pool, with a copy of `value`, and
 * resolves to a copy of what it returns. The value goes to that thread and the result comes from
 * it directly; the main thread only says which it is.
 *
 * Rejects with what the function throws, as Piscina does: of an error another thread gets name,
 * message, stack and cause. With an `AbortError` if `signal` is aborted. And with a GyreError:
 * `ERR_GYRE_JOB_UNKNOWN`, `ERR_GYRE_JOB_VALUE`, `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
 * or, where there is no runtime, `ERR_GYRE_NO_RUNTIME` before anything is done;
 * `ERR_GYRE_JOB_QUEUE_FULL` if too many wait, or `ERR_GYRE_JOB_CRASHED` if its thread ended.
 *
 * If this worker ends, its jobs are cancelled.
 *
 * @param job a name of the option `jobs` of `createRuntime`, or a `file:` URL, of which `#name` is
 *   an export and which may be relative to `import.meta.url`
 * @param value anything that `postMessage()` takes; copied at the call
 */
export async function run<Result = unknown>(
  job: string | URL,
  value?: unknown,
  options: RunOptions = {},
): Promise<Result> {
  const runner = getJobRunner();
  if (runner === null) {
    throw new GyreError('ERR_GYRE_NO_RUNTIME', 'run() is for workers of a runtime');
  }
  return (await runner.run(job, value, options)) as Result;
}

/**
 * Handles what fires under `name`, from a source of `runtime.sources` or `emit()`. Each firing is
 * handled by one worker that has a handler for its name, and is settled when the handler returns
 * or what it returns settles. While there is a handler this worker does not end by itself.
 *
 * A worker that is started anew says so again, by loading its program. On a thread that gyre did
 * not start it has no effect.
 *
 * @returns what ends it
 * @throws GyreError `ERR_GYRE_SOURCE_NAME` if it is no name, or has a handler in this worker
 */
export function onEvent<Event extends SourceEvent = SourceEvent>(
  name: string,
  handler: EventHandler<Event>,
): () => void {
  return getEventsControl()?.on(eventName(name), handler as EventHandler) ?? (() => {});
}

/**
 * Has `payload` handled by one worker that has a handler for `name`, perhaps this one. It is
 * cloned, as by `structuredClone()`, before this returns. Resolves when the handler has settled; who
 * does not wait need not look at the result, which is no unhandled rejection.
 *
 * @throws GyreError `ERR_GYRE_SOURCE_NAME`, `ERR_GYRE_EVENT_PAYLOAD` if it cannot be cloned, and
 *   for options `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`. Rejects with
 *   `ERR_GYRE_EVENT_UNHANDLED`, `_FAILED`, `_LOST`, `_TIMEOUT` or `_REFUSED`, or `ERR_GYRE_CLOSED`.
 */
export function emit(name: string, payload?: unknown, options?: HandlingOptions): Promise<Handled> {
  const control = getEventsControl();
  if (control !== null) return control.emit(name, payload, options);
  eventName(name);
  emitHandling(options);
  const nobody = Promise.reject<Handled>(
    new GyreError('ERR_GYRE_EVENT_UNHANDLED', 'this thread is no worker of gyre'),
  );
  nobody.catch(() => {});
  return nobody;
}

/**
 * Says that this worker serves. Only for a program that listens on nothing and merely handles
 * events: one that does is known to serve by that. Call it after the last `onEvent()`.
 */
export function ready(): void {
  getEventsControl()?.ready();
}

/**
 * Calls `handler` when this worker has served its last connection and is about to end in order: in
 * `close()`, after a signal that gyre handles, in `reload()` and `resize()`, and when it is
 * replaced before its heap is full. The thread ends when what all handlers return has settled, or when
 * `drainMs`, counted from the beginning of that end, is over. What a handler throws is an uncaught error of
 * this worker, which the runtime reports; it ends all the same.
 *
 * Not called where there is no order: after an uncaught error, `process.exit()`, a hang, with a
 * `drainMs` of 0, or when the program has nothing left to do. Nor when the application handles the signal
 * itself. Does not keep the worker alive. On a thread that gyre did not start it has no effect.
 *
 * @returns what takes it back
 * @throws GyreError `ERR_GYRE_OPTION_INVALID` if it is no function
 */
export function onShutdown(handler: ShutdownHandler): () => void {
  return getEventsControl()?.onShutdown(handler) ?? (() => {});
}
