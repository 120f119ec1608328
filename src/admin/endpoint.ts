/**
 * The admin endpoint: an HTTP server on the main thread, which serves no requests of the
 * application. Everything is bounded: the size of a request, how long one may take, how many
 * connections and streams there are. docs/operating.md describes it.
 */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline, Readable } from 'node:stream';
import type { GyreError } from '../errors.js';
import { floorPlan } from '../floor-plan.js';
import type { ListenAddress } from '../protocol.js';
import type { Runtime } from '../runtime/api.js';
import {
  type Answer,
  BadRequest,
  BODY_BYTES,
  bodyOf,
  failure,
  json,
  optionsIn,
  text,
} from './answer.js';
import { Deadlines } from './deadlines.js';
import { EventStreams } from './events.js';
import { Guard } from './guard.js';
import { Inspection } from './inspection.js';
import { type Opened, openServer } from './listening.js';
import type { Observed } from './observed.js';
import type { ResolvedAdmin } from './options.js';
import { PAGE } from './page.js';
import type { Readings } from './readings.js';

/** A request line and headers; more is 431. */
const HEADERS_BYTES = 8 * 1024;
/** Probes, a scraper or two, people. No evidence for more or less. */
const CONNECTIONS_MAX = 64;
/** How long answers that are being sent may take when the runtime has closed. */
const CLOSE_MS = 500;
/** The longest that a timer of node's can have. */
const NEVER_MS = 2 ** 31 - 1;

/** @param signal aborted when the client has gone */
type Handler = (
  request: IncomingMessage,
  body: string,
  signal: AbortSignal,
) => Promise<Answer> | Answer;

interface Route {
  readonly method: 'GET' | 'POST';
  /** Whether it answers without a token: it says nothing that is worth one. */
  readonly open?: true;
  readonly handler: Handler | 'stream';
}

export class Endpoint {
  readonly #options: ResolvedAdmin;
  readonly #observed: Observed;
  readonly #runtime: Runtime;
  readonly #readings: Readings;
  readonly #guard: Guard;
  readonly #streams: EventStreams;
  readonly #deadlines: Deadlines;
  readonly #server: http.Server;
  readonly #routes: ReadonlyMap<string, Route>;
  #opened: Opened | null = null;
  #reloading = false;
  /** Before anything has started, so that no event is missed. */
  constructor(
    options: ResolvedAdmin,
    observed: Observed,
    readings: Readings,
    deadlines = new Deadlines(),
  ) {
    const { runtime } = observed;
    const inspection = new Inspection(observed);
    this.#options = options;
    this.#deadlines = deadlines;
    this.#observed = observed;
    this.#runtime = runtime;
    this.#readings = readings;
    this.#guard = new Guard(options);
    this.#streams = new EventStreams(runtime);
    this.#routes = new Map<string, Route>([
      ['/healthz', { method: 'GET', open: true, handler: () => text(200, 'ok') }],
      ['/readyz', { method: 'GET', open: true, handler: () => this.#readiness() }],
      ['/metrics', { method: 'GET', handler: (request) => this.#metrics(request) }],
      ['/snapshot', { method: 'GET', handler: () => this.#snapshot() }],
      ['/events', { method: 'GET', handler: 'stream' }],
      ['/floor-plan', { method: 'GET', handler: () => this.#floorPlan() }],
      ['/reload', { method: 'POST', handler: (_, body) => this.#reload(body) }],
      [
        '/profile',
        { method: 'POST', handler: (_, body, signal) => inspection.profile(body, signal) },
      ],
      ['/heap', { method: 'POST', handler: (_, body) => inspection.heap(body) }],
      ...PAGE.map(([path, handler]) => [path, { method: 'GET', open: true, handler }] as const),
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
    if (answer === null || response.destroyed) {
      if (answer?.body instanceof Readable) answer.body.destroy();
      return;
    }
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(typeof answer.body === 'string' && { 'content-length': Buffer.byteLength(answer.body) }),
      ...answer.headers,
      // What is left of a body that was too long is not read.
      ...(body === null && { connection: 'close' }),
    });
    if (typeof answer.body !== 'string') {
      this.#deadlines.awaitProgress(socket);
      pipeline(answer.body, response, () => {}); // a client that has gone ends both
      return;
    }
    this.#deadlines.awaitReading(socket);
    response.end(answer.body);
  }

  /** Null: it is answered with a stream. */
  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    body: string | null,
  ): Promise<Answer | null> {
    const route = this.#routes.get(pathOf(request.url ?? ''));
    const { open = false, method: expected = 'GET' } = route ?? {};
    const refusal = this.#guard.refuses(request, open, expected === 'POST');
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
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      return await route.handler(request, body, gone.signal);
    } catch (error) {
      if (error instanceof BadRequest) return failure(400, 'BAD_REQUEST', error.message);
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

  #floorPlan(): Answer {
    try {
      const cpus = this.#runtime.workers.map(({ cpu }) => cpu);
      const svg = floorPlan(
        this.#readings.machine,
        { placement: this.#observed.placement, cpus },
        null,
      );
      return { status: 200, type: 'image/svg+xml; charset=utf-8', body: svg };
    } catch (error) {
      return failure(404, 'NOT_FOUND', (error as Error).message);
    }
  }

  async #reload(body: string): Promise<Answer> {
    if (this.#reloading) return failure(409, 'CONFLICT', 'a reload is under way');
    const options = optionsIn(body, ['drainMs']) as { drainMs?: number };
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
