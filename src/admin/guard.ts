/**
 * Who may ask what. Main thread only.
 *
 * - With a token everybody must know it, except for the two probes, since those who send them cannot
 *   always add a header, and learn one bit; and for the page, which is the same everywhere.
 * - Without, whoever can reach the address may. A browser can reach 127.0.0.1 for any page that it
 *   shows: such a page is told by the host that it thinks it asks (DNS rebinding), or by its origin.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isLoopback, type ResolvedAdmin } from './options.js';

/** Why somebody may not, as an HTTP status. */
interface Refusal {
  readonly status: 401 | 403;
  readonly code: 'UNAUTHORIZED' | 'FORBIDDEN';
  readonly message: string;
}

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;
/** HOST or HOST:PORT. */
const HOST = /^(\[[^\]]+\]|[^:]+)(?::\d+)?$/;

const forbidden = (message: string): Refusal => ({ status: 403, code: 'FORBIDDEN', message });

export class Guard {
  readonly #options: ResolvedAdmin;
  readonly #digest: Buffer | null;

  constructor(options: ResolvedAdmin) {
    this.#options = options;
    this.#digest = options.token === null ? null : digestOf(options.token);
  }

  /** Null: it may. */
  refuses({ headers }: IncomingMessage, isOpen: boolean, changes: boolean): Refusal | null {
    if (isOpen) return null;
    if (this.#digest !== null) return this.#checkToken(headers.authorization ?? '', this.#digest);
    const { address, exposed } = this.#options;
    if (address.kind === 'tcp' && !exposed && !isLocalName(headers.host ?? '')) {
      return forbidden('Host must be a name of this machine for itself');
    }
    if (!changes) return null;
    if (exposed) return forbidden('without a token other machines may only read');
    return this.#checkOrigin(headers);
  }

  /** Digests are compared, which are of one length: how long it takes tells nothing. */
  #checkToken(authorization: string, expected: Buffer): Refusal | null {
    const given = BEARER.exec(authorization)?.[1] ?? '';
    if (timingSafeEqual(digestOf(given), expected)) return null;
    const message = 'Authorization must be Bearer and the token';
    return { status: 401, code: 'UNAUTHORIZED', message };
  }

  #checkOrigin({ origin, host, ...headers }: IncomingMessage['headers']): Refusal | null {
    const site = headers['sec-fetch-site'] ?? 'none';
    const own = origin === undefined || origin === `http://${host}`;
    if (own && (site === 'none' || site === 'same-origin')) return null;
    return forbidden('another site may not ask for that');
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function isLocalName(host: string): boolean {
  const name = HOST.exec(host)?.[1]?.replace(/^\[|\]$/g, '') ?? '';
  return name.toLowerCase() === 'localhost' || isLoopback(name);
}
