/**
 * The wait for a worker to listen, and what is said of one that does not. Main thread only.
 */
import { GyreError, workerError } from '../errors.js';
import type { FromWorker } from '../protocol.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';

interface Wait {
  readonly startMs: number;
  /** `startMs` are over: it rejects with this, or resolves if it is null. */
  late(): GyreError | null;
  /** Whether something else that the worker says is as good as that it listens. */
  suffices?(said: FromWorker['kind']): boolean;
}

/** Resolves when `worker` listens. Rejects if it ends before that. */
export function whenListening(
  worker: WorkerHandle,
  { startMs, late, suffices }: Wait,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const isLate = () => {
      const error = late();
      if (error === null) resolve();
      else reject(error);
    };
    const timer = Number.isFinite(startMs) ? setTimeout(isLate, startMs) : undefined;
    worker.on('message', ({ kind }) => {
      if (kind !== 'ready' && !suffices?.(kind)) return;
      clearTimeout(timer);
      resolve();
    });
    worker.on('exit', (exit) => {
      clearTimeout(timer);
      reject(endedEarly(worker, exit));
    });
  });
}

/** It does not listen after `startMs`, as an error. */
export function notListening(worker: WorkerHandle, startMs: number): GyreError {
  return unready(worker, `does not listen on anything after ${startMs} ms`);
}

/** The same as a warning, for who goes on without it. */
export function warnNotListening({ index, listenError }: WorkerHandle, startMs: number): void {
  const failed = listenError === null ? '' : `; ${listenError.message}`;
  process.emitWarning(`worker ${index} does not listen on anything after ${startMs} ms${failed}`, {
    type: 'GyreWarning',
    code: 'GYRE_NOT_LISTENING',
  });
}

/** It ended before it listened, as an error. */
function endedEarly(worker: WorkerHandle, exit: WorkerExit): GyreError {
  if (exit.error !== undefined) return workerError(worker.index, exit.error);
  return unready(worker, `ended with code ${exit.code} before it listened on anything`);
}

function unready({ index, listenError }: WorkerHandle, what: string): GyreError {
  return new GyreError('ERR_GYRE_WORKER_EXITED', `worker ${index} ${what}`, {
    ...{ worker: index, ...(listenError && { cause: listenError }) },
  });
}
