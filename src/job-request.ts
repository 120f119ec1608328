/**
 * What may be asked of the job pool: which function, with what, until when. Checked on the thread
 * that asks, before anything is sent, so that a mistake is an error at the call. Any thread.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Transferable } from 'node:worker_threads';
import { GyreError } from './errors.js';
import { mustBe, optionsOf } from './option-checks.js';

/** A function that a file exports. */
export interface JobRef {
  /** Absolute path of an ES module or CommonJS. */
  readonly file: string;
  /** Its export: `default` is `module.exports` as well. */
  readonly name: string;
}

/** The option `jobs`, resolved. */
export type JobNames = Readonly<Record<string, JobRef>>;

/** Options of `run()`. */
export interface RunOptions {
  /**
   * Cancels the job: the promise rejects at once with an `AbortError` whose `cause` is the
   * signal's reason. A job that runs is cut off by ending its thread; one that waits never runs.
   * Default: it cannot be cancelled.
   */
  signal?: AbortSignal;
  /**
   * Objects within the value that change hands instead of being copied, as in `postMessage()`:
   * ArrayBuffers, MessagePorts, …. They are unusable here afterwards. Default: none.
   */
  transfer?: readonly Transferable[];
}

/** Checked, with its defaults. */
export interface JobRequest {
  readonly ref: JobRef;
  readonly signal: AbortSignal | null;
  readonly transfer: readonly Transferable[];
}

/** As Piscina rejects when a signal aborts a task, with the code that Node's own errors have. */
export class AbortError extends Error {
  readonly code = 'ABORT_ERR';

  constructor(reason: unknown) {
    super('The task has been aborted', { cause: reason });
    this.name = 'AbortError';
  }
}

/** The value, or the transfer list, is none that another thread can have. */
export function valueError(cause: unknown): GyreError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new GyreError('ERR_GYRE_JOB_VALUE', `the value of a job cannot be sent: ${text}`, {
    cause,
  });
}

function unknown(text: string, cause?: unknown): GyreError {
  return new GyreError('ERR_GYRE_JOB_UNKNOWN', text, cause === undefined ? {} : { cause });
}

/** Whether `job` is a file and not a name. */
export function isJobUrl(job: unknown): job is string | URL {
  return job instanceof URL || (typeof job === 'string' && job.startsWith('file:'));
}

/** The function at a `file:` URL: what follows `#` is its export. @throws GyreError */
export function jobAt(url: string | URL): JobRef {
  try {
    const { href, hash } = new URL(url);
    const file = fileURLToPath(hash === '' ? href : href.slice(0, -hash.length));
    if (file.includes('\0')) throw new TypeError('a path has no NUL');
    return { file, name: decodeURIComponent(hash.slice(1)) || 'default' };
  } catch (cause) {
    throw unknown(`${url} is no file: URL of a job: ${(cause as Error).message}`, cause);
  }
}

/** Most files that are remembered as being there. */
const SEEN_MAX = 1_000;
/** So that a file that is run again and again is not looked for each time. */
const seen = new Set<string>();

/** @throws GyreError `ERR_GYRE_JOB_UNKNOWN` */
function existing(ref: JobRef): JobRef {
  if (seen.has(ref.file)) return ref;
  if (!existsSync(ref.file)) throw unknown(`there is no file of a job at ${ref.file}`);
  if (seen.size === SEEN_MAX) seen.clear();
  seen.add(ref.file);
  return ref;
}

function resolveRef(names: JobNames, job: unknown): JobRef {
  if (isJobUrl(job)) return existing(jobAt(job));
  if (typeof job !== 'string') throw unknown(`a job is a name or a file: URL, not ${typeof job}`);
  const ref = Object.hasOwn(names, job) ? names[job] : undefined;
  if (ref !== undefined) return ref;
  const known = Object.keys(names).join(', ') || 'none, because the option jobs names none';
  throw unknown(`no job is named ${JSON.stringify(job)}; known are ${known}`);
}

function isSignal(value: unknown): value is AbortSignal {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}

/**
 * @throws GyreError `ERR_GYRE_JOB_UNKNOWN`, `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`
 * @throws AbortError if the signal was aborted before
 */
export function resolveRun(names: JobNames, job: unknown, options: unknown): JobRequest {
  const ref = resolveRef(names, job);
  const { signal, transfer = [] } = optionsOf('run()', options, ['signal', 'transfer']);
  if (signal !== undefined && !isSignal(signal)) {
    return mustBe('option signal of run()', 'an AbortSignal');
  }
  if (!Array.isArray(transfer)) return mustBe('option transfer of run()', 'a list');
  if (signal?.aborted) throw new AbortError(signal.reason);
  return { ref, signal: signal ?? null, transfer: transfer as Transferable[] };
}
