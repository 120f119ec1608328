/**
 * Requests of every shape to test/fixtures/apps/verify.js, and what their answers must be. All that is
 * random comes from what it is given.
 */
import { createHash } from 'node:crypto';
import { below, type Random } from '../../src/scheduler/random.js';
import { app } from '../support/app.js';

export const { bodyOf } = require(app('pattern.js')) as {
  bodyOf(text: string, length: number): Buffer;
};

/**
 * How a connection ends.
 *
 * - idle: the client closes it when all was answered
 * - half: the client says that it will send no more, and then reads the answers
 * - said: the last request says `Connection: close`
 * - told: the last answer says it
 * - killed: the server destroys it within the last answer, perhaps before it has the request
 * - aborted, reset: the client destroys it, at any place of either direction
 */
export type Ending = 'idle' | 'half' | 'said' | 'told' | 'killed' | 'aborted' | 'reset';

export interface Request {
  readonly head: Buffer;
  /** As on the wire, with its framing. */
  readonly body: Buffer;
  readonly expected: Expected;
}

export interface Expected {
  readonly number: string;
  readonly method: string;
  readonly status: number;
  readonly size: number;
  readonly chunked: boolean;
  /** Of the request's body as the server must have seen it; null: it did not wait for it. */
  readonly length: number | null;
  readonly hash: string;
  /** The connection may end after so many bytes of the body, and must; null: never. */
  readonly killed: number | null;
  /** The body waits for a `100 Continue`. */
  readonly continues: boolean;
}

const CRLF = Buffer.from('\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

export function chance(random: Random, percent: number): boolean {
  return below(random, 100) < percent;
}

export function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)] as T;
}

/** Mostly small, now and then up to `max`. */
function sizeBelow(random: Random, max: number): number {
  const scale = oneOf(random, [1, 64, 1024, 1024, 16 * 1024, 64 * 1024, max]);
  return below(random, Math.min(scale, max));
}

function chunked(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const length = Math.min(body.length - at, 1 + sizeBelow(random, body.length));
    parts.push(Buffer.from(`${length.toString(16)}\r\n`), body.subarray(at, at + length), CRLF);
    at += length;
  }
  if (chance(random, 20)) parts.push(Buffer.from('0\r\nx-trailer: it ends here\r\n\r\n'));
  else parts.push(LAST_CHUNK);
  return Buffer.concat(parts);
}

interface Shape {
  readonly last: Ending | null;
  readonly burnMs: number;
}

export function makeRequest(random: Random, number: string, { last, burnMs }: Shape): Request {
  const query = new URLSearchParams();
  const headers = [`x-number: ${number}`, 'Host: localhost'];
  const cut = last === 'killed';
  const methods = ['GET', 'GET', 'GET', 'POST', 'POST', 'PUT', ...(cut ? [] : ['HEAD'])];
  const method = oneOf(random, methods);
  const hasBody = method === 'POST' || method === 'PUT' || chance(random, 3);
  // A server that ends the connection while the client still sends resets it.
  const early = hasBody && (last === null || cut) && chance(random, cut ? 50 : 5);
  const status = !cut && chance(random, 6) ? oneOf(random, [304, 204, 404]) : 200;
  const bodiless = status === 304 || status === 204;
  const size = bodiless ? 0 : sizeBelow(random, 1024 * 1024);
  const pieces = chance(random, 40) ? 1 + below(random, 6) : 0;
  const killed = cut ? below(random, size + 1) : null;

  query.set('size', String(size));
  if (status !== 200) query.set('status', String(status));
  if (pieces > 0) query.set('pieces', String(pieces));
  if (early) query.set('early', '1');
  if (chance(random, 15)) query.set('delay', String(1 + below(random, 20)));
  if (burnMs > 0 && chance(random, 10)) query.set('burn', String(1 + below(random, burnMs)));
  if (killed !== null) query.set('kill', String(killed));
  if (last === 'told') query.set('close', '1');
  if (last === 'said') headers.push('Connection: close');
  if (chance(random, 20)) headers.push(`x-padding: ${'p'.repeat(below(random, 4_000))}`);
  if (chance(random, 5)) for (let i = 0; i < 40; i++) headers.push(`x-many-${i}: ${i}`);

  const sent = hasBody ? bodyOf(`request ${number}`, sizeBelow(random, 256 * 1024)) : null;
  let body: Buffer = Buffer.alloc(0);
  if (sent !== null && chance(random, 40)) {
    headers.push('Transfer-Encoding: chunked');
    body = chunked(random, sent);
  } else if (sent !== null) {
    headers.push(`Content-Length: ${sent.length}`);
    body = sent;
  }
  const continues = sent !== null && sent.length > 0 && !early && chance(random, 25);
  if (continues) headers.push('Expect: 100-continue');
  // A server skips an empty line before a request.
  const start = chance(random, 3) ? '\r\n' : '';
  const head = `${start}${method} /?${query} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
  const hash = createHash('sha1').update(sent ?? '');
  return {
    ...{ head: Buffer.from(head), body },
    expected: {
      ...{ number, method, status, killed, continues },
      size: method === 'HEAD' || bodiless ? 0 : size,
      chunked: pieces > 0 && killed === null && method !== 'HEAD' && !bodiless,
      length: early ? null : (sent?.length ?? 0),
      hash: early ? 'none' : hash.digest('hex'),
    },
  };
}
