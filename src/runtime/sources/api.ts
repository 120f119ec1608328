/**
 * `runtime.sources` as its user sees it. Types only.
 */
import type { GyreError } from '../../errors.js';
import type { EventKind, Handled, HandlingOptions } from '../../events.js';
import type { Placement } from '../../scheduler/placement.js';

/** What all sources may be told. */
export interface SourceOptions extends HandlingOptions {
  /** What workers call it in `onEvent()`: 1 to 256 characters, of one open source at a time. */
  name?: string;
}

export interface TimerOptions extends SourceOptions {
  name: string;
  /**
   * Fires at the time of the call plus 1, 2, 3, … times so many ms. 1 to 2,147,483,647. A firing
   * that is due while the one before has not settled is skipped, and counted.
   */
  everyMs?: number;
  /**
   * Fires once, at this time in ms since the epoch, as `Date.now()`; at once if that is over. Then
   * the source is closed. A clock that is set is noticed within an hour. Either this or `everyMs`.
   */
  atMs?: number;
  /**
   * Each firing is delayed by a random time of less than this, in ms, so that many machines with
   * the same timer do not fire together. Delays do not add up. 0, or less than `everyMs`. Default 0.
   */
  jitterMs?: number;
}

export interface PathOptions extends SourceOptions {
  /** Default: the path as given. */
  name?: string;
  /** Whether what is below a folder is watched as well. Default false. */
  recursive?: boolean;
}

export interface FdOptions extends SourceOptions {
  /** Default: `fd:` and its number. */
  name?: string;
  /** Whether it fires when there is something to be read. Default true. */
  read?: boolean;
  /** Whether it fires when it can be written to. Default false. */
  write?: boolean;
  /** Not possible: a descriptor is ready until its handler has done something about it. */
  concurrent?: false;
}

export interface DatagramOptions extends SourceOptions {
  /** Default: `udp:` and the port that it is bound to. */
  name?: string;
  /** 0 to 65,535; 0: the kernel picks one, see `address`. */
  port: number;
  /** A numeric address. Default: every address of the machine. */
  host?: string;
  /** Default `'udp4'`, or `'udp6'` if `host` is an IPv6 address. */
  type?: 'udp4' | 'udp6';
  /** Of udp6: whether IPv4 is left out. Default false. */
  ipv6Only?: boolean;
  /**
   * `'shared'`: one socket, from which whichever worker has time reads the next datagram. `'each'`:
   * one SO_REUSEPORT socket for each worker, among which the kernel picks by a hash of both
   * addresses, so what one peer sends is handled by one worker, in order, while that lives.
   * Default `'shared'`.
   */
  sockets?: 'shared' | 'each';
  /**
   * Handlers that may be at work in one worker at once; it reads no more until one has settled. 1
   * to 1,000,000. Default 1,024.
   */
  inFlightMax?: number;
  /**
   * Receive buffer of each socket, in bytes, which the kernel doubles and cuts at
   * `net.core.rmem_max`: what comes while it is full is dropped, and counted. 1 to 2^30.
   * Default: the kernel's.
   */
  receiveBufferBytes?: number;
  /** Not possible: a datagram is gone with the worker that read it. */
  retry?: false;
  /** Not possible: the runtime does not see each datagram. */
  timeoutMs?: never;
}

/** Counts since a source was opened. */
export interface SourceCounts {
  /** Firings. Each of them is, at last, one of the next six. */
  readonly fired: number;
  /** Whose handler settled without an error. */
  readonly handled: number;
  /** Whose handler threw or rejected. */
  readonly failed: number;
  /**
   * Whose worker ended while it handled them, and which were not to be tried again, or waited for
   * that when the runtime was closed.
   */
  readonly lost: number;
  /** Whose handler took longer than `timeoutMs`. */
  readonly timedOut: number;
  /** For which no worker had a handler. */
  readonly unhandled: number;
  /** That nobody had begun when the source or the runtime was closed. */
  readonly cancelled: number;
  /**
   * Firings that were due and not made, because one before had not settled; of what is emitted, what
   * was refused because too many waited.
   */
  readonly skipped: number;
  /** Tries after the first. */
  readonly retried: number;
  /** Times that a firing was taken back from a worker that did not begin it, for another one. */
  readonly takenBack: number;
  /** Of datagrams: what the kernel dropped, its receive buffer being full. Null: not known. */
  readonly dropped: number | null;
}

export interface SourceInfo extends SourceCounts {
  /** What workers call it in `onEvent()`. */
  readonly name: string;
  /** What it fires for. */
  readonly kind: EventKind;
  /** The option of this name. */
  readonly concurrent: boolean;
  /** Tries that a firing gets at most; Infinity: as many as it takes. */
  readonly tries: number;
  /** The option of this name. */
  readonly placement: Placement;
  /** Its key, if it has one. */
  readonly collaborates: string | null;
  /** Firings that a worker has and has not settled. */
  readonly running: number;
  /** Firings that wait for a worker. */
  readonly waiting: number;
  /** Workers that have a handler for its name. */
  readonly handlers: number;
}

/** A source that is open, or was. */
export interface Source {
  /** What workers call it in `onEvent()`. */
  readonly name: string;
  /** What it fires for. */
  readonly kind: EventKind;
  /** It fires no more: it was closed, a one-shot timer has fired, or its descriptor has ended. */
  readonly closed: boolean;
  /** Its options and counts now. */
  info(): SourceInfo;
  /**
   * Fires no more, and takes back what nobody has begun; what is to be tried again still is. Its
   * name is free at once. Resolves when the last handler has settled.
   */
  close(): Promise<void>;
}

/** A source of datagrams. */
export interface DatagramSource extends Source {
  /** What it is bound to. */
  readonly address: {
    /** Numeric; the unspecified one is every address of the machine. */
    readonly address: string;
    /** 1 to 65,535. */
    readonly port: number;
    /** Of `address`. */
    readonly family: 'IPv4' | 'IPv6';
  };
}

/** A firing that was not handled as it should. */
export interface SourceFailure {
  /** Of the source, or what was emitted. */
  readonly name: string;
  /** What it was fired for. */
  readonly kind: EventKind;
  /** Id of the firing, as its handler sees it; null: several datagrams, of which `times` tells. */
  readonly id: number | null;
  /** Firings that this is about: 1, but for datagrams. */
  readonly times: number;
  /**
   * `ERR_GYRE_EVENT_UNHANDLED`, `ERR_GYRE_EVENT_FAILED`, `ERR_GYRE_EVENT_LOST`,
   * `ERR_GYRE_EVENT_TIMEOUT`, `ERR_GYRE_EVENT_REFUSED`, or `ERR_GYRE_CLOSED` for what waited when its source or the runtime was
   * closed. Of a source itself, which is closed by that: `ERR_GYRE_SOURCE_PATH`.
   */
  readonly error: GyreError;
  /** What could be emitted once more; undefined for datagrams. */
  readonly payload: unknown;
}

/** `runtime.sources`: what is an event and no connection. */
export interface Sources {
  /**
   * Fires every so often, or once.
   *
   * @throws GyreError as do all of these: `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID` and
   *   `ERR_GYRE_OPTION_CONFLICT` for options, `ERR_GYRE_SOURCE_NAME` for a name that is none
   *   or taken, `ERR_GYRE_CLOSED`
   */
  timer(options: TimerOptions): Source;
  /**
   * Fires when the process receives `signal`, which then has no other effect on it. The name
   * is that of the signal.
   *
   * @throws GyreError `ERR_GYRE_SOURCE_SIGNAL` if there is no such signal, if no program can handle
   *   it, or if gyre uses it itself (SIGURG); `ERR_GYRE_OPTION_CONFLICT` for one that `handleSignals`
   *   handles
   */
  signal(signal: NodeJS.Signals, options?: SourceOptions): Source;
  /**
   * Fires when what is at `path` changes: fs.watch(), whose limits it has. Changes that come while a
   * firing has not settled are in the next one.
   *
   * @throws GyreError `ERR_GYRE_SOURCE_PATH`
   */
  path(path: string, options?: PathOptions): Source;
  /**
   * Fires when `fd` is ready: a pipe, a socket, an eventfd, an inotify or serial descriptor, or
   * whatever else epoll knows. It is watched again when the handler has settled. The
   * runtime works on a duplicate, so the caller may close `fd`; both are non-blocking from here on.
   *
   * @throws GyreError `ERR_GYRE_SOURCE_FD` if it is closed or cannot be polled, as a file;
   *   `ERR_GYRE_CAPABILITY` without the native helper
   */
  fd(fd: number, options?: FdOptions): Source;
  /**
   * Fires for each datagram that comes to a UDP port; workers read it themselves.
   *
   * @throws GyreError with the code of the system, as `EADDRINUSE`; `ERR_GYRE_CAPABILITY` without the
   *   native helper, or without SO_REUSEPORT for `sockets: 'each'`
   */
  datagram(options: DatagramOptions): DatagramSource;
  /**
   * Has `payload` handled by one worker that has a handler for `name`. It is cloned before this
   * returns. Resolves when the handler has settled; who does not wait need not look at the
   * result, which is no unhandled rejection. `emit` of `gyre/worker` is the same.
   *
   * @throws GyreError besides, `ERR_GYRE_EVENT_PAYLOAD` if it cannot be cloned. Rejects with
   *   `ERR_GYRE_EVENT_UNHANDLED`, `_FAILED`, `_LOST`, `_TIMEOUT` or `_REFUSED`, or `ERR_GYRE_CLOSED`.
   */
  emit(name: string, payload?: unknown, options?: HandlingOptions): Promise<Handled>;
  /** Every open source, and what was emitted, by name. */
  list(): readonly SourceInfo[];
}
