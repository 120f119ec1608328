/**
 * `server.listen()` in a worker: the sockets come from main, and nothing else
 * changes. Called on the worker's thread only.
 *
 * net.Server.prototype.listen resolves all its forms (port, host, path, fd, options)
 * and ends in `_listen2(address, port, addressType, backlog, fd, flags)`, which node
 * keeps under that name for those who wrap it, in every line from 20 to 26. The
 * wrapper asks main for a descriptor and calls the original with `{ fd }` semantics,
 * so events, their order, `address()` and errors are node's own. An error is
 * produced by giving the original a handle whose `listen` fails with main's errno.
 */
import { type EventEmitter, errorMonitor } from 'node:events';
import net from 'node:net';
import { resolveListenerOptions } from '../listener-options.js';
import { close as closeFd, closeIfSame, cookieOf, TCP_REUSEPORT } from '../native.js';
import type { ListenAddress, ListenRequest, Opened, OpenReply } from '../protocol.js';

/** What this file uses of a libuv stream as node wraps it. */
interface Handle {
  readonly constructor: unknown;
  open(fd: number): number;
  onconnection: (this: Handle, status: number, client: unknown) => void;
  listen(backlog: number): number;
  getsockname?(out: object): number;
  close(callback?: () => void): void;
  ref(): void;
  unref(): void;
}

/** What node:cluster makes handles with; under this name in Node 20 to 26. */
interface NetInternals {
  _createServerHandle(address: string, port: number, addressType: number): Handle | number;
}

/** What this file uses of net.Server beyond its public interface. */
interface ServerInternals {
  _connections: number;
  _handle: Handle | null;
  _unref?: boolean;
  _connectionKey?: string;
  _listen2: SetUp;
}
type Server = net.Server & ServerInternals;

type SetUp = (
  this: Server,
  address: string | null,
  port: number | null,
  addressType: number | null,
  backlog: number,
  fd: number | undefined,
  flags: number | undefined,
) => void;

/** How a worker gets at main's sockets. */
export interface ListenTransport {
  open(listen: ListenRequest): OpenReply;
  release(grant: number | null, fds: readonly number[]): void;
}

export interface ListeningEvents {
  /** `server` is about to listen. */
  listening(server: net.Server): void;
  /** This thread accepts from `fd` for `listener` from now on, or ceases to. */
  accepting(fd: number, listener: number, on: boolean): void;
  /** Some server listens and no `listen()` is pending. At most once. */
  ready(): void;
  /** A server listens, or ceased to, on a socket that main does not have. */
  own(address: ListenAddress, listening: boolean): void;
  failed(error: Error): void;
}

interface Held {
  readonly server: Server;
  /** The descriptor that `handle` accepts from; a spare's is -1. */
  readonly fd: number;
  /** Main's number of the address: the same in every worker. */
  readonly listener: number;
  readonly handle: Handle;
  readonly backlog: number;
  readonly moves: boolean;
  /** Handles over sockets whose workers ceased to listen, by descriptor. */
  readonly extras: Map<number, Handle>;
}

/** Type of a stream handle that is no server: TCPConstants.SOCKET and PipeConstants.SOCKET. */
const CONNECTED = 0;
/** TCPConstants.SERVER. */
const LISTENING = 1;

const prototype = net.Server.prototype as Server;
const scheduleImmediate = setImmediate;
const scheduleInterval = setInterval;
const cancelInterval = clearInterval;
/** The longest interval there is: 24 days. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * Whether connections may move, as far as `listen({ gyre: { move: false } })` says.
 *
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`
 */
function mayMove(first: unknown): boolean {
  const gyre = (first as { gyre?: unknown } | null | undefined)?.gyre;
  if (gyre === undefined) return true;
  return resolveListenerOptions('listen({ gyre })', gyre).move;
}

/** `exclusive` as the application wrote it: node sets it itself for `reusePort`. */
function wantsExclusive(first: unknown): boolean {
  if (typeof first !== 'object' || first === null) return false;
  const { exclusive, reusePort } = first as net.ListenOptions & { reusePort?: boolean };
  return exclusive === true && reusePort !== true;
}

export class Listening {
  readonly #transport: ListenTransport | null;
  readonly #events: ListeningEvents;
  readonly #originalListen = prototype.listen;
  readonly #originalSetUp = prototype._listen2;
  /** Servers that listen now. */
  readonly #servers = new Set<Server>();
  readonly #held = new Map<number, Held>();
  readonly #byListener = new Map<number, Held>();
  readonly #listenerOf = new WeakMap<net.Server, number>();
  readonly #exclusive = new WeakSet<Server>();
  /** Servers whose application said that their connections must not move. */
  readonly #staying = new WeakSet<net.Server>();
  #pending = 0;
  #ready = false;

  /** @param transport null: this thread opens its own sockets. */
  constructor(transport: ListenTransport | null, events: ListeningEvents) {
    this.#transport = transport;
    this.#events = events;
  }

  /** Wraps net.Server's prototype, once per thread, before any user code. */
  install(): void {
    const self = this;
    const listen = this.#originalListen as (this: Server, ...args: unknown[]) => Server;
    prototype.listen = function (this: Server, ...args: unknown[]) {
      if (wantsExclusive(args[0])) self.#exclusive.add(this);
      else self.#exclusive.delete(this);
      if (mayMove(args[0])) self.#staying.delete(this);
      else self.#staying.add(this);
      const settle = self.#watch(this);
      try {
        return listen.apply(this, args);
      } catch (error) {
        settle();
        throw error;
      }
    } as typeof prototype.listen;
    prototype._listen2 = function (...args) {
      self.#setUp(this, ...args);
    };
  }

  uninstall(): void {
    prototype.listen = this.#originalListen;
    prototype._listen2 = this.#originalSetUp;
  }

  /** The servers that listen now. */
  servers(): net.Server[] {
    return [...this.#servers];
  }

  /** Main hands over a socket of a worker that ceased to listen. */
  adopt(grant: number, fd: number): void {
    const held = this.#held.get(grant);
    if (held === undefined) return; // its server closed meanwhile, and main closes `fd`
    const cookie = cookieOf(fd);
    const handle = this.#openHandle(fd, held.backlog);
    if (handle === null) {
      // If it was opened, and is no listening socket because main has withdrawn it, node has closed it.
      if (cookie === null) closeFd(fd);
      else closeIfSame(fd, cookie);
      this.#transport?.release(null, [fd]);
      return;
    }
    const first = held.handle;
    handle.onconnection = (status, client) => first.onconnection.call(first, status, client);
    if (held.server._unref) handle.unref();
    held.extras.set(fd, handle);
    this.#accepting(held, fd, true);
  }

  /** Main's number of the listener that `server` accepts for; null if its connections stay. */
  listenerOf(server: net.Server): number | null {
    return this.#listenerOf.get(server) ?? null;
  }

  /**
   * Makes the connected socket `fd` a connection of the server that accepts for
   * `listener`, as if it had just been accepted. Until it is `accepted`, `fd` is the
   * caller's.
   *
   * @param moved another worker's server has accepted it before: it is not dropped for
   *   `maxConnections`, within which it was there
   * @param adopting called just before `fd` becomes a socket's
   */
  accept(
    listener: number,
    fd: number,
    moved: boolean,
    adopting: () => void,
  ): 'accepted' | 'not-listening' | 'full' | 'failed' {
    const held = this.#byListener.get(listener);
    if (held === undefined) return 'not-listening';
    const { server, handle } = held;
    const { maxConnections } = server;
    // 0 is no limit in Node 20; in later lines it drops everything, which is left to node.
    if (!moved && maxConnections && server._connections >= maxConnections) return 'full';
    const lifted = moved && maxConnections !== undefined;
    const Stream = handle.constructor as new (type: number) => Handle;
    const connection = new Stream(CONNECTED);
    adopting();
    if (connection.open(fd) !== 0) {
      connection.close();
      return 'failed';
    }
    if (lifted) server.maxConnections = Number.POSITIVE_INFINITY;
    try {
      handle.onconnection.call(handle, 0, connection);
    } finally {
      // Unless the application has just set it to something else.
      if (lifted && server.maxConnections === Number.POSITIVE_INFINITY) {
        server.maxConnections = maxConnections;
      }
    }
    return 'accepted';
  }

  /**
   * The thread ends: from here on it accepts nothing. Main is not told, because others shall: what
   * waits is theirs. A handle that is left to node accepts one connection more while the
   * thread comes to its end, and no JavaScript hears of it.
   */
  cease(): void {
    for (const held of this.#held.values()) {
      for (const [fd, handle] of [[held.fd, held.handle] as const, ...held.extras]) {
        if (fd < 0) continue;
        this.#accepting(held, fd, false);
        (Object.getPrototypeOf(handle) as Handle).close.call(handle);
      }
    }
    this.#held.clear();
  }

  /** Main has given such a socket to somebody else again. */
  yield(grant: number, fd: number): void {
    const held = this.#held.get(grant);
    const handle = held?.extras.get(fd);
    if (held === undefined || handle === undefined) return; // closed meanwhile, with its server
    held.extras.delete(fd);
    this.#accepting(held, fd, false);
    handle.close();
    this.#transport?.release(null, [fd]);
  }

  /** Follows one `listen()` to its end, without being a listener that handles errors. */
  #watch(server: Server): () => void {
    this.#pending++;
    let settled = false;
    const settle = () => {
      if (settled) return;
      settled = true;
      this.#pending--;
      server.removeListener('listening', settle);
      server.removeListener('close', settle);
      (server as EventEmitter).removeListener(errorMonitor, fail);
      this.#checkReady();
    };
    const fail = (error: Error) => {
      this.#events.failed(error);
      settle();
    };
    server.once('listening', settle);
    server.once('close', settle);
    (server as EventEmitter).once(errorMonitor, fail);
    return settle;
  }

  #checkReady(): void {
    if (this.#ready || this.#pending > 0 || this.#servers.size === 0) return;
    // Later in this turn the application may call listen() on another server.
    scheduleImmediate(() => {
      if (this.#ready || this.#pending > 0 || this.#servers.size === 0) return;
      this.#ready = true;
      this.#events.ready();
    });
  }

  #setUp(server: Server, ...args: Parameters<SetUp>): void {
    const [address, port, addressType, backlog, fd, flags] = args;
    const transport = this.#transport;
    this.#events.listening(server);
    // A handle of its own (`listen({ handle })`), or a socket for this worker alone.
    if (transport === null || server._handle || this.#exclusive.has(server)) {
      this.#originalSetUp.apply(server, args);
      if (server._handle) this.#track(server, server._handle);
      return;
    }
    const reply = transport.open(requestFor(address, port, addressType, backlog, fd, flags));
    if (!reply.ok) {
      server._handle = failingHandle(reply.errno);
      const where = address ?? reply.address;
      this.#originalSetUp.call(server, where, port, addressType, backlog, fd, flags);
      return;
    }
    const standsBy = reply.fd < 0;
    if (standsBy) server._handle = standByHandle(reply.address);
    const from = standsBy ? undefined : reply.fd;
    this.#originalSetUp.call(server, null, null, null, reply.backlog, from, flags);
    if (server._handle === null) {
      // A socket that cannot listen (a connected one, say): node has closed it and emits why.
      transport.release(reply.grant, standsBy ? [] : [reply.fd]);
      return;
    }
    server._connectionKey = connectionKey(args, reply.address);
    this.#hold(server, server._handle, reply);
  }

  /** From here on closing the server gives its descriptors back. */
  #hold(server: Server, handle: Handle, { grant, listener, fd, backlog, ...opened }: Opened): void {
    const moves = opened.moves && !this.#staying.has(server);
    const held: Held = { server, fd, listener, handle, backlog, moves, extras: new Map() };
    this.#held.set(grant, held);
    this.#byListener.set(listener, held);
    if (moves) this.#listenerOf.set(server, listener);
    this.#servers.add(server);
    this.#accepting(held, fd, true);
    const before = () => {
      if (!this.#held.has(grant)) return; // it has ceased, and the numbers are anybody's
      for (const each of [fd, ...held.extras.keys()]) this.#accepting(held, each, false);
    };
    const after = () => {
      this.#held.delete(grant);
      this.#byListener.delete(listener);
      this.#listenerOf.delete(server);
      this.#servers.delete(server);
      for (const extra of held.extras.values()) extra.close();
      const fds = [fd, ...held.extras.keys()];
      this.#transport?.release(
        grant,
        fds.filter((each) => each >= 0),
      );
    };
    onClose(handle, after, before);
    for (const method of ['ref', 'unref'] as const) {
      const original = handle[method];
      handle[method] = function (this: Handle) {
        original.call(this);
        for (const extra of held.extras.values()) extra[method]();
      };
    }
  }

  #accepting({ listener, moves }: Held, fd: number, on: boolean): void {
    if (moves && fd >= 0) this.#events.accepting(fd, listener, on);
  }

  /** A socket that this thread opened itself: main only hears of it. */
  #track(server: Server, handle: Handle): void {
    const bound = server.address();
    if (bound === null) return;
    const address = publicAddress(bound);
    // Or it is the handle of another server here, of which main knows.
    const known = [...this.#servers].some((other) => other._handle === handle);
    this.#servers.add(server);
    if (!known) this.#events.own(address, true);
    onClose(handle, () => {
      this.#servers.delete(server);
      if (!known) this.#events.own(address, false);
    });
  }

  /** A listening handle over `fd`, made by node itself, that belongs to no server. */
  #openHandle(fd: number, backlog: number): Handle | null {
    const scratch = new net.Server() as Server;
    scratch.on('error', () => {}); // the caller sees the missing handle
    this.#originalSetUp.call(scratch, null, null, null, backlog, fd, 0);
    const handle = scratch._handle;
    scratch._handle = null;
    return handle;
  }
}

/** Calls `after` when `handle` was closed and its descriptor is free, `before` while it is not. */
function onClose(handle: Handle, after: () => void, before?: () => void): void {
  const original = handle.close;
  handle.close = function (this: Handle, callback?: () => void) {
    handle.close = original;
    before?.();
    original.call(this, callback);
    after();
  };
}

/**
 * A handle that accepts nothing by itself, for a server to which connections are given. It
 * has no socket, and keeps the thread alive as one that listens does.
 */
function standByHandle(address: ListenAddress): Handle {
  const { _createServerHandle: create } = net as unknown as NetInternals;
  // Only for its class, which node shows nowhere else.
  const ipv4 = create('127.0.0.1', 0, 4);
  const bound = typeof ipv4 === 'number' ? create('::1', 0, 6) : ipv4;
  if (typeof bound === 'number') return failingHandle(bound);
  const Stream = bound.constructor as new (type: number) => Handle;
  bound.close();
  const handle = new Stream(LISTENING);
  const alive = scheduleInterval(() => {}, FOREVER_MS);
  const close = handle.close;
  return Object.assign(handle, {
    listen: () => 0,
    getsockname: (out: object) => {
      if (address.family !== 'unix') Object.assign(out, address);
      return 0;
    },
    close(this: Handle, callback?: () => void) {
      cancelInterval(alive);
      close.call(this, callback);
    },
    ref: () => void alive.ref(),
    unref: () => void alive.unref(),
  });
}

/** A handle on which `listen` fails, so that node makes and emits the error. */
function failingHandle(errno: number): Handle {
  return {
    open: () => errno,
    onconnection() {},
    listen: () => errno,
    close() {},
    ref() {},
    unref() {},
  };
}

/** As node would have set it, had it opened the socket here. */
function connectionKey([address, port, addressType]: Parameters<SetUp>, bound: ListenAddress) {
  if (address || port === null || bound.family === 'unix') {
    return `${addressType}:${address}:${port}`;
  }
  return `${bound.family === 'IPv6' ? 6 : 4}:${bound.address}:${port}`;
}

function requestFor(
  address: string | null,
  port: number | null,
  addressType: number | null,
  backlog: number,
  fd: number | undefined,
  flags: number | undefined,
): ListenRequest {
  const bounded = Number.isInteger(backlog) && backlog > 0 ? Math.min(backlog, 0x7fffffff) : 0;
  if (typeof fd === 'number') return { kind: 'fd', fd, backlog: bounded };
  if (port === -1) return { kind: 'unix', path: String(address), backlog: bounded };
  return {
    kind: 'tcp',
    address,
    family: addressType === 6 ? 6 : 4,
    port: port ?? 0,
    flags: (flags ?? 0) & (1 | TCP_REUSEPORT),
    backlog: bounded,
  };
}

function publicAddress(bound: net.AddressInfo | string): ListenAddress {
  if (typeof bound === 'string') return { family: 'unix', path: bound };
  const family = bound.family === 'IPv6' ? 'IPv6' : 'IPv4';
  return { family, address: bound.address, port: bound.port };
}
