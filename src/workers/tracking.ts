/**
 * Keeps this worker's half of the connection table: where each HTTP/1 connection
 * stands between two messages, and so may move. Worker's thread only.
 *
 * It learns of requests and of the end of responses from node's diagnostics channels. A
 * request is told of when its header is whole, and not when its first byte was read; in
 * between the table is wrong, and the kernel, which whoever moves a connection asks how
 * much was consumed, is right. One thing the kernel cannot know: that the parser holds the first bytes of
 * the next message when a response ends. Parsers count the messages that begin (`kOnMessageBegin`, called in
 * Node 20 to 26), and that is compared. Nothing is added to node's objects.
 *
 *     accepted --> FRESH -- request --> IN_MESSAGE -- last response done --> BETWEEN
 *                                            ^------------ request -------------'
 *
 * Of a connection that is not HTTP/1 nobody here sees a message begin. It is FRESH too, and
 * moves while the kernel says that nothing was read or written; from then on only when its
 * application says `release(socket)`. These stay for ever: what `hold(socket)` was said of;
 * Unix sockets, of which the kernel does not count bytes; TLS, whose server would report a
 * client that gave up (`tlsClientError`) when an unread one goes; all connections of a server
 * that must not move.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { atBoundary, socketOf } from '../native.js';
import type { ConnectionTable, Giving } from '../scheduler/connection-table.js';
import { ConnectionState } from '../scheduler/layout.js';
import { REQUEST_START, RESPONSE_FINISH } from './channels.js';
import { idleSockets } from './connection-list.js';
import { type ClosingHandle, HandleClosings } from './handle-closings.js';
import { MessagesBegun, type Parser } from './messages-begun.js';
import { isTls } from './server-kind.js';
import { type HttpServer, Waiting } from './waiting.js';

/** What is known of one connection, from its first to its last moment here. */
interface Track {
  readonly fd: number;
  /** Of this entry in the table. */
  readonly generation: number;
  readonly socket: TrackedSocket;
  readonly handle: ClosingHandle;
  /** Messages that its parser had counted when its last request was told of. */
  begun: number;
  /** Whether it was opened as an HTTP/1 connection; it may have been upgraded since. */
  readonly http: boolean;
  /** Bytes that the application had consumed when this worker got the connection. */
  readonly consumedBefore: number;
  /** Requests that were told of and whose response is not finished. */
  open: number;
  /** Whether `open` is true: it is not until a request comes after messages were not followed. */
  known: boolean;
  held: boolean;
}

interface TrackedSocket extends Socket {
  _handle: ClosingHandle | null;
  parser?: Parser | null;
  _httpMessage?: ServerResponse | null;
  server?: Server & HttpServer;
}

interface Started {
  readonly socket: TrackedSocket;
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

/** What is told of this worker's connections. */
export interface Counts {
  /** The application keeps one more, or one less. */
  held(by: 1 | -1): void;
  /** One more, with this descriptor. */
  opened(fd: number): void;
  /** The table has an entry of this worker for `fd`. */
  reached(fd: number): void;
  /** The connection of `socket` lives on elsewhere, and the wrapper here is about to close. */
  left(socket: Socket): void;
  /** The word that counts messages, which only this thread writes. */
  readonly words: Int32Array;
  readonly messagesIndex: number;
}

/** Nothing is left to write, and nothing was read that would be left behind here. */
function isQuiet(socket: TrackedSocket): boolean {
  if (socket.writableLength > 0 || socket.readableLength > 0) return false;
  return !socket.destroyed && !socket.writableEnded && socket._handle !== null;
}

export class Tracking {
  readonly #table: ConnectionTable;
  readonly #worker: number;
  readonly #counts: Counts;
  readonly #listenerOf: (server: Server) => number | null;
  readonly #byFd = new Map<number, Track>();
  readonly #waiting = new Waiting();
  readonly #begun: MessagesBegun;
  /** What was said of sockets whose `connection` event is still being emitted. */
  readonly #early = new WeakMap<Socket, 'hold' | 'release'>();
  readonly #bySocket = new WeakMap<Socket, Track>();
  readonly #closings = new HandleClosings((handle) => this.#forget(handle));
  #armed = true;
  /** Called when a connection has come to stand between two messages; null: nobody asked. */
  #onBetween: ((fd: number) => void) | null = null;

  /**
   * @param listenerOf number of the listener that a server accepts for; null: it is not
   *   main's, or its connections must not move.
   */
  constructor(
    table: ConnectionTable,
    worker: number,
    counts: Counts,
    listenerOf: (server: Server) => number | null,
  ) {
    this.#table = table;
    this.#worker = worker;
    this.#counts = counts;
    this.#listenerOf = listenerOf;
    this.#begun = new MessagesBegun(table.descriptorsMax);
  }

  install(): void {
    subscribe(REQUEST_START, this.#onStart);
    subscribe(RESPONSE_FINISH, this.#onFinish);
  }

  uninstall(): void {
    this.#unsubscribe();
    this.#closings.uninstall();
  }

  #unsubscribe(): void {
    unsubscribe(REQUEST_START, this.#onStart);
    unsubscribe(RESPONSE_FINISH, this.#onFinish);
  }

  /**
   * Whether messages are followed. What is idle when they no longer are may move as before,
   * since the kernel tells whether that has changed. When they are again, a connection may
   * move after its next message.
   */
  arm(on: boolean): void {
    if (on === this.#armed || this.#onBetween !== null) return;
    this.#armed = on;
    if (on) this.install();
    else this.#unsubscribe();
    for (const track of this.#byFd.values()) {
      track.known = false;
      this.#begun.follow(track.fd, track.socket.parser, on);
    }
    if (on) this.settle();
  }

  /**
   * Follows messages from now on, whatever else is asked, and calls `onBetween` with the descriptor
   * of a connection that has come to stand between two of them: this worker is to lose all it can.
   */
  leave(onBetween: (fd: number) => void): void {
    this.arm(true);
    this.#onBetween = onBetween;
    this.settle();
  }

  /**
   * Finds connections that stand between two messages although nobody followed how they came
   * to. Node's own list says which are idle: their parsers are in no message. What a parser
   * has not been given is still in the socket, where the kernel counts it.
   */
  settle(): void {
    const servers = new Set<object>();
    for (const { http, socket } of this.#byFd.values()) {
      if (http && socket.server !== undefined) servers.add(socket.server);
    }
    for (const server of servers) {
      for (const socket of idleSockets(server)) this.#settleOne(socket as TrackedSocket);
    }
  }

  #settleOne(socket: TrackedSocket): void {
    const track = this.#bySocket.get(socket);
    if (track === undefined || track.held || socket._httpMessage) return;
    if (this.#waiting.has(socket)) return;
    if (track.known && track.open === 0) return; // the table knows
    if (!isQuiet(socket)) return;
    // The governor may take it at any instruction up to here, for what the table said before.
    if (!this.#table.unhold(track.fd)) return;
    track.known = this.#armed; // else what begins next is not seen
    track.open = 0;
    track.begun = this.#begun.of(track.fd);
    this.#table.between(track.fd, track.consumedBefore + socket.bytesRead);
  }

  /** Whether `socket` could ever move: it is followed, and the application does not keep it. */
  canMove(socket: Socket): boolean {
    const track = this.#bySocket.get(socket);
    if (track === undefined || track.held || isTls(track.socket.server ?? {})) return false;
    return !track.http || Boolean(track.socket.parser);
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
    // Only a plain HTTP/1 connection has its parser on the accepted socket itself.
    let state: ConnectionState =
      consumedBefore > 0 ? ConnectionState.BETWEEN : ConnectionState.FRESH;
    if (!parser && isTls(server)) state = ConnectionState.IN_MESSAGE;
    const early = this.#early.get(tracked);
    if (early === 'hold') state = ConnectionState.HELD;
    else if (early === 'release' && socket.writableLength === 0) state = ConnectionState.BETWEEN;
    const cookie = socketOf(fd);
    const generation = this.#table.open(fd, this.#worker, listener, consumedBefore, state, cookie);
    const track: Track = {
      ...{ fd, generation, socket: tracked, handle, begun: this.#begun.of(fd), consumedBefore },
      ...{ http: Boolean(parser), open: 0, known: this.#armed, held: false },
    };
    if (early === 'hold') this.#setHeld(track, true);
    this.#bySocket.set(tracked, track);
    this.#byFd.set(fd, track);
    this.#counts.opened(fd);
    if (this.#armed) this.#begun.follow(fd, parser, true);
    this.#closings.watch(handle);
    if (track.http && consumedBefore > 0) this.#waiting.begin(tracked);
  }

  /** This worker accepts from `fd` for `listener`, or ceases to. */
  accepting(fd: number, listener: number, on: boolean): void {
    this.#counts.reached(fd);
    if (on) this.#table.open(fd, this.#worker, listener, 0, ConnectionState.LISTENING);
    else this.#table.close(fd);
  }

  /** Never moves `socket` again. */
  hold(socket: Socket): void {
    const track = this.#bySocket.get(socket);
    if (track === undefined) {
      this.#early.set(socket, 'hold');
      return;
    }
    if (!this.#table.hold(track.fd)) return; // it is somebody else's by now
    this.#setHeld(track, true);
  }

  /**
   * The application has finished a message on `socket` and will remember nothing of it.
   * False if it cannot move now: unsent data, TLS, an upgraded or unknown connection.
   */
  release(socket: Socket): boolean {
    const { server, _handle: handle } = socket as TrackedSocket;
    const track = this.#bySocket.get(socket);
    // What was read and not handed to the application would be left behind.
    if (socket.writableLength > 0 || socket.readableLength > 0) return false;
    if (socket.destroyed || !handle) return false;
    if (track !== undefined) {
      if (track.http && (!track.known || !track.socket.parser)) {
        // It was upgraded; or whether a message has begun is not known until after the next one.
        if (this.#table.unhold(track.fd)) this.#setHeld(track, false);
        return false;
      }
      if (track.open > 0 || this.#hasBegunAnother(track)) return false;
      if (!this.#table.release(track.fd, track.consumedBefore + socket.bytesRead)) return false;
      this.#setHeld(track, false);
      return true;
    }
    if (server === undefined || this.#listenerOf(server) === null) return false;
    this.#early.set(socket, 'release');
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

  /** How many connections are followed. */
  get size(): number {
    return this.#byFd.size;
  }

  /** Descriptors of these. */
  descriptors(): IterableIterator<number> {
    return this.#byFd.keys();
  }

  /**
   * Offers the connection with descriptor `fd` to `give`, if it stands between two messages
   * and the kernel agrees, and says what became of it. When `give` returns true, somebody
   * else has a duplicate of it, and the wrapper here goes; the peer notices nothing.
   */
  give(fd: number, give: (giving: Giving) => boolean): 'given' | 'kept' | 'mismatch' | 'busy' {
    const track = this.#byFd.get(fd);
    const giving = track === undefined ? null : this.#table.tryGive(fd);
    if (track === undefined || giving === null) return 'busy';
    if (!atBoundary(fd, giving.boundary, giving.state === ConnectionState.FRESH)) {
      this.#table.keep(fd, ConnectionState.IN_MESSAGE);
      return 'mismatch';
    }
    if (!give(giving)) {
      this.#table.keep(fd, giving.state);
      return 'kept';
    }
    track.socket.destroy();
    return 'given';
  }

  #onStart = (message: unknown): void => {
    const { socket } = message as Started;
    const track = this.#bySocket.get(socket);
    if (track === undefined) return;
    const { words, messagesIndex } = this.#counts;
    words[messagesIndex] = ((words[messagesIndex] as number) + 1) | 0;
    // This one among them, and no later one: parsers take one after the other.
    track.begun = this.#begun.of(track.fd);
    if (!track.known && !socket._httpMessage) {
      // Whatever began before has been answered.
      track.known = true;
      track.open = 0;
    }
    if (track.open++ === 0) this.#table.begin(track.fd);
  };

  #onFinish = (message: unknown): void => {
    const { request, response, socket } = message as Finished;
    const track = this.#bySocket.get(socket);
    // A message that was not seen to begin: messages were not followed then, or somebody
    // else gave the socket to this server.
    if (track === undefined || !track.known || track.open === 0) return;
    if (--track.open > 0 || track.held) return;
    // The last response of a connection, or one that came before its request was whole:
    // what the client still sends belongs to this message.
    if (response._last || !request.complete) return;
    if (this.#hasBegunAnother(track) || !isQuiet(socket)) return;
    this.#table.between(track.fd, track.consumedBefore + socket.bytesRead);
    this.#onBetween?.(track.fd);
  };

  /** Whether the parser has bytes of a message that was not told of yet. */
  #hasBegunAnother({ fd, begun }: Track): boolean {
    return this.#begun.of(fd) !== begun;
  }

  #setHeld(track: Track, held: boolean): void {
    if (track.held === held) return;
    track.held = held;
    this.#counts.held(held ? 1 : -1);
  }

  /** The entry must go before the descriptor does: the kernel may give the number to anybody at once. */
  #forget(handle: ClosingHandle): void {
    const track = this.#byFd.get(handle.fd);
    if (track?.handle !== handle) return;
    this.#byFd.delete(track.fd);
    this.#bySocket.delete(track.socket);
    const state = this.#table.close(track.fd);
    const moved = state === ConnectionState.TAKEN || state === ConnectionState.GIVING;
    if (moved) this.#counts.left(track.socket);
    this.#setHeld(track, false);
    this.#waiting.end(track.socket);
  }
}
