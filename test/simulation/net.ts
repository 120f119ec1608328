/**
 * Node's net and http as a simulated thread has them: servers, sockets and their handles, with
 * those inner parts that gyre relies on (`_listen2`, `onconnection`, a parser's hooks, the list of
 * a server's connections, two diagnostics channels). Each thread has classes of its own, as in Node.
 */
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import type { Message } from './client.js';
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
  readonly finished: boolean;
  _last: boolean;
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

export function netOf(thread: Thread): Net {
  const { world } = thread;
  const { kernel } = world;
  const subscribers = new Map<string, Set<(message: unknown) => void>>();
  const publish = (channel: string, message: unknown) => {
    for (const subscriber of [...(subscribers.get(channel) ?? [])]) subscriber(message);
  };

  class Handle implements Tcp {
    readonly thread = thread;
    fd = -1;
    watched = false;
    file: File | undefined;
    server: NetServer | null = null;
    socket: Socket | null = null;
    #listens = false;
    #closed = false;
    onconnection: (this: Handle, status: number, client: Handle) => void = () => {};

    get label(): string {
      return this.#listens ? `accept ${this.fd}` : `read ${this.fd}`;
    }

    get taken(): boolean {
      return kernel.fileAt(this.fd) !== this.file;
    }

    /** Throws if the number is somebody else's by now, which nobody may have done to it. */
    #check(): void {
      const now = kernel.fileAt(this.fd);
      if (now === this.file || now?.kind === 'other') return;
      throw new Violation(`descriptor ${this.fd} of ${thread.name} is another's`);
    }

    get atEnd(): boolean {
      return this.file?.kind === 'stream' && this.file.connection.state === 'closed by client';
    }

    get readable(): boolean {
      const { file } = this;
      if (this.#closed || this.taken || file === undefined) return false;
      if (file.kind === 'listening') return this.#listens && file.queue.length > 0;
      return world.readable(this.fd);
    }

    open(fd: number): number {
      const file = kernel.fileAt(fd);
      if (file === undefined) return -EBADF;
      this.fd = fd;
      this.file = file;
      world.enter(this);
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
      this.#release(thread.name);
      if (callback !== undefined) thread.immediate(callback);
    }

    reset(callback?: () => void): number {
      this.close(callback);
      return 0;
    }

    closeAtEnd(by: string): void {
      if (this.file?.kind === 'stream') this.file.connection.hadBy = thread;
      this.#release(by);
    }

    #release(by: string): void {
      this.#closed = true;
      if (this.fd < 0) return;
      this.#check();
      world.leave(this);
      kernel.close(this.fd, by);
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
      const fd = kernel.accept(this.fd);
      if (fd < 0) return; // it stays in the queue
      const client = new Handle();
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
    #timer: ReturnType<Thread['timer']> | null = null;
    readonly #waiting: Message[] = [];

    constructor(handle: Handle, server: NetServer) {
      super();
      this._handle = handle;
      this.server = server;
      handle.socket = this;
    }

    get #stream(): Stream {
      return (this._handle as Handle).file as Stream;
    }

    setTimeout(ms: number): void {
      thread.clear(this.#timer);
      if (ms > 0) this.#timer = thread.timer(() => this.#timeOut(), ms, false).unref();
    }

    #timeOut(): void {
      this.#stream.connection.told = true; // its server's keepAliveTimeout is no secret
      this.destroy();
    }

    destroy(): this {
      if (this.destroyed) return this;
      this.destroyed = true;
      thread.clear(this.#timer);
      this._handle?.close();
      this._handle = null;
      this.server._connections--;
      thread.tick(() => {
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
      for (const other of world.handles) {
        if (other === undefined || other === handle || other.file !== stream) continue;
        // Its giver may be between putting it and letting go of it.
        if (other.taken || other.thread.onStack) continue;
        throw new Violation(`two threads have connection ${stream.connection.id}`);
      }
      const { consumed, received } = stream;
      world.log(`${thread.name} reads ${stream.connection.id} to ${received}`);
      const touched = stream.connection.read(thread.name, received);
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
        get finished() {
          return this.writableFinished;
        },
      };
      this._httpMessage = response;
      const exchange = { request: { complete: true }, response, socket: this, server: this.server };
      publish('http.server.request.start', exchange);
      const respond = () => {
        if (this.destroyed || response.headersSent) return;
        response.headersSent = true;
        response._last = !response.shouldKeepAlive;
        this.#stream.connection.answer(message, thread.name, response._last);
        response.writableFinished = true;
        publish('http.server.response.finish', exchange);
        this._httpMessage = null;
        if (response._last) this.destroy();
        else this.#handle();
      };
      this.server.onRequest({ message, socket: this, respond });
    }
  }

  /** Those of http.Server's list: parsers, in which the socket is found. */
  class ConnectionsList {
    readonly #parsers = new Set<Parser>();
    add(parser: Parser): void {
      this.#parsers.add(parser);
    }
    idle(): Parser[] {
      return [...this.#parsers].filter(({ socket, reads, isNew }) => {
        return socket !== null && !socket.destroyed && !reads && !isNew;
      });
    }
    expired(): Parser[] {
      return [];
    }
  }

  class NetServer extends EventEmitter {
    _handle: Handle | null = null;
    _connections = 0;
    maxConnections: number | undefined;
    onRequest: (exchange: Exchange) => void = () => {};

    constructor() {
      super();
      this.setMaxListeners(0);
    }

    listen(port: number): this {
      this._listen2(null, port, 4, 0, undefined, 0);
      return this;
    }

    _listen2(...[, , , backlog, fd]: readonly unknown[]): void {
      let error = 0;
      if (this._handle === null) {
        const handle = new Handle();
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
      if (error === 0) thread.tick(() => this._handle !== null && this.emit('listening'));
      else thread.tick(() => this.emit('error', new Error(`listen: ${error}`)));
    }

    #accept(client: Handle): void {
      if (this.maxConnections && this._connections >= this.maxConnections) {
        client.close();
        return;
      }
      const socket = new Socket(client, this);
      this._connections++;
      this.emit('connection', socket);
      publish('net.server.socket', { socket });
    }

    address(): object | null {
      const out = {};
      return this._handle?.getsockname(out) === 0 ? out : null;
    }

    close(): this {
      const handle = this._handle;
      this._handle = null;
      handle?.close();
      thread.tick(() => this.emit('close'));
      return this;
    }
  }

  const LIST = Symbol('http.server.connections');

  class HttpServer extends NetServer {
    readonly keepAliveTimeout = KEEP_ALIVE_MS;
    readonly timeout = 0;
    readonly [LIST] = new ConnectionsList();

    constructor(onRequest: (exchange: Exchange) => void) {
      super();
      this.onRequest = onRequest;
      this.on('connection', (socket: Socket) => {
        socket.parser = new Parser(socket);
        this[LIST].add(socket.parser);
      });
    }

    closeIdleConnections(): void {
      for (const { socket } of this[LIST].idle()) {
        if (socket === null || (socket._httpMessage && !socket._httpMessage.finished)) continue;
        socket.destroy();
      }
    }

    override close(): this {
      this.closeIdleConnections();
      return super.close();
    }
  }

  const net = {
    ...{ Server: NetServer, Socket, __esModule: true },
    _createServerHandle: (...[, , , given]: readonly unknown[]) => {
      const handle = new Handle();
      const fd = typeof given === 'number' ? given : kernel.other();
      if (fd < 0) return fd;
      handle.open(fd);
      return handle;
    },
  };
  return {
    net: Object.assign(net, { default: net }),
    channels: {
      subscribe: (channel: string, subscriber: (message: unknown) => void) => {
        const known = subscribers.get(channel) ?? new Set();
        subscribers.set(channel, known.add(subscriber));
      },
      unsubscribe: (channel: string, subscriber: (message: unknown) => void) =>
        subscribers.get(channel)?.delete(subscriber),
    },
    serve: (onRequest) => new HttpServer(onRequest) as unknown as Server,
  };
}
