/**
 * The one error class of gyre, the one table of its codes, and the errors that several parts raise.
 *
 * Misuse (a bad option) throws at the call; an operating failure (a port in use,
 * a worker that dies) rejects or is emitted. Callers decide by `code`, never by
 * the text of a message.
 */

import { inspect } from 'node:util';

const CODES = {
  ERR_GYRE_OPTION_UNKNOWN: 'An options object has a key that gyre does not know.',
  ERR_GYRE_OPTION_INVALID: 'An option has the wrong type or is out of its range.',
  ERR_GYRE_OPTION_CONFLICT: 'Two options, each valid, cannot be used together.',
  ERR_GYRE_CPUS:
    'More workers were asked for than CPUs they may be pinned to, or a CPU was named that this process may not use.',
  ERR_GYRE_TOPOLOGY: 'No CPU is described where a machine should be.',
  ERR_GYRE_CAPABILITY: 'A capability that was required is missing on this system.',
  ERR_GYRE_ENTRY_MISSING: 'The entry does not exist or cannot be read.',
  ERR_GYRE_WORKER_FAILED: 'A worker threw, or its thread could not start; `cause` is the error.',
  ERR_GYRE_WORKER_EXITED: 'A worker ended before it listened on anything.',
  ERR_GYRE_RESTARTS: 'Workers died more often than `restarts` allows; the runtime closes.',
  ERR_GYRE_HUNG: 'A worker did not return to its event loop for `hangMs` and was replaced.',
  ERR_GYRE_STUCK:
    'A thread was terminated and does not end, because it is in a system call that does not return.',
  ERR_GYRE_RELOAD:
    'A replacement did not start or did not listen; the worker that it was to replace goes on. `cause` is why.',
  ERR_GYRE_JOB_UNKNOWN: 'A job has no such name, or its file is not there.',
  ERR_GYRE_JOB_VALUE: 'The value of a job, or its transfer list, cannot be sent to another thread.',
  ERR_GYRE_JOB_QUEUE_FULL: 'As many jobs wait for a thread as `jobPool.queueMax` allows.',
  ERR_GYRE_JOB_CRASHED:
    'The thread of a job ended, or did not start, before the job was done; `cause` is why.',
  ERR_GYRE_ARENA_CONFLICT: 'An arena of this name has another layout.',
  ERR_GYRE_ARENA_FULL: 'There is no room left in an arena, or there are too many.',
  ERR_GYRE_NO_RUNTIME: 'Something was asked of the runtime on a thread that belongs to none.',
  ERR_GYRE_CLOSED: 'The runtime is closing or closed.',
  ERR_GYRE_SOURCE_NAME:
    'The name of a source or event is no string of 1 to 256 characters, or it is taken.',
  ERR_GYRE_SOURCE_SIGNAL: 'There is no such signal, or a program cannot or must not handle it.',
  ERR_GYRE_SOURCE_PATH: 'A path does not exist or cannot be watched.',
  ERR_GYRE_SOURCE_FD: 'A descriptor is closed or cannot be polled.',
  ERR_GYRE_EVENT_PAYLOAD: 'A payload cannot be cloned.',
  ERR_GYRE_EVENT_UNHANDLED: 'No worker has a handler for what fired.',
  ERR_GYRE_EVENT_FAILED: 'The handler of a firing threw or rejected; `cause` is the error.',
  ERR_GYRE_EVENT_LOST: 'A worker ended while it handled a firing, which is not tried again.',
  ERR_GYRE_EVENT_TIMEOUT: 'The handler of a firing took longer than `timeoutMs`.',
  ERR_GYRE_EVENT_REFUSED: 'Too many emitted events wait for a worker.',
  ERR_GYRE_BUILD: 'The native helper could not be built; what was printed before says why.',
  ERR_GYRE_NATIVE: 'A call into the native helper failed; `syscall` and `errno` say how.',
} as const;

/** A code of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof CODES;

/** Every code that starts with `ERR_GYRE_`, and when it occurs. */
export const ERROR_CODES: Readonly<Record<ErrorCode, string>> = CODES;

/** What is known of an error besides its code. */
export interface GyreErrorDetails {
  /** The error beneath. */
  cause?: unknown;
  /** Name of the system call that failed. */
  syscall?: string;
  /** Negative errno, as in Node's own system errors. */
  errno?: number;
  /** Index of the worker concerned. */
  worker?: number;
}

/**
 * Any error that gyre itself raises.
 *
 * `code` is one of {@link ERROR_CODES}, or, where a system call of a worker
 * failed, that call's own code (`EADDRINUSE`, `EACCES`, …) with `syscall` and
 * `errno` beside it, so that existing handlers keep working.
 */
export class GyreError extends Error {
  /** What callers decide by. */
  readonly code: ErrorCode | (string & {});
  /** Name of the failed system call, where there is one. */
  readonly syscall?: string;
  /** Negative errno as in Node's own system errors, where there is one. */
  readonly errno?: number;
  /** Index of the worker concerned, where there is one. */
  readonly worker?: number;

  constructor(code: ErrorCode | (string & {}), message: string, details: GyreErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.name = 'GyreError';
    this.code = code;
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.errno !== undefined) this.errno = details.errno;
    if (details.worker !== undefined) this.worker = details.worker;
  }
}

/** The runtime, or what belongs to it, is no longer there for anybody. */
export function closedError(): GyreError {
  return new GyreError('ERR_GYRE_CLOSED', 'the runtime is closing or closed');
}

/** Of worker `index` a thread is lost. */
export function lostError(index: number): GyreError {
  return new GyreError(
    'ERR_GYRE_STUCK',
    `worker ${index} was terminated and does not end: it is in a system call that does not return`,
    { worker: index },
  );
}

/** What was thrown. For `throw undefined` an error, because undefined says that nothing was. */
export function thrown(value: unknown): unknown {
  return value === undefined ? new Error('undefined was thrown') : value;
}

/**
 * What became of worker `index` as one error: a system error keeps its code,
 * anything else is `ERR_GYRE_WORKER_FAILED`. `cause` is the worker's own error.
 */
export function workerError(index: number, cause: unknown): GyreError {
  const system = cause as Partial<NodeJS.ErrnoException> | null | undefined;
  const text =
    cause instanceof Error ? cause.message : typeof cause === 'string' ? cause : inspect(cause);
  const details: GyreErrorDetails = { cause, worker: index };
  if (typeof system?.syscall === 'string') details.syscall = system.syscall;
  if (typeof system?.errno === 'number') details.errno = system.errno;
  const isSystem = details.syscall !== undefined && typeof system?.code === 'string';
  return new GyreError(
    isSystem ? (system.code as string) : 'ERR_GYRE_WORKER_FAILED',
    `worker ${index}: ${text}`,
    details,
  );
}
