/**
 * Asks an admin endpoint for its snapshot: `gyre top`'s half of the conversation.
 */
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import type { AdminAddress } from './options.js';
import { SCHEMA, type Status } from './status.js';

/** A snapshot takes milliseconds, or a quarter of a second while a worker stands still. */
const LIMIT_MS = 5_000;
/** Some 2 KB for each worker. */
const BYTES_MAX = 16 * 1024 * 1024;

/** Why there is no snapshot, in words for people. */
export class NoAnswer extends Error {}

/**
 * @param ended gives up when it is aborted
 * @throws NoAnswer
 */
export async function fetchStatus(
  address: AdminAddress,
  token: string | null,
  ended?: AbortSignal,
): Promise<Status> {
  let response: IncomingMessage;
  let body: string;
  const limit = AbortSignal.timeout(LIMIT_MS);
  const signal = ended === undefined ? limit : AbortSignal.any([limit, ended]);
  try {
    const where =
      address.kind === 'unix'
        ? { socketPath: address.path }
        : { host: address.host, port: address.port };
    const authorization = token === null ? {} : { authorization: `Bearer ${token}` };
    const request = http.get({
      ...{ ...where, path: '/snapshot', agent: false, signal },
      headers: authorization,
    });
    [response] = (await once(request, 'response')) as [IncomingMessage];
    body = await textOf(response);
  } catch (error) {
    if (error instanceof NoAnswer) throw error;
    const { message } = error as Error;
    throw new NoAnswer(limit.aborted ? `no answer within ${LIMIT_MS} ms` : message);
  }
  if (response.statusCode !== 200) throw new NoAnswer(refusalIn(response.statusCode, body));
  return statusIn(body);
}

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response) {
    text += chunk;
    if (text.length > BYTES_MAX) throw new NoAnswer('the answer is too long');
  }
  return text;
}

function refusalIn(status: number | undefined, body: string): string {
  if (status === 401) return 'it asks for a token: set GYRE_ADMIN_TOKEN';
  try {
    const { error } = JSON.parse(body) as { error: { message: string } };
    return `it answers ${status}: ${error.message}`;
  } catch {
    return `it answers ${status}, so it is no admin endpoint of gyre`;
  }
}

function statusIn(body: string): Status {
  let status: Status;
  try {
    status = JSON.parse(body) as Status;
  } catch {
    throw new NoAnswer('it is no admin endpoint of gyre');
  }
  if (status?.schema === SCHEMA) return status;
  throw new NoAnswer(`its snapshots have schema ${status?.schema}, this gyre knows ${SCHEMA}`);
}
