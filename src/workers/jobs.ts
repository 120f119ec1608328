/**
 * `run()` in a worker. Asks main, which owns the pool, for a thread; value and result go through a
 * port of their own between this thread and that one. Worker's thread only.
 *
 * Every job settles: with what comes out of the port, or, if its thread ended, or never began, with
 * what main says. Main says nothing of a job whose outcome was sent.
 */
import { MessageChannel, type MessagePort, type Transferable } from 'node:worker_threads';
import { GyreError } from '../errors.js';
import {
  AbortError,
  type JobNames,
  type JobRequest,
  type RunOptions,
  resolveRun,
  valueError,
} from '../job-request.js';
import type { FromWorker, JobFailure, JobOutcome } from '../protocol.js';

interface Pending {
  readonly settle: (outcome: JobOutcome) => void;
}

export class JobClient {
  readonly #names: JobNames;
  readonly #send: (message: FromWorker, transfer?: readonly Transferable[]) => void;
  readonly #pending = new Map<number, Pending>();
  #last = 0;

  /** @param send posts to main */
  constructor(
    names: JobNames,
    send: (message: FromWorker, transfer?: readonly Transferable[]) => void,
  ) {
    this.#names = names;
    this.#send = send;
  }

  async run(job: string | URL, value: unknown, options: RunOptions): Promise<unknown> {
    const request = resolveRun(this.#names, job, options);
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(value, request.transfer);
    } catch (cause) {
      port1.close();
      throw valueError(cause);
    }
    return this.#ask(request, port1, port2);
  }

  #ask({ ref, signal }: JobRequest, own: MessagePort, other: MessagePort): Promise<unknown> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        settle({ ok: false, error: new AbortError(signal?.reason) });
        this.#send({ kind: 'job-cancel', id });
      };
      const settle = (outcome: JobOutcome) => {
        if (!this.#pending.delete(id)) return;
        own.close();
        signal?.removeEventListener('abort', onAbort);
        if (outcome.ok) resolve(outcome.value);
        else reject(outcome.error);
      };
      this.#pending.set(id, { settle });
      own.on('message', settle);
      own.on('messageerror', (cause) => settle({ ok: false, error: resultError(cause) }));
      signal?.addEventListener('abort', onAbort);
      this.#send({ kind: 'job', id, ref, port: other }, [other]);
    });
  }

  /** Main says that a job will have no outcome. */
  failed({ id, code, message, cause }: JobFailure): void {
    const error = new GyreError(code, message, cause === undefined ? {} : { cause });
    this.#pending.get(id)?.settle({ ok: false, error });
  }
}

function resultError(cause: unknown): GyreError {
  return new GyreError('ERR_GYRE_JOB_CRASHED', 'the result of a job cannot be received', { cause });
}
