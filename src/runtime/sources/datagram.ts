/**
 * A source of datagrams. Main thread only: it owns the sockets and says who reads from which; the
 * workers read (src/workers/reading.ts), and main sees no datagram.
 *
 * A descriptor is lent: main closes it when every worker that was told to read from it has said that
 * it does no more, or has ended. Two workers may read from one socket at any time, since the kernel
 * gives each datagram to one of them, so when readers change nothing stops and nothing is lost;
 * except for a source that is not concurrent, whose next reader waits until the last has settled.
 */
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { GyreError } from '../../errors.js';
import { invalidOption, resolveHandling, sourceOptions } from '../../events.js';
import {
  close,
  droppedAt,
  misalignmentOf,
  openUdp,
  TCP_IPV6ONLY,
  TCP_PROBE,
  TCP_REUSEPORT,
  udpNameOf,
} from '../../native.js';
import type { FromWorker } from '../../protocol.js';
import { Receptions } from '../../scheduler/receptions.js';
import type { WorkerHandle } from '../worker-handle.js';
import type { DatagramSource, SourceInfo } from './api.js';
import type { Dispatcher } from './dispatcher.js';
import { failedIn, lostWith } from './firing-errors.js';
import type { Recipient } from './recipients.js';
import { SourceBase, type SourceContext } from './source.js';

const OWN_KEYS = [
  ...['name', 'port', 'host', 'type', 'ipv6Only', 'sockets', 'inFlightMax', 'receiveBufferBytes'],
];
const IN_FLIGHT_DEFAULT = 1_024;
const IN_FLIGHT_MAX = 1_000_000;
const BUFFER_BYTES_MAX = 2 ** 30;

/** What the options say of the sockets. */
interface Binding {
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
  readonly ipv6Only: boolean;
  readonly each: boolean;
  readonly inFlightMax: number;
  readonly receiveBufferBytes: number;
}

interface Lent {
  /** As workers know it: each socket of a source has its own. */
  readonly id: number;
  readonly fd: number;
  /** Worker that reads it while it can; null: all do. */
  readonly index: number | null;
  readonly readers: Map<WorkerHandle, 'reads' | 'stops'>;
}

interface DatagramContext extends SourceContext {
  readonly dispatcher: Dispatcher;
  readonly slots: { readonly total: number; isSpare(slot: number): boolean };
  /** Number of workers now. */
  workers(): number;
  /** Workers will speak of `id` and mean `source`. */
  lent(id: number, source: SourceBase): void;
  returned(id: number): void;
}

function integer(where: string, key: string, value: unknown, min: number, max: number): number {
  const fits = Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
  return fits ? Number(value) : invalidOption(where, key, `an integer from ${min} to ${max}`);
}

function resolveBinding(where: string, given: Record<string, unknown>): Binding {
  const { host, type, ipv6Only = false, sockets = 'shared' } = given;
  const { inFlightMax = IN_FLIGHT_DEFAULT, receiveBufferBytes } = given;
  if (host !== undefined && (typeof host !== 'string' || net.isIP(host) === 0)) {
    invalidOption(where, 'host', 'a numeric address');
  }
  if (type !== undefined && type !== 'udp4' && type !== 'udp6') {
    invalidOption(where, 'type', `'udp4' or 'udp6'`);
  }
  const known = host === undefined ? 0 : net.isIP(host as string);
  const family = type === 'udp6' || (type === undefined && known === 6) ? 6 : 4;
  if (known !== 0 && known !== family) {
    throw new GyreError('ERR_GYRE_OPTION_CONFLICT', `${where}: ${host} is no address of ${type}`);
  }
  if (typeof ipv6Only !== 'boolean') invalidOption(where, 'ipv6Only', 'a boolean');
  if (sockets !== 'shared' && sockets !== 'each') {
    invalidOption(where, 'sockets', `'shared' or 'each'`);
  }
  return {
    host: (host as string | undefined) ?? (family === 6 ? '::' : '0.0.0.0'),
    port: integer(where, 'port', given.port, 0, 65_535),
    family,
    ipv6Only: ipv6Only as boolean,
    each: sockets === 'each',
    inFlightMax: integer(where, 'inFlightMax', inFlightMax, 1, IN_FLIGHT_MAX),
    receiveBufferBytes:
      receiveBufferBytes === undefined
        ? 0
        : integer(where, 'receiveBufferBytes', receiveBufferBytes, 1, BUFFER_BYTES_MAX),
  };
}

/** @throws GyreError with the system's code */
function open({ host, port, family, ...more }: Binding, flags: number): number {
  const all = flags | (more.ipv6Only ? TCP_IPV6ONLY : 0) | (more.each ? TCP_REUSEPORT : 0);
  const fd = openUdp(host, port, family, all, more.receiveBufferBytes);
  if (fd >= 0) return fd;
  const code = getSystemErrorName(fd);
  throw new GyreError(code, `sources.datagram(): bind ${code} ${host}:${port}`, {
    syscall: 'bind',
    errno: fd,
  });
}

/** @throws GyreError after it has closed `fd` */
function nameOrClose(fd: number, name: unknown, context: SourceContext): string {
  try {
    return context.freeName(name);
  } catch (error) {
    close(fd);
    throw error;
  }
}

export class Datagrams extends SourceBase implements DatagramSource {
  readonly address: DatagramSource['address'];
  readonly #binding: Binding;
  readonly #datagrams: DatagramContext;
  readonly #receptions: Receptions;
  readonly #sockets: Lent[] = [];
  /** By slot: datagrams that were with threads of it that have ended. */
  readonly #abandoned: number[];
  readonly #whenReturned: (() => void)[] = [];
  #dropped = 0;

  /** @param reusePort whether the kernel balances between sockets, and why not */
  constructor(
    options: unknown,
    reusePort: { readonly available: boolean; readonly reason?: string },
    context: DatagramContext,
  ) {
    const where = 'sources.datagram()';
    const given = sourceOptions(where, options, OWN_KEYS);
    for (const key of ['retry', 'timeoutMs']) {
      if (given[key] === undefined || given[key] === false) continue;
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `${where}: workers read datagrams themselves, so ${key} is not possible`,
      );
    }
    const binding = resolveBinding(where, given);
    const handling = resolveHandling(where, given, true);
    if (binding.each && !handling.concurrent) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `${where}: with sockets: 'each' datagrams are handled concurrently`,
      );
    }
    if (binding.each && !reusePort.available) {
      throw new GyreError('ERR_GYRE_CAPABILITY', `${where}: sockets: 'each': ${reusePort.reason}`);
    }
    if (given.name !== undefined) context.freeName(given.name);
    const fd = open(binding, binding.each ? TCP_PROBE : 0);
    const { text, port, family } = udpNameOf(fd);
    super('datagram', nameOrClose(fd, given.name ?? `udp:${port}`, context), handling, context);
    this.address = Object.freeze({
      ...{ address: text, port, family: family === 6 ? ('IPv6' as const) : ('IPv4' as const) },
    });
    // Whoever opens another socket of it wants the same port.
    this.#binding = { ...binding, port };
    this.#datagrams = context;
    this.#receptions = Receptions.create(context.slots.total, misalignmentOf);
    this.#abandoned = new Array(context.slots.total).fill(0);
    this.#lend(fd, binding.each ? 0 : null);
    if (!binding.each) return;
    for (let index = 1; index < context.workers(); index++) this.#open(index);
  }

  /** Begins. Not in the constructor: only now is it known by its name. */
  begin(): void {
    this.#assign();
  }

  override info(): SourceInfo {
    const { received, settled, failed } = this.#receptions.total();
    const { lost } = this.counts;
    return {
      ...super.info(),
      ...{ fired: received, handled: (settled - failed) >>> 0, failed },
      running: Math.max(0, (received - settled - lost) | 0),
      dropped: this.#drops(),
    };
  }

  protected override heardMore(worker: WorkerHandle, message: FromWorker): void {
    if (message.kind === 'reads-no-more') {
      const socket = this.#sockets.find(({ id }) => id === message.source);
      socket?.readers.delete(worker);
      this.#assign();
    }
    if (message.kind === 'datagrams-failed') {
      const error = failedIn(worker.index, this.name, message.error);
      this.report(null, message.times, error, undefined);
    }
  }

  override handlersChanged(): void {
    if (this.#binding.each && !this.closed) this.#openForNew();
    this.#assign();
  }

  override workerEnded(worker: WorkerHandle): void {
    const { slot } = worker;
    for (const { readers } of this.#sockets) readers.delete(worker);
    const before = this.#abandoned[slot] as number;
    const times = (this.#receptions.unsettled(slot) - before) | 0;
    this.#abandoned[slot] = (before + times) | 0;
    if (times > 0) {
      this.counts.lost += times;
      this.report(null, times, lostWith(worker.index, this.name), undefined);
    }
    this.#assign();
  }

  /** Resolves when nobody reads, every handler has settled, and every socket is closed. */
  override get gone(): Promise<void> {
    if (this.#sockets.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenReturned.push(resolve));
  }

  protected override free(): void {}

  protected override stop(): void {
    this.#assign();
  }

  #drops(): number | null {
    let dropped = this.#dropped;
    for (const { fd } of this.#sockets) {
      const here = droppedAt(fd);
      if (here === null) return null;
      dropped += here;
    }
    return dropped;
  }

  #open(index: number): void {
    this.#lend(open(this.#binding, 0), index);
  }

  /** A worker that was added reads others' sockets if it can have none of its own. */
  #openForNew(): void {
    for (const { worker } of this.#group()) {
      if (this.#sockets.some(({ index }) => index === worker.index)) continue;
      try {
        this.#open(worker.index);
      } catch (error) {
        this.report(null, 1, error as GyreError, undefined);
      }
    }
  }

  #lend(fd: number, index: number | null): void {
    const id = this.context.nextId();
    this.#sockets.push({ id, fd, index, readers: new Map() });
    this.#datagrams.lent(id, this);
  }

  /** Says who reads from what, as it should be now. */
  #assign(): void {
    for (const socket of [...this.#sockets]) {
      const wanted = this.closed ? [] : this.#readersOf(socket);
      for (const [worker, state] of socket.readers) {
        if (state === 'stops' || wanted.some((each) => each.worker === worker)) continue;
        socket.readers.set(worker, 'stops');
        worker.send({ kind: 'stop-reading', source: socket.id });
      }
      for (const { worker } of wanted) {
        // One that is about to stop says when it has, and is asked then.
        if (socket.readers.has(worker)) continue;
        if (!this.handling.concurrent && socket.readers.size > 0) break;
        socket.readers.set(worker, 'reads');
        this.#lendTo(worker, socket);
      }
      if (this.closed && socket.readers.size === 0) this.#return(socket);
    }
  }

  #lendTo(worker: WorkerHandle, { id, fd }: Lent): void {
    const { concurrent } = this.handling;
    worker.send({
      ...{ kind: 'read', source: id, name: this.name, fd },
      receptions: this.#receptions.words,
      inFlightMax: concurrent ? this.#binding.inFlightMax : 1,
    });
  }

  #return(socket: Lent): void {
    const at = this.#sockets.indexOf(socket);
    if (at < 0) return; // whoever read it answered before this came here
    this.#dropped += droppedAt(socket.fd) ?? 0;
    close(socket.fd);
    this.#sockets.splice(at, 1);
    this.#datagrams.returned(socket.id);
    if (this.#sockets.length > 0) return;
    for (const resolve of this.#whenReturned.splice(0)) resolve();
  }

  #readersOf({ index }: Lent): readonly Recipient[] {
    return index === null ? this.#group() : this.#ownerOf(index);
  }

  /** Those who may read: no spares, and of a source that collaborates its group only. */
  #group(): readonly Recipient[] {
    const { dispatcher, slots } = this.#datagrams;
    const all = dispatcher
      .recipientsOf(this.name)
      .filter(({ worker }) => !slots.isSpare(worker.slot));
    const { collaborates, concurrent } = this.handling;
    const candidates = all.map(({ worker }) => worker.index);
    let near = dispatcher.assignment.group(collaborates, candidates);
    if (!concurrent) near = near.slice(0, 1);
    return all.filter(({ worker }) => near.includes(worker.index));
  }

  /** Who reads the socket of worker `index`: that worker, or the one that has fewest to read. */
  #ownerOf(index: number): readonly Recipient[] {
    const all = this.#group();
    const own = all.filter(({ worker }) => worker.index === index);
    if (own.length > 0) return own;
    const readsNow = all.find(({ worker }) =>
      this.#sockets.some(
        (socket) => socket.index === index && socket.readers.get(worker) === 'reads',
      ),
    );
    if (readsNow !== undefined) return [readsNow];
    const reads = ({ worker }: Recipient) =>
      this.#sockets.filter(({ readers }) => readers.get(worker) === 'reads').length;
    return all.toSorted((a, b) => reads(a) - reads(b)).slice(0, 1);
  }
}
