/**
 * What may become of a firing that is not handled as it should, as errors. Pure.
 */
import { GyreError } from '../../errors.js';
import type { PostedError } from '../../protocol.js';

const quoted = (name: string) => JSON.stringify(name);

/** Its source, or the runtime, was closed. */
export function neverBegun(name: string): GyreError {
  return new GyreError('ERR_GYRE_CLOSED', `${quoted(name)} was closed before a worker began it`);
}

export function unhandled(name: string): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_UNHANDLED',
    `${quoted(name)} has fired, and no worker has a handler for it`,
  );
}

/** @param tries handlers that had begun it */
export function lostWith(worker: number, name: string, tries = 1): GyreError {
  const which = tries === 1 ? '' : ` in try ${tries}`;
  return new GyreError(
    'ERR_GYRE_EVENT_LOST',
    `worker ${worker} ended while it handled ${quoted(name)}${which}`,
    { worker },
  );
}

export function timedOutIn(worker: number, name: string, timeoutMs: number): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_TIMEOUT',
    `worker ${worker} has not handled ${quoted(name)} within ${timeoutMs} ms`,
    { worker },
  );
}

/** @param error what its handler threw */
export function failedIn(worker: number, name: string, { value, code }: PostedError): GyreError {
  const thrown = value instanceof Error;
  const text = thrown ? value.message : String(value);
  return new GyreError(
    'ERR_GYRE_EVENT_FAILED',
    `the handler of ${quoted(name)} in worker ${worker} failed: ${text}`,
    { worker, cause: code !== null && thrown ? Object.assign(value, { code }) : value },
  );
}
