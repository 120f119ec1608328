/**
 * Who listens where: the listening sockets of a runtime, and the workers that accept from
 * them. Main thread only; everything here is synchronous.
 *
 * Main opens each socket and keeps it open until nobody listens on its address any
 * more. A worker gets a duplicate under a number of its own: the same number in two
 * threads would be closed under the other's feet, which aborts the process in
 * libuv. So the death of a worker never closes a listening socket, and what waits
 * in its accept queue is served by somebody else.
 *
 *     Listener  one address. Has
 *       Socket  one per worker that listens there (SO_REUSEPORT: the kernel spreads
 *               connections over them), or a single one that all share: Unix
 *               sockets, inherited descriptors, systems that do not balance.
 *       Grant   one worker's right to accept: from its own socket, and from those
 *               of workers that ceased to listen.
 *
 * "Worker" here is a slot, that is one thread of a worker (src/runtime/slots.ts). A thread that
 * replaces another accepts from the same socket, so a reload opens none and closes none.
 *
 * A grant comes with two duplicates, of which one is for the server's handle. Who owns which is in the
 * ledger (ledger.ts).
 *
 * A socket is opened when a worker asks, not in advance for all workers, so that
 * an address on which only some workers listen has no socket that nobody accepts
 * from. Closing a SO_REUSEPORT socket resets whatever waits in its queue, so none is
 * closed while the address is in use: its remaining workers share it out.
 */
import { constants } from 'node:os';
import { close, dropHandshakes, stopListening, TCP_IPV6ONLY } from '../native.js';
import type {
  ListenAddress,
  ListenRequest,
  Opened,
  OpenReply,
  Refused,
  ToWorker,
} from '../protocol.js';
import { Ledger } from './ledger.js';
import {
  adopted,
  type Endpoint,
  type FirstSocket,
  openAnother,
  openAt,
  openFirst,
  removeFile,
  type Socket,
  type SocketFile,
} from './listening-socket.js';

const { EADDRINUSE, EINVAL, ECANCELED } = constants.errno;

/** What is no reason to try the other family: others have the port, or something has run out. */
const NOT_THE_FAMILY: readonly number[] = [
  ...[constants.errno.EADDRINUSE, constants.errno.EMFILE, constants.errno.ENFILE],
  ...[constants.errno.ENOMEM, constants.errno.ENOBUFS],
];

/** How soon a socket that no worker could be given (EMFILE) is offered again. No evidence for more or less. */
const RETRY_MS = 100;

interface Grant {
  readonly id: number;
  readonly worker: number;
  readonly listener: Listener;
  /** The first is the one that the server's own handle accepts from. Only who stands by has none. */
  readonly sockets: Socket[];
}

interface Listener {
  /** The same for one key in the whole life of a runtime: a spare knows it by that. */
  readonly id: number;
  readonly key: string;
  readonly address: ListenAddress;
  /** Whether all grants share one socket. */
  readonly shared: boolean;
  readonly sockets: Socket[];
  readonly grants: Map<number, Grant>;
  /** Workers without a socket, spares mostly: they serve connections of others, and do not keep the address in use. */
  readonly spares: Map<number, Grant>;
  /** Whether its connections may move. */
  readonly moves: boolean;
  readonly file: SocketFile | null;
}

interface ListenersEvents {
  /** Whether `worker` gets no socket: it is a spare, or the runtime closes while it starts. */
  standsBy(worker: number): boolean;
  /** Whose socket `worker` accepts from, too, while both run; null: nobody's. */
  replaces(worker: number): number | null;
  /** Whether somebody is about to start who may listen on what nobody else listens on. */
  awaitsSuccessor(): boolean;
  /** Whether connections to `address` may move. */
  moves(address: ListenAddress): boolean;
  /** Posts to a worker's control port. */
  send(worker: number, message: ToWorker): void;
  /** Worker `worker` may accept at `address` from now on. */
  granted(worker: number, address: ListenAddress): void;
}

export class Listeners {
  readonly #balanced: boolean;
  readonly #backlog: number;
  readonly #events: ListenersEvents;
  readonly #listeners = new Map<string, Listener>();
  readonly #grants = new Map<number, Grant>();
  readonly #ledger = new Ledger();
  #grantLast = 0;
  #listenerLast = 0;
  /** Of every listener that there ever was, by key. */
  readonly #ids = new Map<string, number>();
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param balanced whether the kernel balances SO_REUSEPORT sockets
   * @param backlog for requests that name none
   */
  constructor(balanced: boolean, backlog: number, events: ListenersEvents) {
    this.#balanced = balanced;
    this.#backlog = backlog;
    this.#events = events;
  }

  /** Every address on which some worker accepts, in the order they were opened. */
  addresses(): ListenAddress[] {
    return [...this.#listeners.values()].map((listener) => listener.address);
  }

  /** Descriptors that connections are accepted from now, or could be: main's, and the workers'. */
  descriptors(): { main: number; workers: number } {
    const own = [...this.#listeners.values()].reduce((sum, { sockets }) => sum + sockets.length, 0);
    return { main: own, workers: this.#ledger.accepting };
  }

  /** Every listening socket that is not a Unix socket, and who alone accepts from it. */
  sockets(): { address: ListenAddress; worker: number | null; fd: number }[] {
    return [...this.#listeners.values()]
      .filter(({ address }) => address.family !== 'unix')
      .flatMap(({ address, shared, sockets, grants }) =>
        sockets.map((socket) => {
          // A thread that is replaced and the one that replaces it share theirs for a while.
          const holders = [...grants.values()].filter((grant) => grant.sockets.includes(socket));
          const worker = shared ? null : (holders.at(-1)?.worker ?? null);
          return { address, worker, fd: socket.fd };
        }),
      );
  }

  /** The workers that accept for listener `id`. */
  workersOf(id: number): number[] {
    const listener = [...this.#listeners.values()].find((each) => each.id === id);
    return [...(listener?.grants.values() ?? [])].map(({ worker }) => worker);
  }

  /** Gives `worker` a descriptor to accept from, or the error that node would give. */
  open(worker: number, request: ListenRequest): OpenReply {
    if (this.#closed) return refused(-ECANCELED);
    const listen = { ...request, backlog: request.backlog || this.#backlog };
    switch (listen.kind) {
      case 'tcp':
        return this.#openTcp(worker, listen);
      case 'unix':
        return this.#join(worker, `unix:${listen.path}`, listen, () =>
          openAt(listen.path, listen.backlog),
        );
      case 'fd':
        return this.#join(worker, `fd:${listen.fd}`, listen, () => adopted(listen.fd));
    }
  }

  /** `worker` has closed `fds`; with `grantId`, its server no longer listens. */
  release(worker: number, grantId: number | null, fds: readonly number[]): void {
    this.#ledger.closed(worker, fds);
    if (grantId === null) return;
    // What is left for this grant is still on its way to the worker, which ignores it as
    // it has given the grant back. Closed by the worker some time later, it would keep
    // the address open after close() has returned there.
    this.#ledger.takeBackFor(worker, grantId);
    const grant = this.#grants.get(grantId);
    if (grant?.worker === worker) this.#revoke(grant, this.#events.awaitsSuccessor());
  }

  /** {@link Ledger.withdraw} */
  withdraw(worker: number, peer: number): void {
    this.#ledger.withdraw(worker, peer);
  }

  /** The thread of `worker` has ended: whatever it still owned is closed or shared out. */
  abandon(worker: number): void {
    this.#ledger.abandon(worker);
    for (const grant of [...this.#grants.values()]) {
      if (grant.worker === worker) this.#revoke(grant, this.#events.awaitsSuccessor());
    }
  }

  /** Closes the sockets that nobody accepts from, if nobody is about to either. */
  settle(): void {
    if (this.#events.awaitsSuccessor()) return;
    for (const listener of [...this.#listeners.values()]) {
      if (listener.grants.size === 0) this.#dispose(listener);
    }
  }

  /**
   * Nobody begins a connection any more to the TCP sockets that were made here, so that whoever has
   * begun one can be accepted before they are closed. Returns whether there is any.
   */
  dropHandshakes(): boolean {
    const own = [...this.#listeners.values()].filter(
      (listener) => listener.address.family !== 'unix' && !isFromOutside(listener),
    );
    const sockets = own.flatMap(({ sockets }) => sockets);
    return sockets.filter(({ fd }) => dropHandshakes(fd)).length > 0;
  }

  /** Closes every socket. Connections that wait in their queues are reset. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const listener of [...this.#listeners.values()]) this.#dispose(listener);
    this.#grants.clear();
  }

  #openTcp(worker: number, listen: Extract<ListenRequest, { kind: 'tcp' }>): OpenReply {
    const { port, flags } = listen;
    const create = (address: string, family: 4 | 6) => {
      const where = { address, family, port };
      const only = family === 6 ? flags & TCP_IPV6ONLY : 0;
      // The n-th port 0 of each worker is one and the same port.
      for (let nth = 0; ; nth++) {
        const key = `tcp${family}:${address}:${port}:${only}${port === 0 ? `:${nth}` : ''}`;
        if (port === 0 && this.#holds(worker, key)) continue;
        return this.#join(
          worker,
          key,
          { ...listen, address, family },
          () => openFirst(where, listen, this.#balanced),
          where,
        );
      }
    };
    if (listen.address !== null) return create(listen.address, listen.family);
    // No address: every address, over IPv6 with IPv4 mapped into it, unless the
    // system has no IPv6. A port in use is reported, not worked around.
    const reply = create('::', 6);
    return reply.ok || NOT_THE_FAMILY.includes(-reply.errno) ? reply : create('0.0.0.0', 4);
  }

  #holds(worker: number, key: string): boolean {
    const listener = this.#listeners.get(key);
    const grants = [...(listener?.grants.values() ?? []), ...(listener?.spares.values() ?? [])];
    return grants.some((grant) => grant.worker === worker);
  }

  /** Grants `worker` the listener `key`, which `create` makes if there is none. */
  #join(
    worker: number,
    key: string,
    listen: ListenRequest,
    create: () => FirstSocket | number,
    where: Endpoint | null = null,
  ): OpenReply {
    const refuse = (errno: number) =>
      refused(errno, where?.address ?? null, where?.family ?? 4, where?.port ?? 0);
    if (this.#holds(worker, key)) return refuse(-EADDRINUSE);

    let listener = this.#listeners.get(key);
    let socket: Socket | number | undefined;
    if (listener === undefined) {
      if (this.#events.standsBy(worker)) return this.#standByAlone(worker, listen, where);
      const created = create();
      if (typeof created === 'number') return refuse(created);
      // Without SO_REUSEPORT, or for what is no TCP of ours, all share the one.
      listener = this.#add(key, created, where === null || !this.#balanced);
      socket = created.socket;
    } else if (this.#events.standsBy(worker)) {
      return this.#standBy(worker, listener, listen.backlog);
    } else {
      socket = listener.shared
        ? listener.sockets[0]
        : this.#anotherSocket(worker, listener, listen);
    }
    if (socket === undefined) return refuse(-EINVAL);
    if (typeof socket === 'number') return refuse(socket);

    const id = ++this.#grantLast;
    const fd = this.#ledger.give(worker, id, socket);
    const handleFd = fd < 0 ? fd : this.#ledger.give(worker, id, socket, false);
    if (handleFd < 0) {
      if (fd >= 0) this.#ledger.takeBack(fd);
      if (listener.grants.size > 0) this.#shareOut(listener);
      else if (!this.#events.awaitsSuccessor()) this.#dispose(listener);
      return refuse(handleFd);
    }
    const grant: Grant = { id, worker, listener, sockets: [socket] };
    this.#grants.set(grant.id, grant);
    listener.grants.set(grant.id, grant);
    this.#shareOut(listener); // what else the last one left, if nobody accepted for a while
    this.#events.granted(worker, listener.address);
    return opened(grant, { fd, handleFd }, listen.backlog);
  }

  /** Where no worker listens who stands by does not either, and is not told. */
  #standByAlone(worker: number, listen: ListenRequest, where: Endpoint | null): Opened {
    const address: ListenAddress =
      where === null
        ? { family: 'unix', path: listen.kind === 'unix' ? listen.path : '' }
        : {
            family: where.family === 6 ? 'IPv6' : 'IPv4',
            address: where.address,
            port: where.port,
          };
    const nowhere: Listener = {
      ...{ id: ++this.#listenerLast, key: '', address, shared: true, moves: false, file: null },
      ...{ sockets: [], grants: new Map(), spares: new Map() },
    };
    return this.#standBy(worker, nowhere, listen.backlog);
  }

  /** A spare gets no socket: it could not help accepting from it. Nor does who starts when all else ends: its socket may be closed already. */
  #standBy(worker: number, listener: Listener, backlog: number): Opened {
    const grant: Grant = { id: ++this.#grantLast, worker, listener, sockets: [] };
    this.#grants.set(grant.id, grant);
    listener.spares.set(grant.id, grant);
    return opened(grant, { fd: -1, handleFd: -1 }, backlog);
  }

  /**
   * That of the thread that `worker` replaces, else one that nobody accepts from or whose worker
   * looks after it besides its own, else a new one on the same port.
   */
  #anotherSocket(worker: number, listener: Listener, listen: ListenRequest): Socket | number {
    const replaced = this.#events.replaces(worker);
    const grants = [...listener.grants.values()];
    const predecessor = grants.find((grant) => grant.worker === replaced);
    if (predecessor?.sockets[0] !== undefined) return predecessor.sockets[0];
    const held = new Set(grants.flatMap((grant) => grant.sockets));
    const orphan = listener.sockets.find((socket) => !held.has(socket));
    if (orphan !== undefined) return orphan;
    for (const grant of grants) {
      if (grant.sockets.length < 2) continue;
      const socket = grant.sockets.pop() as Socket;
      for (const fd of this.#ledger.of(grant.worker, socket)) {
        this.#events.send(grant.worker, { kind: 'yield', grant: grant.id, fd });
      }
      return socket;
    }
    const { address } = listener;
    if (address.family === 'unix' || listen.kind !== 'tcp') return -EINVAL;
    const { port } = address;
    const where = { address: listen.address as string, family: listen.family, port };
    const another = openAnother(where, listen);
    if (typeof another !== 'number') listener.sockets.push(another);
    return another;
  }

  #add(key: string, { socket, address, file }: FirstSocket, shared: boolean): Listener {
    const id = this.#ids.get(key) ?? ++this.#listenerLast;
    this.#ids.set(key, id);
    const listener: Listener = {
      ...{ id, key, address, shared, file },
      ...{ sockets: [socket], grants: new Map(), spares: new Map() },
      moves: this.#events.moves(address),
    };
    this.#listeners.set(key, listener);
    return listener;
  }

  /** @param keep whether the sockets stay open although nobody is left to accept */
  #revoke(grant: Grant, keep = false): void {
    const { listener } = grant;
    this.#grants.delete(grant.id);
    if (listener.spares.delete(grant.id)) return;
    listener.grants.delete(grant.id);
    if (listener.grants.size > 0) this.#shareOut(listener);
    else if (!keep) this.#dispose(listener);
  }

  /** Gives each socket that no worker accepts from to the one that has fewest. */
  #shareOut(listener: Listener): void {
    if (listener.shared || this.#closed) return;
    const grants = [...listener.grants.values()];
    if (grants.length === 0) return;
    const held = new Set(grants.flatMap((grant) => grant.sockets));
    for (const socket of listener.sockets) {
      if (held.has(socket)) continue;
      const least = grants.reduce((a, b) => (b.sockets.length < a.sockets.length ? b : a));
      const fd = this.#ledger.give(least.worker, least.id, socket);
      if (fd < 0) {
        this.#retry ??= setTimeout(() => {
          this.#retry = undefined;
          for (const each of this.#listeners.values()) this.#shareOut(each);
        }, RETRY_MS).unref();
        return;
      }
      least.sockets.push(socket);
      this.#events.send(least.worker, { kind: 'adopt', grant: least.id, fd });
    }
  }

  #dispose(listener: Listener): void {
    this.#listeners.delete(listener.key);
    for (const id of [...listener.grants.keys(), ...listener.spares.keys()]) {
      this.#grants.delete(id);
    }
    // The file first: once the socket is closed, its inode number may be another's.
    if (listener.file !== null) removeFile(listener.file);
    for (const { fd } of listener.sockets) {
      // A thread that was terminated and does not end has a duplicate for as long as it is there.
      if (!isFromOutside(listener)) stopListening(fd);
      close(fd);
    }
  }
}

/** Whether its socket may go on being used by whoever it came from. */
function isFromOutside({ key }: Listener): boolean {
  return key.startsWith('fd:');
}

function opened(
  { id, listener }: Grant,
  descriptors: Pick<Opened, 'fd' | 'handleFd'>,
  backlog: number,
): Opened {
  const { address, moves } = listener;
  return { ok: true, grant: id, listener: listener.id, ...descriptors, backlog, address, moves };
}

function refused(errno: number, address: string | null = null, family = 4, port = 0): Refused {
  return { ok: false, errno, address, family, port };
}
