/**
 * Keeps this worker's half of the connection table: where each HTTP/1 connection
 * stands between two messages, and so may move. Worker's thread only.
 *
 * It learns of the first byte of a message from the parser (`kOnMessageBegin`, called
 * in Node 20 to 26), and of the end of a response from node's diagnostics channel.
 * Nothing is allocated per request. A hook that is missed can only make a connection
 * stay: whoever moves it asks the kernel how much was consumed and compares.
 *
 *     accepted --> FRESH -- first byte --> IN_MESSAGE -- last response done --> BETWEEN
 *                                              ^------------ first byte -----------'
 *
 * A connection stays for ever (HELD, or no entry at all) when it is not HTTP/1 over
 * plain TCP, or once it was upgraded, or when the application says `hold(socket)`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import { ConnectionState } from '../scheduler/layout.js';

const FINISH = 'http.server.response.finish';
const TRACK = Symbol('gyre.track');

/** How much earlier than node's 408 an adopted connection that stays idle is closed. */
const BEFORE_408_MS = 1_000;

/** What is known of one connection, from its first to its last moment here. */
interface Track {
  readonly fd: number;
  /** Of this entry in the table. */
  readonly generation: number;
  readonly socket: TrackedSocket;
  /** Bytes that the application had consumed when this worker got the connection. */
  readonly consumedBefore: number;
  /** Messages whose first byte was seen and whose response is not finished. */
  open: number;
  held: boolean;
  /** It was adopted and has had no message here: a keep-alive time-out of ours runs. */
  waiting: boolean;
}

interface TrackedHandle {
  readonly fd: number;
  close(callback?: () => void): void;
  reset?(callback?: () => void): number;
}

interface Parser {
  socket: TrackedSocket | null;
  readonly constructor: { readonly kOnMessageBegin: number };
  [hook: number]: unknown;
}

/** Of an http.Server, in ms; 0 is never. */
interface Timeouts {
  readonly timeout: number;
  readonly keepAliveTimeout: number;
  readonly headersTimeout: number;
  readonly requestTimeout: number;
}

interface TrackedSocket extends Socket {
  _handle: TrackedHandle | null;
  parser?: Parser | null;
  server?: Server & Partial<Timeouts>;
  [TRACK]?: Track | undefined;
}

interface Finished {
  readonly request: IncomingMessage;
  readonly response: ServerResponse & { _last?: boolean };
  readonly socket: TrackedSocket;
}

/** A connection that arrives with a past. */
export interface Adoption {
  readonly boundary: number;
}

export class Tracking {
  readonly #table: ConnectionTable;
  readonly #worker: number;
  readonly #listenerOf: (server: Server) => number | null;
  readonly #byFd = new Map<number, Track>();
  readonly #onBegin: (this: Parser) => void;

  /** @param listenerOf number of the listener that a server accepts for; null: not main's. */
  constructor(
    table: ConnectionTable,
    worker: number,
    listenerOf: (server: Server) => number | null,
  ) {
    this.#table = table;
    this.#worker = worker;
    this.#listenerOf = listenerOf;
    this.#onBegin = function onMessageBegin() {
      const track = this.socket?.[TRACK];
      if (track === undefined) return;
      if (track.waiting) endWaiting(track);
      if (track.open++ === 0) table.begin(track.fd);
    };
  }

  install(): void {
    subscribe(FINISH, this.#onFinish);
  }

  uninstall(): void {
    unsubscribe(FINISH, this.#onFinish);
  }

  /** A connection was accepted or adopted; its `connection` event has just been emitted. */
  opened(socket: Socket, adoption: Adoption | null): void {
    const tracked = socket as TrackedSocket;
    const { parser, _handle: handle, server } = tracked;
    if (!handle || !server) return;
    const listener = this.#listenerOf(server);
    if (listener === null) return;
    const { fd } = handle;
    const consumedBefore = adoption?.boundary ?? 0;
    // Only a plain HTTP/1 connection has its parser on the accepted socket itself. Of any
    // other, only its application knows when it stands between messages: release().
    let state: ConnectionState = ConnectionState.IN_MESSAGE;
    if (adoption !== null) state = ConnectionState.BETWEEN;
    else if (parser) state = ConnectionState.FRESH;
    const generation = this.#table.open(fd, this.#worker, listener, consumedBefore, state);
    const track: Track = {
      ...{ fd, generation, socket: tracked, consumedBefore },
      ...{ open: 0, held: false, waiting: false },
    };
    tracked[TRACK] = track;
    this.#byFd.set(fd, track);
    if (parser) parser[parser.constructor.kOnMessageBegin | 0] = this.#onBegin;
    this.#forgetOnClose(handle, track);
    if (adoption !== null && parser) beginWaiting(track);
  }

  /** This worker accepts from `fd` for `listener`, or ceases to. */
  accepting(fd: number, listener: number, on: boolean): void {
    if (on) this.#table.open(fd, this.#worker, listener, 0, ConnectionState.LISTENING);
    else this.#table.close(fd);
  }

  /** Never moves `socket` again. */
  hold(socket: Socket): void {
    const track = (socket as TrackedSocket)[TRACK];
    if (track === undefined) return;
    track.held = true;
    this.#table.hold(track.fd);
  }

  /**
   * The application has finished a message on `socket` and will remember nothing of it.
   * False if it cannot move now: unsent data, TLS, an upgraded or unknown connection.
   */
  release(socket: Socket): boolean {
    const track = (socket as TrackedSocket)[TRACK];
    if (track === undefined || track.open > 0) return false;
    // What was read and not handed to the application would be left behind.
    if (socket.writableLength > 0 || socket.readableLength > 0) return false;
    if (socket.destroyed || track.socket._handle === null) return false;
    track.held = false;
    this.#table.release(track.fd, track.consumedBefore + socket.bytesRead);
    return true;
  }

  /**
   * The governor has taken the connection that had descriptor `fd`: its wrapper goes,
   * and the peer notices nothing, since the descriptor is now somebody else's socket.
   */
  drop(fd: number, generation: number): boolean {
    const track = this.#byFd.get(fd);
    if (track === undefined || track.generation !== generation) return false;
    track.socket.destroy();
    return true;
  }

  /** The connection of this worker that has descriptor `fd`. */
  socketOf(fd: number): Socket | undefined {
    return this.#byFd.get(fd)?.socket;
  }

  #onFinish = (message: unknown): void => {
    const { request, response, socket } = message as Finished;
    const track = socket[TRACK];
    if (track === undefined || --track.open > 0 || track.held) return;
    // The last response of a connection, or one that came before its request was whole:
    // what the client still sends belongs to this message.
    if (response._last || !request.complete || socket.writableLength > 0) return;
    if (socket.destroyed || socket._handle === null) return;
    this.#table.between(track.fd, track.consumedBefore + socket.bytesRead);
  };

  /**
   * The entry must go before the descriptor does: the kernel may give the number to
   * anybody at once. The 'close' event comes later than that.
   */
  #forgetOnClose(handle: TrackedHandle, track: Track): void {
    const forget = () => {
      if (this.#byFd.get(track.fd) !== track) return;
      this.#byFd.delete(track.fd);
      this.#table.close(track.fd);
      track.socket[TRACK] = undefined;
    };
    for (const method of ['close', 'reset'] as const) {
      const original = handle[method] as ((callback?: () => void) => number) | undefined;
      if (original === undefined) continue;
      handle[method] = function (this: TrackedHandle, callback?: () => void) {
        forget();
        return original.call(this, callback);
      };
    }
  }
}

/**
 * An adopted connection has no message yet. Node would answer 408 when its headers do
 * not come in time, which is right for a new connection and wrong for one that is
 * kept alive: that one is closed without a word, after `keepAliveTimeout` or, if that
 * would be later, just before node's own check.
 */
function beginWaiting(track: Track): void {
  const { socket } = track;
  const server: Partial<Timeouts> = socket.server ?? {};
  const limits = [server.headersTimeout, server.requestTimeout].map((ms) =>
    ms ? Math.max(1, ms - BEFORE_408_MS) : Number.POSITIVE_INFINITY,
  );
  const idleMs = Math.min(server.keepAliveTimeout || Number.POSITIVE_INFINITY, ...limits);
  if (!Number.isFinite(idleMs)) return;
  track.waiting = true;
  socket.setTimeout(idleMs);
}

function endWaiting(track: Track): void {
  track.waiting = false;
  track.socket.setTimeout(track.socket.server?.timeout ?? 0);
}
