/**
 * The admin endpoint: an HTTP server on the main thread, which serves no requests of the
 * application. Everything is bounded: the size of a request, how long one may take, how many
 * connections and streams there are. docs/operating.md describes it.
 */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { GyreError } from '../errors.js';
import type { ListenAddress } from '../protocol.js';
import type { Runtime } from '../runtime/api.js';
import { Deadlines } from './deadlines.js';
import { EventStreams } from './events.js';
import { Guard } from './guard.js';
import { type Opened, openServer } from './listening.js';
import type { ResolvedAdmin } from './options.js';
import type { Readings } from './readings.js';

/** A request line and headers; more is 431. */
const HEADERS_BYTES = 8 * 1024;
/** A body; more is 413. The only one that has a meaning is a number in JSON. */
const BODY_BYTES = 4 * 1024;
/** Probes, a scraper or two, people. No evidence for more or less. */
const CONNECTIONS_MAX = 64;
/** How long answers that are being sent may take when the runtime has closed. */
const CLOSE_MS = 500;
/** The longest that a timer of node's can have. */
const NEVER_MS = 2 ** 31 - 1;

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** What a request is answered with, unless it is answered with a stream. */
interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

type Handler = (request: IncomingMessage, body: string) => Promise<Answer> | Answer;

interface Route {
  readonly method: 'GET' | 'POST';
  /** Whether it answers without a token. */
  readonly probe?: true;
  readonly handler: Handler | 'stream';
}

export class Endpoint {
  readonly #options: ResolvedAdmin;
  readonly #runtime: Runtime;
  readonly #readings: Readings;
  readonly #guard: Guard;
  readonly #streams: EventStreams;
  readonly #deadlines = new Deadlines();
  readonly #server: http.Server;
  readonly #routes: ReadonlyMap<string, Route>;
  #opened: Opened | null = null;
  #reloading = false;

  /** Before anything has started, so that no event is missed. */
  constructor(options: ResolvedAdmin, runtime: Runtime, readings: Readings) {
    this.#options = options;
    this.#runtime = runtime;
    this.#readings = readings;
    this.#guard = new Guard(options);
    this.#streams = new EventStreams(runtime);
    this.#routes = new Map<string, Route>([
      ['/healthz', { method: 'GET', probe: true, handler: () => text(200, 'ok') }],
      ['/readyz', { method: 'GET', probe: true, handler: () => this.#readiness() }],
      ['/metrics', { method: 'GET', handler: (request) => this.#metrics(request) }],
      ['/snapshot', { method: 'GET', handler: () => this.#snapshot() }],
      ['/events', { method: 'GET', handler: 'stream' }],
      ['/reload', { method: 'POST', handler: (_, body) => this.#reload(body) }],
    ]);
    this.#server = http.createServer({
      ...{ maxHeaderSize: HEADERS_BYTES, requestTimeout: 0, headersTimeout: 0 },
      connectionsCheckingInterval: NEVER_MS,
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('connection', (socket) => this.#connected(socket));
    this.#server.on('request', (request, response) => void this.#serve(request, response));
  }

  /** Where it listens; null before it does. */
  get address(): ListenAddress | null {
    return this.#opened?.address ?? null;
  }

  /** @throws GyreError with the system's code if it cannot listen there */
  async open(): Promise<void> {
    const { address, mode } = this.#options;
    this.#opened = await openServer('admin', this.#server, address, mode);
  }

  /** Resolves when no connection, descriptor or timer is left. */
  async close(): Promise<void> {
    if (this.#opened === null) return;
    this.#opened.remove();
    this.#opened = null;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#streams.close();
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_MS);
    await closed;
    clearTimeout(timer);
  }

  #connected(socket: Socket): void {
    socket.once('close', () => this.#deadlines.end(socket));
    this.#deadlines.awaitRequest(socket);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    response.on('close', () => this.#deadlines.awaitRequest(socket));
    const body = await bodyOf(request);
    if (response.destroyed) return;
    this.#deadlines.end(socket);
    const answer = await this.#answer(request, response, body);
    if (answer === null || response.destroyed) return;
    this.#deadlines.awaitReading(socket);
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...answer.headers,
      // What is left of a body that was too long is not read.
      ...(body === null && { connection: 'close' }),
    });
    response.end(answer.body);
  }

  /** Null: it is answered with a stream. */
  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    body: string | null,
  ): Promise<Answer | null> {
    const route = this.#routes.get(pathOf(request.url ?? ''));
    const { probe = false, method: expected = 'GET' } = route ?? {};
    const refusal = this.#guard.refuses(request, probe, expected === 'POST');
    if (refusal !== null) {
      const { status, code, message } = refusal;
      const asks = { 'www-authenticate': 'Bearer realm="gyre"' };
      return failure(status, code, message, status === 401 ? asks : {});
    }
    if (route === undefined) {
      const known = [...this.#routes.keys()].join(', ');
      return failure(404, 'NOT_FOUND', `there is ${known}`);
    }
    const method = request.method === 'HEAD' && route.handler !== 'stream' ? 'GET' : request.method;
    if (method !== route.method) {
      const allow = route.method === 'GET' ? 'GET, HEAD' : route.method;
      return failure(405, 'METHOD_NOT_ALLOWED', `it takes ${allow}`, { allow });
    }
    if (body === null) return failure(413, 'PAYLOAD_TOO_LARGE', `at most ${BODY_BYTES} bytes`);
    if (route.handler === 'stream') return this.#stream(response);
    try {
      return await route.handler(request, body);
    } catch (error) {
      return failure(500, 'INTERNAL', (error as Error).message);
    }
  }

  #stream(response: ServerResponse): Answer | null {
    if (this.#streams.isFull) return failure(503, 'UNAVAILABLE', 'there are too many streams');
    this.#streams.add(response);
    return null;
  }

  #readiness(): Answer {
    const { ready, state } = this.#runtime;
    if (ready) return text(200, 'ready');
    return text(503, state === 'serving' ? 'no worker listens' : state);
  }

  async #metrics({ headers }: IncomingMessage): Promise<Answer> {
    const { applicationMetrics } = this.#options;
    const status = await this.#readings.read(applicationMetrics);
    const application = applicationMetrics ? this.#readings.applicationMetrics : [];
    const { expose } = await import('./prometheus.js');
    const { contentType, text: body } = await expose(status, application, headers.accept ?? '');
    return { status: 200, type: contentType, body };
  }

  async #snapshot(): Promise<Answer> {
    return json(200, await this.#readings.read());
  }

  async #reload(body: string): Promise<Answer> {
    if (this.#reloading) return failure(409, 'CONFLICT', 'a reload is under way');
    let options: { drainMs?: number };
    try {
      options = reloadOptions(body);
    } catch (error) {
      return failure(400, 'BAD_REQUEST', (error as Error).message);
    }
    const began = performance.now();
    this.#reloading = true;
    try {
      await this.#runtime.reload(options);
      return json(200, { reloadedInSeconds: (performance.now() - began) / 1e3 });
    } catch (error) {
      const { code, message } = error as GyreError;
      const misused = code === 'ERR_GYRE_OPTION_INVALID';
      return failure(misused ? 400 : code === 'ERR_GYRE_CLOSED' ? 503 : 500, code, message);
    } finally {
      this.#reloading = false;
    }
  }
}

/** The path of a request target, whatever its form (RFC 9112, 3.2). */
function pathOf(target: string): string {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, '');
  return path.replace(/[?#].*$/s, '') || '/';
}

/** Null: it is longer than it may be. What is not read yet is not waited for. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
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

/** @throws Error that says what is wrong with `body` */
function reloadOptions(body: string): { drainMs?: number } {
  if (body === '') return {};
  const given = JSON.parse(body) as { drainMs?: number };
  if (Object.prototype.toString.call(given) !== '[object Object]') {
    throw new Error('the body must be a JSON object, or empty');
  }
  const unknown = Object.keys(given).find((key) => key !== 'drainMs');
  if (unknown !== undefined)
    throw new Error(`${JSON.stringify(unknown)} is unknown; known is drainMs`);
  return given;
}

function text(status: number, body: string): Answer {
  return { status, type: TEXT_TYPE, body: `${body}\n` };
}

function json(status: number, body: object): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(body)}\n` };
}

function failure(
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return { ...json(status, { error: { code, message } }), headers };
}
