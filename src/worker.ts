/**
 * `gyre/worker`: what a server may ask about the worker it runs in.
 *
 * @module
 */
import type { Socket } from 'node:net';
import { GyreError } from './errors.js';
import type { RunOptions } from './job-request.js';
import { getJobRunner, getMovingControl, getSelf, type WorkerSelf } from './workers/self.js';

export type { RunOptions, WorkerSelf };

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
