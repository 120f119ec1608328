/**
 * What the endpoint answers, and what it reads of a request's body. Main thread only.
 */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { isPlainObject } from '../option-checks.js';

/** A body; more is 413. Those that have a meaning are a number or two in JSON. */
export const BODY_BYTES = 4 * 1024;

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** What a request is answered with, unless it is answered with a stream of events. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  /** A stream is for what may be larger than memory. */
  readonly body: string | Readable;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The client's mistake, in words for it. */
export class BadRequest extends Error {}

/** Null: it is longer than it may be. What is not read yet is not waited for. */
export async function bodyOf(request: IncomingMessage): Promise<string | null> {
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES) return null;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      length += (chunk as Buffer).length;
      if (length > BODY_BYTES) return null;
      chunks.push(chunk as Buffer);
    }
  } catch {
    // The client has gone.
  }
  return Buffer.concat(chunks).toString();
}

/** The object in `body`, which may be empty. @throws BadRequest */
export function optionsIn(body: string, known: readonly string[]): Record<string, unknown> {
  if (body === '') return {};
  const given = parsed(body);
  if (!isPlainObject(given)) throw new BadRequest('the body must be a JSON object, or empty');
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown === undefined) return given;
  throw new BadRequest(`${JSON.stringify(unknown)} is unknown; known is ${known.join(', ')}`);
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new BadRequest((error as Error).message);
  }
}

export function text(status: number, body: string): Answer {
  return { status, type: TEXT_TYPE, body: `${body}\n` };
}

export function json(status: number, body: object): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(body)}\n` };
}

export function failure(
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return { ...json(status, { error: { code, message } }), headers };
}
