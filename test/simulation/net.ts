/**
 * Node's net and http as a simulated thread has them: servers, sockets and their handles, with
 * those inner parts that gyre relies on (`_listen2`, `onconnection`, a parser's hooks, the list of
 * a server's connections, two diagnostics channels). Each thread has classes of its own, as in Node.
 */
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import type { Connection, Message } from './client.js';
import { type File, type Stream, Violation } from './kernel.js';
import type { Choice, Thread } from './thread.js';

const { EBADF, EINVAL } = constants.errno;

/** libuv's stream handle as node wraps it. */
export interface Tcp extends Choice {
  readonly thread: Thread;
  readonly fd: number;
  /** libuv watches it: not before the iteration after the one in which it was made. */
  watched: boolean;
  readonly readable: boolean;
  /** Its client has gone. */
  readonly atEnd: boolean;
  /** What was opened with it, whatever is under its number now. */
  readonly file: File | undefined;
  /** The governor has put something else under its number. */
  readonly taken: boolean;
  /** It keeps its loop going. */
  readonly keeps: boolean;
  /** The environment is torn down: no JavaScript. */
  closeAtEnd(by: string): void;
}

/** A response of the program. */
interface Response {
  headersSent: boolean;
  shouldKeepAlive: boolean;
  writableFinished: boolean;
  _last: boolean;
  writeHead(): void;
  end(): void;
}

/** What the program sees of a request. */
export interface Exchange {
  readonly message: Message;
  readonly socket: object;
  respond(): void;
}

export interface Server extends EventEmitter {
  listen(port: number): this;
  close(): this;
}

export interface Net {
  /** `node:net` */
  readonly net: object;
  /** `node:diagnostics_channel` */
  readonly channels: object;
  /** An HTTP server of which `onRequest` is the program. */
  serve(onRequest: (exchange: Exchange) => void): Server;
}

const KEEP_ALIVE_MS = 5_000;

const LIST = Symbol('http.server.connections');

class Handle implements Tcp {
  /** Of its class, of which each thread has one. */
  static net: ThreadNet;
  readonly net: ThreadNet;
  readonly thread: Thread;
  fd = -1;
  watched = false;
  file: File | undefined;
  server: NetServer | null = null;
  socket: { onReadable(): void } | null = null;
  #listens = false;
  #closed = false;
  constructor() {
    this.net = new.target.net;
    this.thread = this.net.thread;
  }

  onconnection: (this: Handle, status: number, client: Handle) => void = () => {};

  get label(): string {
    return this.#listens ? `accept ${this.fd}` : `read ${this.fd}`;
  }

  get taken(): boolean {
    return this.thread.world.kernel.fileAt(this.fd) !== this.file;
  }

  /** Throws if the number is somebody else's by now, which nobody may have done to it. */
  #check(): void {
    const now = this.thread.world.kernel.fileAt(this.fd);
    if (now === this.file || now?.kind === 'other') return;
    throw new Violation(`descriptor ${this.fd} of ${this.thread.name} is another's`);
  }

  get atEnd(): boolean {
    return this.file?.kind === 'stream' && this.file.connection.state === 'closed by client';
  }

  get readable(): boolean {
    const { file } = this;
    if (this.#closed || this.taken || file === undefined) return false;
    if (file.kind === 'listening') return this.#listens && file.queue.length > 0;
    return this.thread.world.readable(this.fd);
  }

  open(fd: number): number {
    const file = this.thread.world.kernel.fileAt(fd);
    if (file === undefined) return -EBADF;
    this.fd = fd;
    this.file = file;
    this.thread.world.enter(this);
    return 0;
  }

  listen(): number {
    if (this.file?.kind !== 'listening') return -EINVAL;
    this.#listens = true;
    return 0;
  }

  get keeps(): boolean {
    return this.#listens || this.socket !== null;
  }

  getsockname(out: object): number {
    if (this.file?.kind !== 'listening') return -EINVAL;
    Object.assign(out, { family: 'IPv4', address: '0.0.0.0', port: this.file.port });
    return 0;
  }

  close(callback?: () => void): void {
    if (this.#closed) return;
    this.#release(this.thread.name);
    if (callback !== undefined) this.thread.immediate(callback);
  }

  reset(callback?: () => void): number {
    this.close(callback);
    return 0;
  }

  closeAtEnd(by: string): void {
    if (this.file?.kind === 'stream') this.file.connection.hadBy = this.thread;
    this.#release(by);
  }

  #release(by: string): void {
    this.#closed = true;
    if (this.fd < 0) return;
    this.#check();
    this.thread.world.leave(this);
    this.thread.world.kernel.close(this.fd, by);
    this.fd = -1;
  }

  ref(): void {}
  unref(): void {}

  happen(): void {
    this.#check();
    if (!this.#listens) {
      this.socket?.onReadable();
      return;
    }
    const fd = this.thread.world.kernel.accept(this.fd);
    if (fd < 0) return; // it stays in the queue
    const client = new this.net.Handle();
    client.open(fd);
    this.onconnection.call(this, 0, client);
  }
}

class Parser {
  static readonly kOnMessageBegin = 0;
  socket: Socket | null;
  /** A message has begun and its request is not whole. */
  reads = false;
  /** It never had one. */
  isNew = true;
  [hook: number]: unknown;
  constructor(socket: Socket) {
    this.socket = socket;
    this[Parser.kOnMessageBegin] = null;
  }
}

class Socket extends EventEmitter {
  _handle: Handle | null;
  server: NetServer;
  parser: Parser | null = null;
  _httpMessage: Response | null = null;
  bytesRead = 0;
  writableLength = 0;
  readableLength = 0;
  writableEnded = false;
  destroyed = false;
  readonly #waiting: Message[] = [];
  readonly #net: ThreadNet;

  constructor(handle: Handle, server: NetServer) {
    super();
    this._handle = handle;
    this.#net = handle.net;
    this.server = server;
    handle.socket = this;
  }

  get #thread(): Thread {
    return this.#net.thread;
  }

  get #stream(): Stream {
    return (this._handle as Handle).file as Stream;
  }

  /** Nothing has come for as long as its server keeps a connection that is idle. */
  timeOut(): void {
    if (this.destroyed) return;
    this.#stream.connection.told = true; // its server's keepAliveTimeout is no secret
    this.destroy();
  }

  destroy(): this {
    if (this.destroyed) return this;
    this.destroyed = true;
    this._handle?.close();
    this._handle = null;
    this.server._connections--;
    this.#thread.tick(() => {
      if (this.parser !== null) this.parser.socket = null;
      this.emit('close', false);
    });
    return this;
  }

  resetAndDestroy(): this {
    return this.destroy();
  }

  onReadable(): void {
    const handle = this._handle as Handle;
    if (handle.atEnd) {
      this.destroy();
      return;
    }
    const stream = this.#stream;
    for (const other of this.#thread.world.handles) {
      if (other === undefined || other === handle || other.file !== stream) continue;
      // Its giver may be between putting it and letting go of it.
      if (other.taken || other.thread.onStack) continue;
      throw new Violation(`two threads have connection ${stream.connection.id}`);
    }
    const { consumed, received } = stream;
    this.#thread.world.log(`${this.#thread.name} reads ${stream.connection.id} to ${received}`);
    const touched = stream.connection.read(this.#thread.name, received);
    this.bytesRead += received - consumed;
    if (this.parser === null) return; // upgraded: nobody answers
    for (const message of touched) {
      if (message.start >= consumed) this.#begin();
      if (message.end <= received && !message.answered) this.#waiting.push(message);
    }
    this.#handle();
  }

  #begin(): void {
    const parser = this.parser as Parser;
    const hook = parser[Parser.kOnMessageBegin];
    parser.reads = true;
    parser.isNew = false;
    if (typeof hook === 'function') hook.call(parser);
  }

  /** Hands the next whole request to the program. */
  #handle(): void {
    if (this._httpMessage !== null || this.destroyed) return;
    const message = this.#waiting.shift();
    if (message === undefined) return;
    (this.parser as Parser).reads = false;
    const response: Response = {
      ...{ headersSent: false, shouldKeepAlive: true, writableFinished: false, _last: false },
      writeHead() {},
      end: () => respond(),
    };
    this._httpMessage = response;
    const exchange = { request: { complete: true }, response, socket: this, server: this.server };
    const respond = () => {
      if (this.destroyed || response.headersSent) return;
      response.headersSent = true;
      response._last = !response.shouldKeepAlive;
      this.#stream.connection.answer(message, this.#thread.name, response._last);
      response.writableFinished = true;
      this.#net.publish('http.server.response.finish', exchange);
      this._httpMessage = null;
      if (response._last) this.destroy();
      else this.#handle();
    };
    this.#net.publish('http.server.request.start', exchange);
    this.server.emit('request', { message, socket: this, respond }, response);
  }
}

/** One of no server, as `new net.Socket({ handle })`: its client is told that there is no room. */
class LooseSocket extends EventEmitter {
  readonly #handle: Handle;
  #destroyed = false;

  constructor({ handle }: { readonly handle: Handle }) {
    super();
    this.#handle = handle;
    handle.socket = this;
    this.#connection.refuse(this.#handle.thread.name);
  }

  get #connection(): Connection {
    return (this.#handle.file as Stream).connection;
  }

  onReadable(): void {
    const { received } = this.#handle.file as Stream;
    if (this.#handle.atEnd) {
      this.emit('end');
      return;
    }
    this.#connection.read(this.#handle.thread.name, received);
    this.emit('data');
  }

  end(): void {
    this.#connection.leave();
  }

  resume(): void {}

  destroySoon(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#handle.close();
    this.#handle.thread.tick(() => this.emit('close'));
  }
}

/** Those of http.Server's list: parsers, in which the socket is found. */
class ConnectionsList {
  readonly #parsers = new Set<Parser>();
  add(parser: Parser): void {
    this.#parsers.add(parser);
  }
  all(): Parser[] {
    return [...this.#parsers].filter(({ socket }) => socket !== null && !socket.destroyed);
  }
  /** Answered or not, as node's. */
  idle(): Parser[] {
    return this.all().filter(({ reads, isNew }) => !reads && !isNew);
  }
  expired(): Parser[] {
    return [];
  }
}

class NetServer extends EventEmitter {
  /** Of its class, of which each thread has one. */
  static net: ThreadNet;
  readonly #net: ThreadNet;
  _handle: Handle | null = null;
  _connections = 0;
  maxConnections: number | undefined;

  constructor() {
    super();
    this.#net = new.target.net;
    this.setMaxListeners(0);
  }

  listen(port: number): this {
    this._listen2(null, port, 4, 0, undefined, 0);
    return this;
  }

  _listen2(...[, , , backlog, fd]: readonly unknown[]): void {
    let error = 0;
    if (this._handle === null) {
      const handle = new this.#net.Handle();
      error = handle.open(fd as number);
      if (error === 0) this._handle = handle;
    }
    if (error === 0 && this._handle !== null) {
      const handle = this._handle;
      handle.server = this;
      handle.onconnection = (_, client) => this.#accept(client);
      error = (handle.listen as (backlog: unknown) => number)(backlog);
      if (error !== 0) {
        handle.close();
        this._handle = null;
      }
    }
    if (error === 0) this.#net.thread.tick(() => this._handle !== null && this.emit('listening'));
    else this.#net.thread.tick(() => this.emit('error', new Error(`listen: ${error}`)));
  }

  #accept(client: Handle): void {
    if (this.maxConnections && this._connections >= this.maxConnections) {
      client.close();
      return;
    }
    const socket = new Socket(client, this);
    this._connections++;
    this.emit('connection', socket);
    this.#net.publish('net.server.socket', { socket });
  }

  address(): object | null {
    const out = {};
    return this._handle?.getsockname(out) === 0 ? out : null;
  }

  close(): this {
    const handle = this._handle;
    this._handle = null;
    handle?.close();
    this.#net.thread.tick(() => this.emit('close'));
    return this;
  }
}

/** The HTTP servers of the thread that has `Server`. */
function httpServerOf(Server: typeof NetServer) {
  return class HttpServer extends Server {
    readonly keepAliveTimeout = KEEP_ALIVE_MS;
    readonly timeout = 0;
    readonly requestTimeout = 0;
    readonly [LIST] = new ConnectionsList();

    constructor(onRequest: (exchange: Exchange) => void) {
      super();
      this.on('request', onRequest);
      this.on('connection', (socket: Socket) => {
        socket.parser = new Parser(socket);
        socket.on('timeout', () => socket.timeOut());
        this[LIST].add(socket.parser);
      });
    }
  };
}

class ThreadNet implements Net {
  readonly thread: Thread;
  readonly Handle: typeof Handle;
  readonly #HttpServer: ReturnType<typeof httpServerOf>;
  readonly #subscribers = new Map<string, Set<(message: unknown) => void>>();
  readonly net: object;
  readonly channels = {
    subscribe: (channel: string, subscriber: (message: unknown) => void) => {
      const known = this.#subscribers.get(channel) ?? new Set();
      this.#subscribers.set(channel, known.add(subscriber));
    },
    unsubscribe: (channel: string, subscriber: (message: unknown) => void) =>
      this.#subscribers.get(channel)?.delete(subscriber),
  };

  readonly serve = (onRequest: (exchange: Exchange) => void): Server =>
    new this.#HttpServer(onRequest) as unknown as Server;

  constructor(thread: Thread) {
    this.thread = thread;
    // What gyre changes of a class it changes for one thread.
    const OwnHandle = class extends Handle {};
    OwnHandle.net = this;
    const OwnServer = class extends NetServer {};
    OwnServer.net = this;
    this.Handle = OwnHandle;
    this.#HttpServer = httpServerOf(OwnServer);
    const net = {
      ...{ Server: OwnServer, Socket: LooseSocket, __esModule: true },
      _createServerHandle: (...[, , , given]: readonly unknown[]) => {
        const handle = new OwnHandle();
        const fd = typeof given === 'number' ? given : thread.world.kernel.other();
        if (fd < 0) return fd;
        handle.open(fd);
        return handle;
      },
    };
    this.net = Object.assign(net, { default: net });
  }

  publish(channel: string, message: unknown): void {
    const subscribers = this.#subscribers.get(channel);
    if (subscribers !== undefined) for (const subscriber of [...subscribers]) subscriber(message);
  }
}

export function netOf(thread: Thread): Net {
  return new ThreadNet(thread);
}
