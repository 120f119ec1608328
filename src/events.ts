/**
 * What a handler of `onEvent()` is given, and what may be said of how a firing is handled: types
 * and checks that both halves share. Pure; any thread.
 */
import { GyreError } from './errors.js';
import { isPlainObject, mustBe, refuseUnknown, TIMER_MS_MAX } from './option-checks.js';
import type { Placement } from './scheduler/placement.js';

/** What a source fires for. */
export type EventKind = 'timer' | 'signal' | 'path' | 'fd' | 'datagram' | 'emit';

/** One firing, as its handler sees it. */
export interface EventOf<Kind extends EventKind, Payload> {
  /** What fired. */
  readonly kind: Kind;
  /** Of the source, or what was emitted. */
  readonly name: string;
  /** The same on every try of one firing, and of no other. Below 0 for datagrams. */
  readonly id: number;
  /** 1, and one more after each worker that died while it handled this firing. */
  readonly attempt: number;
  /** What it tells: of each kind something else. */
  readonly payload: Payload;
  /** Aborted when `timeoutMs` are over: the firing counts as timed out whatever comes now. */
  readonly signal: AbortSignal;
  /** Closes the source, as `source.close()` does on the main thread. No effect for `emit`. */
  close(): void;
}

/** A timer is due. */
export interface TimerFiring {
  /** The how manieth multiple of `everyMs` this is, from 1; those that were skipped count. */
  readonly n: number;
  /** When it was due, jitter not included, in ms since the epoch, as `Date.now()`. */
  readonly dueAtMs: number;
  /** Firings that were due since the last one and were skipped, because its handler took so long. */
  readonly skipped: number;
}

/** The process received a signal. */
export interface SignalFiring {
  /** Which one. */
  readonly signal: NodeJS.Signals;
  /** How many came since the last firing, this one included: as far as the kernel tells. */
  readonly times: number;
}

/** What happened to a path. */
export interface PathChange {
  /** `rename`: it appeared or vanished; `change`: its contents did. As fs.watch() has it. */
  readonly type: 'rename' | 'change';
  /** Relative to the source's path; null where the system does not say. */
  readonly file: string | null;
}

/** What is at a path has changed. */
export interface PathFiring {
  /** Of the source. */
  readonly path: string;
  /** What was seen since the last firing, in this order, without repeats in a row. */
  readonly changes: readonly PathChange[];
  /** Changes that were seen besides and are not listed: there were too many. */
  readonly more: number;
}

/** A descriptor is ready. */
export interface FdFiring {
  /**
   * The runtime's own duplicate of the source's descriptor, non-blocking and good until the
   * source is closed. Read from it or write to it; do not close it.
   */
  readonly fd: number;
  /** Whether it can be read from. */
  readonly readable: boolean;
  /** Whether it can be written to. */
  readonly writable: boolean;
  /** The other end has hung up, or it has failed. Once nothing is left to be read, that is the end of the source. */
  readonly hangup: boolean;
}

/** The other end of a datagram. */
export interface DatagramPeer {
  /** Numeric. */
  readonly address: string;
  /** 1 to 65,535. */
  readonly port: number;
  /** Of `address`. */
  readonly family: 'IPv4' | 'IPv6';
}

/** A datagram that has come. */
export interface Datagram {
  /** All of it; it may be empty. */
  readonly data: Buffer;
  /** Who sent it. */
  readonly from: DatagramPeer;
}

/** A firing of a timer. */
export type TimerEvent = EventOf<'timer', TimerFiring>;
/** A firing of a signal. */
export type SignalEvent = EventOf<'signal', SignalFiring>;
/** A firing of a path. */
export type PathEvent = EventOf<'path', PathFiring>;
/** A firing of a descriptor. */
export type FdEvent = EventOf<'fd', FdFiring>;
/** What was emitted. */
export type EmittedEvent<Payload = unknown> = EventOf<'emit', Payload>;
/** A firing of a source of datagrams. */
export interface DatagramEvent extends EventOf<'datagram', Datagram> {
  /**
   * Sends `data` to whoever sent the datagram, from the socket that it came to. False if the
   * system does not take it: its buffers are full, or it is too long. Like all datagrams it may get lost.
   */
  reply(data: Uint8Array | string): boolean;
}
/** Any firing. */
export type SourceEvent =
  | TimerEvent
  | SignalEvent
  | PathEvent
  | FdEvent
  | DatagramEvent
  | EmittedEvent;

/** Handles a firing: when it returns, or what it returns settles, the firing is settled. */
export type EventHandler<Event extends SourceEvent = SourceEvent> = (event: Event) => unknown;

/** How a firing is handled. */
export interface HandlingOptions {
  /**
   * Whether another firing may be handled before this one has settled. Default false; for
   * datagrams and what is emitted, true.
   */
  concurrent?: boolean;
  /**
   * What becomes of a firing whose worker ends while it handles it, so that nobody knows how far
   * it came. False: it is lost, and reported, so each is handled at most once. True: another
   * worker handles it, and so on until one has, so each is handled at least once. A number: at
   * most so many tries in all, 1 to 1,000. A firing that nobody has begun to handle goes to
   * another worker in any case. A handler that throws has handled it. Default false.
   */
  retry?: boolean | number;
  /**
   * After how long a try counts as timed out, in ms: it is reported, `event.signal` is aborted,
   * and the source fires again, although that handler may still be at work. It is not tried
   * again. 1 to 2,147,483,647, or Infinity: never. Default Infinity.
   */
  timeoutMs?: number;
  /**
   * Who handles it. `'divergent'`: firings are spread over all workers. `'collaborative'`: they stay
   * within one scheduling group, of workers that share a cache, and so do those of all such sources;
   * they move to another group together. Default `'divergent'`, or `'collaborative'` with
   * `collaborates`.
   */
  placement?: Placement;
  /**
   * Collaborative sources with the same key are a group of their own. 1 to 256 characters. Default:
   * none, which is a key too.
   */
  collaborates?: string;
}

/** Checked, with every default filled in. */
export interface Handling {
  readonly concurrent: boolean;
  /** Infinity: as many as it takes. */
  readonly tries: number;
  readonly timeoutMs: number;
  /** {@link NO_KEY}: it is collaborative, without a key. Null: it is divergent. */
  readonly collaborates: string | null;
}

/** Of collaborative sources that name no key; no key of a user is empty. */
export const NO_KEY = '';

/** What became of an emitted event that was handled. */
export interface Handled {
  /** Index of the worker whose handler has settled. */
  readonly worker: number;
  /** Tries that it took. */
  readonly tries: number;
}

const NAME_MAX = 256;
const TRIES_MAX = 1_000;
const HANDLING_KEYS = ['concurrent', 'retry', 'timeoutMs', 'placement', 'collaborates'] as const;

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= NAME_MAX;
}

/** @throws GyreError `ERR_GYRE_SOURCE_NAME` */
export function eventName(value: unknown): string {
  if (isText(value)) return value;
  throw new GyreError(
    'ERR_GYRE_SOURCE_NAME',
    `the name of a source or event must be a string of 1 to ${NAME_MAX} characters`,
  );
}

/** @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function invalidOption(where: string, key: string, expected: string): never {
  return mustBe(`${where}: ${key}`, expected);
}

/**
 * `options` as an object whose keys are among `known` or those of {@link HandlingOptions}.
 *
 * @param where what to call it in an error
 * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
 */
export function sourceOptions(
  where: string,
  options: unknown,
  known: readonly string[],
): Record<string, unknown> {
  if (!isPlainObject(options)) return invalidOption(where, 'options', 'an object');
  refuseUnknown(options, [...known, ...HANDLING_KEYS], (key) => `${where}: ${key}`);
  return options;
}

/** A duration in ms from `min`. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function sourceMs(where: string, key: string, value: unknown, min: number): number {
  if (typeof value === 'number' && value >= min && value <= TIMER_MS_MAX) return value;
  return invalidOption(where, key, `a number of ms from ${min} to ${TIMER_MS_MAX}`);
}

/** The key that a source collaborates under; null if it is divergent. */
function resolveKey(where: string, { placement, collaborates }: Record<string, unknown>) {
  if (collaborates !== undefined && !isText(collaborates)) {
    return invalidOption(where, 'collaborates', `a string of 1 to ${NAME_MAX} characters`);
  }
  if (placement !== undefined && placement !== 'divergent' && placement !== 'collaborative') {
    return invalidOption(where, 'placement', `'divergent' or 'collaborative'`);
  }
  if (placement === 'divergent' && collaborates !== undefined) {
    throw new GyreError('ERR_GYRE_OPTION_CONFLICT', `${where}: what collaborates is not divergent`);
  }
  return collaborates ?? (placement === 'collaborative' ? NO_KEY : null);
}

/**
 * The part of `options` that says how firings are handled.
 *
 * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_CONFLICT`
 */
export function resolveHandling(
  where: string,
  options: Record<string, unknown>,
  concurrentDefault: boolean,
): Handling {
  const { concurrent = concurrentDefault, retry = false } = options;
  const { timeoutMs = Number.POSITIVE_INFINITY } = options;
  if (typeof concurrent !== 'boolean') return invalidOption(where, 'concurrent', 'a boolean');
  const isCount = Number.isInteger(retry) && Number(retry) >= 1 && Number(retry) <= TRIES_MAX;
  if (typeof retry !== 'boolean' && !isCount) {
    return invalidOption(where, 'retry', `a boolean or a number of tries from 1 to ${TRIES_MAX}`);
  }
  return Object.freeze({
    concurrent,
    tries: retry === true ? Number.POSITIVE_INFINITY : Number(retry) || 1,
    timeoutMs:
      timeoutMs === Number.POSITIVE_INFINITY
        ? Number.POSITIVE_INFINITY
        : sourceMs(where, 'timeoutMs', timeoutMs, 1),
    collaborates: resolveKey(where, options),
  });
}

/** How what `emit()` is told is handled. @throws GyreError as {@link resolveHandling} */
export function emitHandling(options: unknown = {}): Handling {
  return resolveHandling('emit()', sourceOptions('emit()', options, []), true);
}

/** The payload of `name` cannot be sent to another thread. */
export function uncloneable(name: string, cause: unknown): GyreError {
  return new GyreError(
    'ERR_GYRE_EVENT_PAYLOAD',
    `the payload of ${JSON.stringify(name)} cannot be cloned: ${(cause as Error).message}`,
    { cause },
  );
}
