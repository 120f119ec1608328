/**
 * The kernel as gyre sees it: one table of descriptor numbers for all threads, where the lowest
 * free number is given out; sockets that count what was received and consumed; listening
 * sockets with accept queues; and calls that fail when the simulation says so. It is exact about
 * who closes what: a number that is not open, or not the caller's, is a violation.
 */
import { constants } from 'node:os';
import type { Connection } from './client.js';

const { EADDRINUSE, EBADF, EMFILE, EINVAL, EAGAIN } = constants.errno;

/** Something that must never happen did. Whoever catches it does not undo that. */
export class Violation extends Error {
  /** In this run. */
  static first: Violation | null = null;

  constructor(what: string) {
    super(what);
    Violation.first ??= this;
  }
}

/** Below this number nothing is given out: stdin, stdout and stderr. */
const FIRST = 3;

interface Shared {
  /** The kernel's name of it: never used again. */
  readonly cookie: bigint;
  /** Descriptors that refer to it. */
  references: number;
}

/** The server's end of a connection. */
export interface Stream extends Shared {
  readonly kind: 'stream';
  readonly connection: Connection;
  /** Bytes that have come from the client, and those of them that were read. */
  received: number;
  consumed: number;
  /** Bytes that were written to it. */
  written: number;
}

export interface Listening extends Shared {
  readonly kind: 'listening';
  readonly port: number;
  readonly family: number;
  readonly queue: Connection[];
}

/** Never readable: what a worker finds under a number whose connection was taken; loops; files. */
export interface Other extends Shared {
  readonly kind: 'other';
}

export type File = Stream | Listening | Other;

/** Calls that can be made to fail, and with what. */
export type Call = 'duplicate' | 'accept' | 'open' | 'epoll_ctl' | 'dup3';

export interface KernelEvents {
  /** -errno if `call` is to fail now, else 0. */
  fails(call: Call): number;
  /** The last descriptor of a connection was closed, by `by`. */
  closed(connection: Connection, by: string): void;
  /** A listening socket was closed while `connection` waited in its queue. */
  reset(connection: Connection, by: string): void;
}

export class Kernel {
  readonly #files: (File | undefined)[] = [];
  readonly #events: KernelEvents;
  readonly descriptorsMax: number;
  /** Ports with something that listens. */
  readonly #listening = new Set<Listening>();
  #cookie = 0n;
  /** Descriptors that lead to connections. */
  streams = 0;

  constructor(descriptorsMax: number, events: KernelEvents) {
    this.descriptorsMax = descriptorsMax;
    this.#events = events;
  }

  fileAt(fd: number): File | undefined {
    return this.#files[fd];
  }

  /** Open descriptors and what they refer to. */
  *open(): Generator<[number, File]> {
    for (const [fd, file] of this.#files.entries()) if (file !== undefined) yield [fd, file];
  }

  /** Sockets that listen on `port`. */
  listening(port: number): Listening[] {
    return [...this.#listening].filter((each) => each.port === port);
  }

  /** A descriptor for something new, or -errno. */
  other(): number {
    return this.#give({ kind: 'other', ...this.#fresh() });
  }

  /** A socket that listens on every address of `family`; those of IPv6 are IPv4's, too. */
  listen(port: number, family: number): number {
    const error = this.#events.fails('open');
    if (error !== 0) return error;
    if (this.listening(port).some((other) => other.family !== family)) return -EADDRINUSE;
    const file: Listening = { kind: 'listening', port, family, queue: [], ...this.#fresh() };
    const fd = this.#give(file);
    if (fd >= 0) this.#listening.add(file);
    return fd;
  }

  /** It listens no more, through whatever descriptor. */
  stopListening(fd: number, by: string): number {
    const file = this.#files[fd];
    if (file === undefined) return -EBADF;
    if (file.kind !== 'listening') return -EINVAL;
    this.#silence(file, by);
    return 0;
  }

  accept(fd: number): number {
    const file = this.#files[fd];
    if (file === undefined) return -EBADF;
    if (file.kind !== 'listening' || !this.#listening.has(file)) return -EINVAL;
    const connection = file.queue[0];
    if (connection === undefined) return -EAGAIN;
    const error = this.#events.fails('accept');
    if (error !== 0) return error;
    const { received } = connection;
    const stream: Stream = {
      ...{ kind: 'stream', connection, received, consumed: 0, written: 0 },
      ...this.#fresh(),
    };
    const accepted = this.#give(stream);
    if (accepted < 0) return accepted;
    file.queue.shift();
    connection.accepted(stream);
    return accepted;
  }

  duplicate(fd: number): number {
    const file = this.#files[fd];
    if (file === undefined) return -EBADF;
    const error = this.#events.fails('duplicate');
    return error !== 0 ? error : this.#give(file);
  }

  /** Puts `file` under the open number `fd`: dup3(2). */
  replace(fd: number, file: File, by: string): number {
    const error = this.#events.fails('dup3');
    if (error === 0) this.restore(fd, file, by);
    return error === 0 ? fd : error;
  }

  /** The same; onto an open number it needs no new descriptor, so this time it does not fail. */
  restore(fd: number, file: File, by: string): void {
    const before = this.#files[fd];
    if (before === undefined) throw new Violation(`${by} replaces descriptor ${fd}: not open`);
    file.references++;
    this.#files[fd] = file;
    if (file.kind === 'stream') this.streams++;
    this.#release(before, by);
  }

  close(fd: number, by: string): void {
    const file = this.#files[fd];
    if (file === undefined) throw new Violation(`${by} closes descriptor ${fd}, which is not open`);
    this.#files[fd] = undefined;
    this.#release(file, by);
  }

  #fresh(): Shared {
    return { cookie: ++this.#cookie, references: 0 };
  }

  /** The lowest number that is free. */
  next(): number {
    let fd = FIRST;
    while (this.#files[fd] !== undefined) fd++;
    return fd < this.descriptorsMax ? fd : -EMFILE;
  }

  #give(file: File): number {
    const fd = this.next();
    if (fd < 0) return fd;
    this.#files[fd] = file;
    file.references++;
    if (file.kind === 'stream') this.streams++;
    return fd;
  }

  #release(file: File, by: string): void {
    if (file.kind === 'stream') this.streams--;
    if (--file.references > 0) return;
    if (file.kind === 'stream') this.#events.closed(file.connection, by);
    if (file.kind === 'listening') this.#silence(file, by);
  }

  #silence(file: Listening, by: string): void {
    this.#listening.delete(file);
    for (const connection of file.queue.splice(0)) this.#events.reset(connection, by);
  }
}
