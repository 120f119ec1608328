/**
 * Asks an admin endpoint: the half of `gyre top`, `gyre profile` and `gyre heap` in the conversation. The command line's
 * thread only, in another process than the endpoint's. Nothing is waited for without a limit.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { AdminAddress } from './options.js';
import { SCHEMA, type Status } from './status.js';

/** A snapshot takes milliseconds, or a quarter of a second while a worker stands still. */
const SNAPSHOT_LIMIT_MS = 5_000;
/** Of an answer that is kept in memory. A snapshot has some 2 KB for each worker. */
const BYTES_MAX = 16 * 1024 * 1024;

/** Why there is no answer, in words for people. */
export class NoAnswer extends Error {}

export interface Target {
  readonly address: AdminAddress;
  readonly token: string | null;
}

interface Question {
  readonly path: string;
  /** Null: GET; else POST with this as JSON. */
  readonly body: object | null;
  /** How long the whole answer may take. */
  readonly limitMs: number;
  /** Gives up when it is aborted. */
  readonly ended?: AbortSignal;
}

/** @throws NoAnswer */
export async function fetchStatus(target: Target, ended?: AbortSignal): Promise<Status> {
  const limitMs = SNAPSHOT_LIMIT_MS;
  const question = { path: '/snapshot', body: null, limitMs, ...(ended && { ended }) };
  return statusIn(await answered(target, question, textOf));
}

/** Writes what `question` is answered with into `file`. @throws NoAnswer */
export async function saveAnswer(
  target: Target,
  question: Omit<Question, 'body'> & { readonly body: object; readonly file: string },
): Promise<void> {
  await answered(target, question, (response, signal) =>
    pipeline(response, createWriteStream(question.file), { signal }),
  );
}

async function answered<T>(
  { address, token }: Target,
  { path, body, limitMs, ended }: Question,
  read: (response: IncomingMessage, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = AbortSignal.timeout(limitMs);
  const signal = ended === undefined ? limit : AbortSignal.any([limit, ended]);
  const where =
    address.kind === 'unix'
      ? { socketPath: address.path }
      : { host: address.host, port: address.port };
  try {
    const request = http.request({
      ...{ ...where, path, agent: false, signal, method: body === null ? 'GET' : 'POST' },
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
    });
    request.end(body === null ? undefined : JSON.stringify(body));
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    if (response.statusCode === 200) return await read(response, signal);
    throw new NoAnswer(refusalIn(response.statusCode, await textOf(response)));
  } catch (error) {
    if (error instanceof NoAnswer) throw error;
    const { message } = error as Error;
    const why = limit.aborted ? `no answer within ${limitMs} ms` : message;
    throw new NoAnswer(why, { cause: error });
  }
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
