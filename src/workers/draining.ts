/**
 * The end of a worker that can still act: it stops listening, answers what is in
 * flight, tells keep-alive clients to go, or lets them go on in another worker, and is done
 * when the last connection has closed. Worker's thread only. The time limit is main's.
 *
 * What is idle is for gyre to say and not for node (see connection-list.ts), so http.Server's own `close()`
 * and `closeIdleConnections()` are not called here.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import type { Http2Session } from 'node:http2';
import net, { type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { REQUEST_START, RESPONSE_FINISH } from './channels.js';
import { type HttpSocket, httpSockets, idleSockets, stopChecking } from './connection-list.js';
import type { Connections } from './connections.js';
import type { Departure } from './departure.js';
import type { Listening } from './listening.js';
import { isHttp2, isTls } from './server-kind.js';
import { cancelInterval, scheduleImmediate, scheduleInterval, scheduleTick } from './timers.js';
import type { Tracking } from './tracking.js';

const closeListening = net.Server.prototype.close;

/** Turns of the loop, each of which accepts one connection of each listening socket. */
const ACCEPTING_TURNS_MAX = 2_000;

/** How soon what has not closed, or could not be given away, is looked at again, in ms. No evidence for more or less. */
const SWEEP_MS = 100;

/**
 * Sweeps that must find a connection silent before it is closed. A request comes with the end of the TCP handshake; over TLS a
 * round trip after that of TLS, and a second is a long one.
 */
const SILENT_SWEEPS = 1;
const SILENT_SWEEPS_TLS = 10;

/** Closes `socket` now. A client that has seen half an answer must not take it for a whole one. */
export function cutOff(socket: Socket): void {
  const response = (socket as HttpSocket)._httpMessage;
  const half = response?.headersSent === true && !response.writableFinished;
  // A Unix socket knows no reset, and node throws: to its client the length, or the last chunk, is missing.
  if (half && isTcp(socket)) socket.resetAndDestroy();
  else socket.destroy();
}

function isTcp(socket: Socket): boolean {
  return (socket as HttpSocket)._handle?.constructor.name === 'TCP';
}

/** Whether a later request waits behind the one that is being answered. */
function isPipelined({ _httpMessage: response, parser }: HttpSocket): boolean {
  const latest = parser?.incoming ?? null;
  return response != null && latest !== null && latest !== response.req;
}

/** An HTTP connection that has never said anything here. */
function isSilent(socket: HttpSocket): boolean {
  return Boolean(socket.parser) && socket.bytesRead === 0 && !socket._httpMessage;
}

export class Leaving {
  readonly #listening: Listening;
  readonly #connections: Connections;
  /** HTTP/2 sessions of this worker, which do not end with their server. */
  readonly #sessions = new Set<Http2Session>();
  readonly #followed = new WeakSet<Server>();
  /** Those that it listened with when it began to leave. */
  #servers: readonly Server[] = [];
  /** Whether what is on a connection goes on in another worker. */
  #keeps: (socket: Socket) => boolean = () => false;
  /** The answers that were made the last of their connections. */
  readonly #last = new WeakMap<Socket, ServerResponse>();
  /** How often in a row what is silent has been found so: it may have been about to say something. */
  #silent = new Map<object, number>();
  readonly #undo: (() => void)[] = [];

  constructor(listening: Listening, connections: Connections) {
    this.#listening = listening;
    this.#connections = connections;
  }

  /** Follows the sessions of an HTTP/2 server; any other server is left alone. */
  follow(server: Server): void {
    if (!isHttp2(server) || this.#followed.has(server)) return;
    this.#followed.add(server);
    server.on('session', (session: Http2Session) => {
      this.#sessions.add(session);
      session.once('close', () => this.#sessions.delete(session));
    });
  }

  /**
   * Resolves when this worker listens on nothing and has no connection left.
   *
   * @param serve whether it goes on accepting until it has none
   */
  async drain(serve: boolean): Promise<void> {
    await this.#acceptWhatWaits();
    this.#begin(() => false);
    // Headers that went out before the drain promised keep-alive; now that the
    // answer is complete the connection is idle and may close.
    this.#hear(RESPONSE_FINISH, () => scheduleImmediate(() => this.#closeIdle()));
    if (serve) {
      this.#closeIdle();
      await this.#connections.none();
    }
    this.#closeServers();
    this.#sweep();
    // What came last may have been asked already: a turn reads it.
    await nextTurn();
    await nextTurn();
    await this.#sweepUntilNone(() => this.#sweep());
  }

  /**
   * Like {@link drain}, but whatever can move goes to other workers: a client that keeps its
   * connection alive notices nothing. What cannot is told to go after its next answer.
   * Connections without an end, as WebSockets, stay until main's time limit.
   */
  async retire(
    { tracking, departure }: { readonly tracking: Tracking; readonly departure: Departure },
    heir: number | null,
  ): Promise<void> {
    let between: number[] = [];
    // Before the loop looks for events: the client's next message is for the heir.
    const giveSoon = () => {
      const descriptors = between;
      between = [];
      departure.give(descriptors, heir, false);
    };
    tracking.leave((fd) => {
      if (between.push(fd) === 1) scheduleTick(giveSoon);
    });
    this.#begin((socket) => tracking.canMove(socket));
    this.#closeServers();
    await this.#sweepUntilNone(() => {
      departure.giveAll(heir, false);
      this.#sweep();
    });
  }

  /** It retires, and now the others end as well: nobody goes on elsewhere any more. */
  hasten(): void {
    this.#keeps = () => false;
    this.#makeAnswersLast();
    this.#sweep();
  }

  /** Undoes what was begun, on a thread that goes on afterwards. */
  undo(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  /** Answers from now on end their connections, unless `keeps` says that theirs goes on elsewhere. */
  #begin(keeps: (socket: Socket) => boolean): void {
    this.#servers = this.#listening.servers();
    this.#keeps = keeps;
    this.#hear(REQUEST_START, (message) => {
      const { response, socket } = message as { response: ServerResponse; socket: Socket };
      if (!this.#keeps(socket)) this.#makeLast(socket, response);
    });
    this.#makeAnswersLast();
  }

  #hear(channel: string, listener: (message: unknown) => void): void {
    subscribe(channel, listener);
    this.#undo.push(() => unsubscribe(channel, listener));
  }

  #makeAnswersLast(): void {
    for (const socket of this.#all()) {
      const { _httpMessage: response } = socket;
      // The last of several is not known, and ends its connection by leaving it idle.
      if (!response || this.#keeps(socket) || isPipelined(socket)) continue;
      this.#makeLast(socket, response);
    }
    for (const session of this.#sessions) session.close();
  }

  /** This response, and no earlier one, carries `Connection: close`, and ends its connection. */
  #makeLast(socket: Socket, response: ServerResponse): void {
    const earlier = this.#last.get(socket);
    if (earlier !== undefined && !earlier.headersSent) earlier.shouldKeepAlive = true;
    this.#last.delete(socket);
    if (response.headersSent || !response.shouldKeepAlive) return;
    response.shouldKeepAlive = false;
    this.#last.set(socket, response);
  }

  /** Accepted sockets, and those above TLS, which alone know of HTTP. */
  #all(): Set<HttpSocket> {
    return new Set([...this.#connections, ...this.#servers.flatMap(httpSockets)]);
  }

  #closeServers(): void {
    for (const server of this.#servers) closeListening.call(server);
  }

  #closeIdle(): void {
    for (const socket of this.#servers.flatMap(idleSockets)) {
      if (!this.#keeps(socket)) socket.destroy();
    }
  }

  /**
   * Closes what is idle, and what has been silent for some sweeps: a browser's spare connection, one that
   * has not begun its TLS handshake. They could hold the end up for as long as the client likes.
   */
  #sweep(): void {
    this.#closeIdle();
    const silent = new Map<object, number>();
    const endure = (what: object, most: number, close: () => void) => {
      const sweeps = this.#silent.get(what) ?? 0;
      if (sweeps >= most) close();
      else silent.set(what, sweeps + 1);
    };
    for (const socket of this.#all()) {
      const secure = isTls(socket.server ?? {});
      const waits = secure ? socket.bytesRead === 0 : isSilent(socket);
      if (!waits || socket.destroyed || this.#keeps(socket)) continue;
      endure(socket, secure ? SILENT_SWEEPS_TLS : SILENT_SWEEPS, () => socket.destroy());
    }
    // One that has begun since has had its chance to ask; what it asked is answered.
    for (const session of this.#sessions) {
      endure(session, SILENT_SWEEPS_TLS, () => session.close());
    }
    this.#silent = silent;
  }

  async #sweepUntilNone(sweep: () => void): Promise<void> {
    sweep();
    const sweeping = scheduleInterval(sweep, SWEEP_MS);
    this.#undo.push(() => cancelInterval(sweeping));
    await this.#connections.none();
    cancelInterval(sweeping);
    for (const server of this.#servers) stopChecking(server);
  }

  /** Resolves when the accept queues are empty; with new ones all the time, after a bounded time. */
  async #acceptWhatWaits(): Promise<void> {
    let quiet = 0;
    for (let turn = 0; turn < ACCEPTING_TURNS_MAX && quiet < 2; turn++) {
      const before = this.#connections.opened;
      await nextTurn();
      quiet = this.#connections.opened === before ? quiet + 1 : 0;
    }
  }
}
