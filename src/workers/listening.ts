/**
 * `server.listen()` in a worker: the sockets come from main, and nothing else
 * changes. Called on the worker's thread only, and blocks until main has answered. Installed later than the
 * application's first line, it would leave sockets to this thread alone.
 *
 * net.Server.prototype.listen resolves all its forms (port, host, path, fd, options)
 * and ends in `_listen2(address, port, addressType, backlog, fd, flags)`, which node
 * keeps under that name for those who wrap it, in every line from 20 to 26. The
 * wrapper asks main for a descriptor and calls the original with a handle for it,
 * so events, their order, `address()` and errors are node's own. An error is
 * produced by giving the original a handle whose `listen` fails with main's errno.
 *
 * libuv does not know that the handle listens: it has one duplicate, for `address()`, and connections
 * come through a *door* over another (door.ts). Main makes both, and its ledger knows both. What this
 * thread listens on without main is left to libuv, which accepts whatever comes.
 */
import { AsyncResource } from 'node:async_hooks';
import net from 'node:net';
import { close as closeFd, listenOn } from '../native.js';
import type { ListenAddress, ListenRequest, Opened, OpenReply } from '../protocol.js';
import type { Accepting } from './accepting.js';
import type { Door } from './door.js';
import { failingHandle, standByHandle } from './handles.js';
import {
  connectionKey,
  mayMove,
  publicAddress,
  requestFor,
  wantsExclusive,
} from './listen-request.js';
import {
  CONNECTED,
  createHandle,
  type Handle,
  onClose,
  type Server,
  type SetUp,
} from './net-internals.js';
import { Readiness } from './readiness.js';
import { Refusal } from './refusal.js';
import { scheduleTimeout } from './timers.js';

/** How a worker gets at main's sockets. */
export interface ListenTransport {
  open(listen: ListenRequest): OpenReply;
  release(grant: number | null, fds: readonly number[]): void;
}

interface ListeningEvents {
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

/** A connection that is no handle's yet. */
interface Arrival {
  readonly fd: number;
  /** Word in which `fd` is noted, for whoever would close it if this thread ended. */
  readonly words: Int32Array;
  readonly at: number;
  /** Called just before it becomes a handle's: only then it is this worker's, and noted. */
  adopting?(): void;
}

interface Held {
  readonly server: Server;
  /** Main's number of the address: the same in every worker. */
  readonly listener: number;
  readonly handle: Handle;
  readonly moves: boolean;
  /** What came in is handed on in the context in which listen() was called, as node has it. */
  readonly context: AsyncResource;
  /** By descriptor: its own, unless it is a spare's, and those over sockets whose workers ceased to listen. */
  readonly doors: Map<number, Door>;
}

/** How soon a socket that could not be watched is tried again, in ms. No evidence for more or less. */
const RETRY_MS = 100;
/** In {@link Arrival}'s word: nothing to close. */
const NO_DESCRIPTOR = -1;

const prototype = net.Server.prototype as Server;

export class Listening {
  readonly #transport: ListenTransport | null;
  readonly #events: ListeningEvents;
  readonly #accepting: Accepting;
  readonly #refusal = new Refusal();
  /** Of handles that have been made to listen. */
  readonly #doorOf = new WeakMap<Handle, Door>();
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
  /** Descriptors that main has handed over and that could not be watched yet. */
  readonly #adopting = new Set<number>();
  readonly #readiness: Readiness;

  /** @param transport null: this thread opens its own sockets. */
  constructor(transport: ListenTransport | null, accepting: Accepting, events: ListeningEvents) {
    this.#transport = transport;
    this.#accepting = accepting;
    this.#events = events;
    this.#readiness = new Readiness({
      listens: () => this.#servers.size > 0,
      ready: () => events.ready(),
      failed: (error) => events.failed(error),
    });
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
      const settle = self.#readiness.follow(this);
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

  /** The application serves without listening on anything. */
  declareReady(): void {
    this.#readiness.declare();
  }

  /** Main hands over a socket of a worker that ceased to listen. */
  adopt(grant: number, fd: number): void {
    this.#adopting.add(fd);
    this.#tryToAdopt(grant, fd);
  }

  /** Nobody else accepts from it, so whoever waits there waits for this worker. */
  #tryToAdopt(grant: number, fd: number): void {
    if (!this.#adopting.has(fd)) return; // main wanted it back
    const held = this.#held.get(grant);
    const door = held === undefined ? null : this.#accepting.open(fd);
    if (typeof door === 'number') {
      scheduleTimeout(() => this.#tryToAdopt(grant, fd), RETRY_MS).unref();
      return;
    }
    this.#adopting.delete(fd);
    if (held !== undefined && door !== null) this.#enter(held, door);
    // Else its server closed meanwhile, and main closes `fd`.
  }

  /** Main's number of the listener that `server` accepts for; null if its connections stay. */
  listenerOf(server: net.Server): number | null {
    return this.#listenerOf.get(server) ?? null;
  }

  /**
   * Makes the connection that `arrival` is of one of the server that accepts for `listener`, as if it
   * had just been accepted. It is the caller's still if that does not listen, or is full; if there is no
   * handle to be had for it, its descriptor is closed.
   *
   * @param moved another worker's server has accepted it before: it is not dropped for
   *   `maxConnections`, within which it was there
   */
  accept(
    listener: number,
    arrival: Arrival,
    moved: boolean,
  ): 'accepted' | 'not-listening' | 'full' | 'closed' {
    const held = this.#byListener.get(listener);
    if (held === undefined) return 'not-listening';
    const { server } = held;
    const { maxConnections } = server;
    // 0 is no limit in Node 20; in later lines it drops everything, which is left to node.
    if (!moved && maxConnections && server._connections >= maxConnections) return 'full';
    const lifted = moved && maxConnections !== undefined;
    const connection = this.#connected(held, arrival);
    if (connection === null) return 'closed';
    if (lifted) server.maxConnections = Number.POSITIVE_INFINITY;
    try {
      this.#serve(held, connection);
    } finally {
      // Unless the application has just set it to something else.
      if (lifted && server.maxConnections === Number.POSITIVE_INFINITY) {
        server.maxConnections = maxConnections;
      }
    }
    return 'accepted';
  }

  /**
   * A handle over the descriptor of `arrival`; null if there is none to be had, and then it is closed.
   *
   * The descriptor is noted until it is the handle's, or closed: V8 ends a thread at the entry of a
   * function, and so not between open() or close(2) and the store.
   */
  #connected({ handle }: Held, { fd, words, at, adopting }: Arrival): Handle | null {
    const Stream = handle.constructor as new (type: number) => Handle;
    const connection = new Stream(CONNECTED);
    adopting?.();
    const error = connection.open(fd);
    if (error !== 0) closeFd(fd);
    words[at] = NO_DESCRIPTOR;
    if (error === 0) return connection;
    connection.close();
    return null;
  }

  #serve({ handle, context }: Held, connection: Handle): void {
    context.runInAsyncScope(handle.onconnection, handle, 0, connection);
  }

  /**
   * The thread ends: from here on it accepts nothing. Main is not told, because others shall: what
   * waits is theirs.
   */
  cease(): void {
    for (const held of this.#held.values()) {
      for (const door of held.doors.values()) this.#leave(held, door);
    }
    this.#held.clear();
  }

  /** Main has given such a socket to somebody else again. */
  yield(grant: number, fd: number): void {
    const held = this.#held.get(grant);
    if (held === undefined) return; // closed meanwhile, with its server
    const door = held.doors.get(fd);
    held.doors.delete(fd);
    if (door !== undefined) this.#leave(held, door);
    else if (this.#adopting.delete(fd)) closeFd(fd);
    else return;
    this.#transport?.release(null, [fd]);
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
    const reply = transport.open(requestFor(args));
    if (!reply.ok) {
      server._handle = failingHandle(reply.errno);
      const where = address ?? reply.address;
      this.#originalSetUp.call(server, where, port, addressType, backlog, fd, flags);
      return;
    }
    const standsBy = reply.fd < 0;
    server._handle = standsBy ? standByHandle(reply.address) : this.#listeningHandle(reply);
    this.#originalSetUp.call(server, null, null, null, reply.backlog, undefined, flags);
    if (server._handle === null) {
      // A socket that cannot listen (a connected one, say): node has closed the handle and emits why.
      if (!standsBy) closeFd(reply.fd);
      transport.release(reply.grant, standsBy ? [] : [reply.fd, reply.handleFd]);
      return;
    }
    server._connectionKey = connectionKey(args, reply.address);
    this.#hold(server, server._handle, reply);
  }

  /**
   * A handle over `handleFd` that watches nothing. Its listen() does what libuv's would do, and opens a
   * door over `fd`.
   */
  #listeningHandle({ fd, handleFd }: Opened): Handle {
    const handle = createHandle(null, null, null, handleFd);
    if (typeof handle === 'number') {
      closeFd(handleFd);
      return failingHandle(handle);
    }
    handle.listen = (backlog) => {
      const error = listenOn(handle.fd, backlog);
      // Another server may listen on this one's handle.
      if (error < 0 || this.#doorOf.has(handle)) return error;
      const door = this.#accepting.open(fd);
      if (typeof door === 'number') return door;
      this.#doorOf.set(handle, door);
      return 0;
    };
    return handle;
  }

  /** From here on closing the server gives its descriptors back. */
  #hold(server: Server, handle: Handle, { grant, listener, handleFd, ...opened }: Opened): void {
    const moves = opened.moves && !this.#staying.has(server);
    const context = new AsyncResource('GYRE_LISTENING');
    const doors = new Map<number, Door>();
    const held: Held = { server, listener, handle, moves, context, doors };
    this.#held.set(grant, held);
    this.#byListener.set(listener, held);
    if (moves) this.#listenerOf.set(server, listener);
    this.#servers.add(server);
    const door = this.#doorOf.get(handle);
    if (door !== undefined) this.#enter(held, door);
    onClose(handle, () => {
      // Else it has ceased, and the numbers are anybody's.
      if (this.#held.has(grant)) for (const each of doors.values()) this.#leave(held, each);
      this.#held.delete(grant);
      this.#byListener.delete(listener);
      this.#listenerOf.delete(server);
      this.#servers.delete(server);
      const own = handleFd < 0 ? [] : [handleFd];
      this.#transport?.release(grant, [...own, ...doors.keys()]);
    });
    for (const method of ['ref', 'unref'] as const) {
      const original = handle[method];
      handle[method] = function (this: Handle) {
        original.call(this);
        for (const each of doors.values()) each[method]();
      };
    }
  }

  /** Connections come through `door` from now on. */
  #enter(held: Held, door: Door): void {
    const { server, listener, moves } = held;
    held.doors.set(door.fd, door);
    if (server._unref) door.unref();
    if (moves) this.#events.accepting(door.fd, listener, true);
    this.#accepting.begin(door, {
      listener: moves ? listener : null,
      accept: (fd) => {
        const connection = this.#connected(held, { fd, words: door.accepted, at: 0 });
        if (connection !== null) this.#serve(held, connection);
      },
      refuse: (fd) => {
        const connection = this.#connected(held, { fd, words: door.accepted, at: 0 });
        if (connection !== null) this.#refusal.refuse(server, connection);
      },
    });
  }

  /** No longer. Its descriptor is closed. */
  #leave({ listener, moves }: Held, door: Door): void {
    if (moves) this.#events.accepting(door.fd, listener, false);
    door.close();
  }

  /** A socket that this thread opened itself: main only hears of it. */
  #track(server: Server, handle: Handle): void {
    const bound = server.address();
    if (bound === null) return;
    const address = publicAddress(bound);
    // Or it is the handle of another server here, of which main knows.
    const known = [...this.#servers].some((other) => other._handle === handle);
    this.#servers.add(server);
    if (!known) {
      this.#events.own(address, true);
      this.#refuseAbove(server, handle);
    }
    onClose(handle, () => {
      this.#servers.delete(server);
      if (!known) this.#events.own(address, false);
    });
  }

  /** libuv has accepted already what comes through `handle`, so it cannot wait. */
  #refuseAbove(server: Server, handle: Handle): void {
    const accepting = this.#accepting;
    if (accepting.overload !== 'refuse') return;
    const { onconnection } = handle;
    const refusal = this.#refusal;
    handle.onconnection = function (this: Handle, status, client) {
      if (status !== 0 || !accepting.isAtLimit) {
        onconnection.call(this, status, client);
        return;
      }
      accepting.refused();
      refusal.refuse(server, client as Handle);
    };
  }
}
