/**
 * The options of `createRuntime`: what each means, and the check that everything
 * is valid before anything starts. Resolved once, frozen, passed inward.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ResourceLimits } from 'node:worker_threads';
import {
  type AdminAddress,
  type AdminOptions,
  type ResolvedAdmin,
  resolveAdmin,
  resolveAgentCheck,
} from '../admin/options.js';
import { GyreError } from '../errors.js';
import type { JobNames } from '../job-request.js';
import { type ListenerOptions, resolveListenerOptions } from '../listener-options.js';
import type { ListenAddress } from '../protocol.js';
import { WORKERS_MAX as SLOTS_MAX } from '../scheduler/layout.js';
import { isLimited, type Limit, NO_LIMIT } from '../scheduler/limits.js';
import type { Placement } from '../scheduler/placement.js';
import { CAPABILITY_NAMES, type CapabilityName } from './capabilities.js';
import { type JobPoolOptions, resolveJobPool, resolveJobs } from './job-options.js';

/** Options of `createRuntime`. Unknown keys and values out of range are errors at the call. */
export interface RuntimeOptions {
  /**
   * The program that every worker runs, ES module or CommonJS, unchanged: a path
   * (relative to the current directory, as with `node app.js`) or a `file:` URL.
   * Required.
   */
  entry: string | URL;
  /**
   * How many workers. `'auto'`: one for each CPU in the affinity mask that the
   * process inherited, no more than its cgroup CPU quota pays for, at least 1. A
   * number: 1 to 512. `'inline'`: no thread at all; the entry runs on the calling
   * thread, for profilers that know no threads. Default `'auto'`.
   */
  workers?: number | 'auto' | 'inline';
  /**
   * How many standby workers there may be: threads that run the program like the
   * others, are bound to no CPU, accept nothing by themselves, and are given connections only
   * while every worker stands still, so that the operating system shares the CPUs out
   * between them and whatever occupies the workers. One is started when it is first needed and
   * ends after a minute in which it was not, or later if it still has a connection. 0: none. At
   * most 1,024, with two for each worker. `'auto'`: none for one worker, 4 for up to 4, 2 for up
   * to 8, and 1 for more. None for `workers: 'inline'` and where connections do not move.
   * Default `'auto'`.
   */
  spares?: number | 'auto';
  /**
   * Whether each worker is bound to one CPU. `'soft'`: bound where possible; with
   * more workers than CPUs they share. A worker that waits for its CPU because other processes
   * use it may also run on the CPUs next to it, ring by ring up to all that the process may use, until
   * there is room again; the events `widen` and `narrow` tell. That is the governor's work, so with
   * `scheduler.move: false` a worker stays bound. `'hard'`: bound for good, and an
   * error if that is impossible. `'off'`: not bound. A list of CPU numbers: worker i
   * is bound to the i-th for good, and `'auto'` means as many workers as the list has.
   * Default `'soft'`.
   */
  pin?: 'soft' | 'hard' | 'off' | readonly number[];
  /**
   * On which CPUs fewer workers than CPUs are bound, and in what order. `'divergent'`: spread
   * over memory nodes, packages, cores and threads, so that each has as much of the machine to
   * itself as there is. `'collaborative'`: close together, for workers that share much memory. No
   * effect with `pin: 'off'` or a list of CPUs. Default `'divergent'`.
   */
  placement?: Placement;
  /** `process.argv.slice(2)` of the workers. Default: none. */
  args?: readonly string[];
  /**
   * How many workers `resize()` may ask for: shared memory is made for so many at the start.
   * From the number of workers to 512. Default: the number of CPUs that the process may use, or
   * that of the workers if it is greater.
   */
  maxWorkers?: number;
  /** Added to the workers' `process.env`; `undefined` removes a name. Default: nothing. */
  env?: Readonly<Record<string, string | undefined>>;
  /**
   * Names the runtime in messages, and its threads (`NAME-w0`, …, cut at 15 bytes) in
   * top and debuggers. 1 to 64 characters. Default `'gyre'`.
   */
  name?: string;
  /**
   * V8's limits for each worker, in MB, as in `new Worker()`. `maxOldGenerationSizeMb`:
   * at least 16. `maxYoungGenerationSizeMb`: at least 1. `codeRangeSizeMb`: 8 to 2,048, or
   * 0: V8 decides. `stackSizeMb`: 1 to 4,096. Anything else could end the whole process
   * at its start. A worker that outgrows its heap later ends, or, as Node has it, may take
   * the process with it. Default: V8's own.
   */
  resourceLimits?: Readonly<ResourceLimits>;
  /**
   * Length of the kernel's accept queue for a `listen()` that names none, for each
   * worker's socket; the kernel cuts it at `net.core.somaxconn`. 1 to 65,535.
   * Default 511, Node's own.
   */
  backlog?: number;
  /** Capabilities without which `createRuntime` must fail. Default: none. */
  require?: readonly CapabilityName[];
  /**
   * Whether SIGTERM and SIGINT drain this runtime, and a second one ends the process
   * at once. Default false: signals are the embedder's.
   */
  handleSignals?: boolean;
  /**
   * How long `close()` and a signal wait for what is in flight, in ms. 0: not at all;
   * Infinity: as long as it takes. At most 2,147,483,647 otherwise. Default 10,000.
   */
  drainMs?: number;
  /**
   * How long a worker may take until it listens, in ms, before a warning says so and
   * `createRuntime` resolves without it. Infinity: forever. 1 to
   * 2,147,483,647 otherwise. Default 10,000.
   */
  startMs?: number;
  /**
   * How many deaths of workers within `restartsWithinMs` the runtime puts up with. A worker that
   * dies (an uncaught error, `process.exit()`, out of memory, or ended for `hangMs`) is started
   * again on its CPU: at once if it had served for a second, else after a delay that doubles from
   * 100 ms up to 10 s, give or take a quarter. One death more, and the runtime emits `error` with
   * ERR_GYRE_RESTARTS and closes. 0 to 1,000,000, or Infinity. Default 60.
   */
  restarts?: number;
  /** In ms; 1 to 2,147,483,647. Default 60,000. */
  restartsWithinMs?: number;
  /**
   * After how long a worker that does not return to its event loop is replaced, in ms: what can
   * move is taken from it first, then its thread is terminated. 0: never. 100 to
   * 2,147,483,647 otherwise. Default 30,000.
   */
  hangMs?: number;
  /**
   * The share of what its old generation may hold (`resourceLimits.maxOldGenerationSizeMb`, or
   * V8's default) that a worker may have in use after a full garbage collection: one with more
   * is replaced as in a reload. Out of memory it would end, and might take the
   * process with it. 0: never. 0.1 to 0.99 otherwise. Default 0.9.
   */
  recycleAtHeapRatio?: number;
  /**
   * Whether the function that a worker stands still in is looked for when others wait for it: see
   * the event `stall` and `snapshot().blamed`. At most ten times a second; each time pauses the
   * worker for a millisecond or so, and the inspector, which is used for it, keeps V8 from some
   * optimizations. Not for `workers: 'inline'`, or where connections do not move. Default false.
   */
  blame?: boolean;
  /**
   * What `close()` and a signal do with new connections. `'refuse'`: none is accepted any more.
   * `'serve'`: each worker accepts until it has no connection left, so that a balancer has time to
   * notice. In either case answers carry `Connection: close`. Default `'refuse'`.
   */
  closing?: 'refuse' | 'serve';
  /**
   * Most open connections: in all workers together, or what the object says. One that moves to
   * another worker is none more, so a worker may come to have more than its own limit, but never
   * all together more than the sum. Several workers that accept in the same instant may exceed the
   * total, by some one each. 1 to 2,147,483,647, or Infinity: any number. Default: any number.
   */
  maxConnections?: number | LimitOptions;
  /**
   * Most HTTP/1 requests that have begun and are not answered, likewise. WebSockets are
   * connections and no requests; HTTP/2 is not counted. With `overload: 'wait'` only new connections
   * are kept waiting for it: those that are open are served. Default: any number.
   */
  maxOutstanding?: number | LimitOptions;
  /**
   * What becomes of those beyond. `'wait'`: a worker that has no room accepts nothing, and new
   * connections wait in the kernel's queue (see `backlog`), up to when there is room. `'refuse'`: new
   * connections are accepted, answered 503 with `Retry-After: 1` and `Connection: close`, and
   * closed; those of a server that speaks something else than HTTP/1 are just closed, and so are
   * TLS connections. Requests on open connections are answered 503 and keep their connection.
   *
   * Sockets that a worker opened itself (`exclusive: true`, `listen({ handle })`, `workers: 'inline'`)
   * accept whatever comes, so theirs cannot wait. Default `'wait'`.
   */
  overload?: 'wait' | 'refuse';
  /**
   * What is different at single addresses. A key is `'PORT'` or `':PORT'` for every address
   * of the machine, or `'HOST:PORT'` with a numeric host as `server.address()` shows it, IPv6 in
   * brackets. A server may say the same of itself: `server.listen({ port, gyre: { move: false } })`.
   * Default: nothing.
   */
  listeners?: Readonly<Record<string, ListenerOptions>>;
  /**
   * CPU-bound functions that `run(name, value)` runs off the workers: by name the file, a path or a
   * `file:` URL, ES module or CommonJS. The function is its default export, or the one
   * after `#` in a URL: `new URL('./images.js#resize', import.meta.url)`. Default: none;
   * `run()` takes URLs as well.
   */
  jobs?: Readonly<Record<string, string | URL>>;
  /** The threads that run jobs. Default: see each. */
  jobPool?: JobPoolOptions;
  /** How connections move between workers. Default: see each. */
  scheduler?: SchedulerOptions;
  /**
   * Where operators look: a live page, metrics, probes, a snapshot, events, and `POST /reload`, over
   * HTTP on the main thread. A text is short for `{ listen: TEXT }`.
   * Default: off.
   */
  admin?: string | AdminOptions;
  /**
   * Where a HAProxy asks how much of its traffic this runtime wants (its `agent-check`):
   * `'HOST:PORT'` with a numeric host, or `'PORT'` on 127.0.0.1. Whoever connects is told a
   * percentage and nothing else. Default: off.
   */
  agentCheck?: string;
}

/** How many there may be. 1 to 2,147,483,647, or Infinity: any number. */
export interface LimitOptions {
  /** In all workers and spares together. Default: any number. */
  total?: number;
  /** In each worker and spare; one that leaves after a reload counts by itself. Default: any number. */
  perWorker?: number;
}

/** The option `scheduler` of `createRuntime`. */
export interface SchedulerOptions {
  /**
   * Whether live connections move: half of what waits for a worker to a neighbour with less
   * to do. Where that is impossible `runtime.capabilities.move` says why. Default true.
   */
  move?: boolean;
  /**
   * After an iteration of its loop of so long, in ms, a worker looks at what waits for it and
   * gives half of it away by itself, unless the iteration was long because of many short events.
   * A worker that hardly sleeps because of them gives a few away ten times a second. 0: after
   * every iteration; Infinity: never, only the governor moves. Fractions are allowed; 0 to 1,000
   * otherwise. Default 1.
   */
  roundMs?: number;
  /**
   * How often the governor looks at the workers while any of them has something to do, in
   * ms. One that from one look to the next got nothing done, and was stuck in something and not
   * only without a CPU, is rescued. 1 to 1,000. Default 1: a look costs microseconds.
   */
  tickMs?: number;
  /** Most connections that one pause or round of a worker may move. 1 to 256. Default 64. */
  batchMax?: number;
  /** Seed of the random choice among equally good neighbours: an integer. Default: random. */
  seed?: number;
  /**
   * For tests of an application: also moves connections at random, idle ones too, as fast
   * as it can. Default false.
   */
  chaos?: boolean;
  /**
   * Whether every move is explained by an event `move` of the runtime. Each is then a message to
   * main. Default false.
   */
  trace?: boolean;
}

export const DEFAULTS = Object.freeze({
  workers: 'auto',
  spares: 'auto',
  pin: 'soft',
  placement: 'divergent',
  name: 'gyre',
  backlog: 511,
  handleSignals: false,
  drainMs: 10_000,
  startMs: 10_000,
  restarts: 60,
  restartsWithinMs: 60_000,
  hangMs: 30_000,
  recycleAtHeapRatio: 0.9,
  closing: 'refuse',
  blame: false,
  overload: 'wait',
} as const);

export const SCHEDULER_DEFAULTS = Object.freeze({
  move: true,
  roundMs: 1,
  tickMs: 1,
  batchMax: 64,
  chaos: false,
  trace: false,
} as const);

/**
 * The least and the greatest value of each limit, in MB. Tried with Node 20, 22, 24 and 26
 * on x86-64: an entry that says hello, and one that loads Express and Fastify.
 *
 * - old space: 1 and 2 abort the process, 3 to 7 end the worker and now and then abort the
 *   process, 8 says hello, 16 runs the frameworks. There is no upper limit.
 * - young space: V8 silently takes more than it is given here if that is below its own
 *   least, which is not what was asked for. There is no upper limit.
 * - code range: with 3 or less the frameworks abort the process (Node 24), 4 runs them.
 *   1,000,000,000 aborts; beyond 2 GB a branch does not reach all of it.
 * - stack: up to 0.23 aborts the process, from there to 0.29 the worker ends, 0.3 runs the
 *   frameworks. 4,096 starts, 65,536 is refused by the kernel, 1e14 aborts.
 */
const LIMITS_MIN: Readonly<Record<keyof ResourceLimits, number>> = Object.freeze({
  maxOldGenerationSizeMb: 16,
  maxYoungGenerationSizeMb: 1,
  codeRangeSizeMb: 8,
  stackSizeMb: 1,
});
const LIMITS_MAX: Readonly<Record<keyof ResourceLimits, number>> = Object.freeze({
  maxOldGenerationSizeMb: Number.MAX_VALUE,
  maxYoungGenerationSizeMb: Number.MAX_VALUE,
  codeRangeSizeMb: 2_048,
  stackSizeMb: 4_096,
});

/** Checked options with every default filled in. */
export interface ResolvedOptions {
  /** Absolute path. Its existence is not checked here: that is I/O. */
  readonly entry: string;
  readonly workers: number | 'auto' | 'inline';
  readonly spares: number | 'auto';
  readonly pin: 'soft' | 'hard' | 'off' | readonly number[];
  readonly placement: Placement;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly name: string;
  readonly resourceLimits: Readonly<ResourceLimits> | undefined;
  readonly backlog: number;
  readonly require: readonly CapabilityName[];
  readonly handleSignals: boolean;
  readonly drainMs: number;
  readonly startMs: number;
  /** Null: as many as there are CPUs. */
  readonly maxWorkers: number | null;
  readonly restarts: number;
  readonly restartsWithinMs: number;
  readonly hangMs: number;
  readonly recycleAtHeapRatio: number;
  readonly closing: 'refuse' | 'serve';
  readonly blame: boolean;
  readonly maxConnections: Limit;
  readonly maxOutstanding: Limit;
  readonly overload: 'wait' | 'refuse';
  readonly listeners: ReadonlyMap<string, Readonly<Required<ListenerOptions>>>;
  readonly jobs: JobNames;
  readonly jobPool: Readonly<Required<JobPoolOptions>>;
  readonly scheduler: Readonly<Required<SchedulerOptions>>;
  /** Null: off. */
  readonly admin: ResolvedAdmin | null;
  readonly agentCheck: (AdminAddress & { kind: 'tcp' }) | null;
}

/** Each worker has two rows of shared memory; see src/runtime/slots.ts. */
export const RUNTIME_WORKERS_MAX = SLOTS_MAX / 2;

/** Node's timers take a longer time for 1 ms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const KNOWN: ReadonlySet<string> = new Set<keyof RuntimeOptions>([
  'entry',
  'workers',
  'spares',
  'pin',
  'placement',
  'args',
  'env',
  'name',
  'resourceLimits',
  'backlog',
  'require',
  'handleSignals',
  'drainMs',
  'startMs',
  'maxWorkers',
  'restarts',
  'restartsWithinMs',
  'hangMs',
  'recycleAtHeapRatio',
  'closing',
  'blame',
  'maxConnections',
  'maxOutstanding',
  'overload',
  'listeners',
  'jobs',
  'jobPool',
  'scheduler',
  'admin',
  'agentCheck',
]);

const SCHEDULER_KNOWN: ReadonlySet<string> = new Set<keyof SchedulerOptions>([
  'move',
  'roundMs',
  'tickMs',
  'batchMax',
  'seed',
  'chaos',
  'trace',
]);

function show(value: unknown): string {
  try {
    const json = typeof value === 'string' || typeof value === 'object';
    return (json ? JSON.stringify(value) : undefined) ?? String(value);
  } catch {
    return 'an object'; // circular, holds a bigint, or has nothing to be printed by
  }
}

export function invalid(name: string, expected: string, value: unknown): never {
  throw new GyreError(
    'ERR_GYRE_OPTION_INVALID',
    `option ${name} must be ${expected}, not ${show(value)}`,
  );
}

export function unknownKeys(where: string, value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) {
    if (known.has(key)) continue;
    throw new GyreError(
      'ERR_GYRE_OPTION_UNKNOWN',
      `${where} ${JSON.stringify(key)} is unknown; known are ${[...known].join(', ')}`,
    );
  }
}

/** Also of another realm, of a class, or `process.env`; but no array, Map, Date or the like. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/** Only what was omitted gets its default: null is a mistake like any other. */
function orDefault(value: unknown, whenOmitted: unknown): unknown {
  return value === undefined ? whenOmitted : value;
}

/** An integer option. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function integerIn(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  return invalid(name, `an integer from ${min} to ${max}`, value);
}

/** A duration option, or `drainMs` of `close()`. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function durationMs(name: string, value: unknown, min: number): number {
  const finite = typeof value === 'number' && value >= min && value <= TIMER_MS_MAX;
  if (finite || value === Number.POSITIVE_INFINITY) return value;
  return invalid(name, `a number of ms from ${min} to ${TIMER_MS_MAX}, or Infinity`, value);
}

/** An absolute path from a path or a `file:` URL. */
export function resolvePath(name: string, value: unknown): string {
  let file = value;
  if (value instanceof URL || (typeof value === 'string' && value.startsWith('file:'))) {
    try {
      file = fileURLToPath(value);
    } catch (cause) {
      throw new GyreError(
        'ERR_GYRE_OPTION_INVALID',
        `option ${name}: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
  }
  if (typeof file !== 'string' || file === '') return invalid(name, 'a path or URL', value);
  if (file.includes('\0')) return invalid(name, 'a path without NUL', value);
  return path.resolve(file);
}

/** The option `entry`, of `createRuntime` or `reload()`. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function entryPath(value: unknown): string {
  return resolvePath('entry', value);
}

/** The argument of `topology()`. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function sysfsRoot(value: unknown): string | undefined {
  return value === undefined ? undefined : resolvePath('root', value);
}

function resolveWorkers(value: unknown): ResolvedOptions['workers'] {
  if (value === 'auto' || value === 'inline') return value;
  const max = RUNTIME_WORKERS_MAX;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) {
    return value;
  }
  return invalid('workers', `'auto', 'inline' or an integer from 1 to ${max}`, value);
}

function resolveSpares(value: unknown, workers: ResolvedOptions['workers']): number | 'auto' {
  if (value === 'auto') return value;
  const max = SLOTS_MAX - 2 * (typeof workers === 'number' ? workers : 1);
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  return invalid('spares', `'auto' or an integer from 0 to ${max}`, value);
}

function resolveMaxWorkers(value: unknown, workers: ResolvedOptions['workers']): number | null {
  if (value === undefined) return null;
  const min = typeof workers === 'number' ? workers : 1;
  return integerIn('maxWorkers', value, min, RUNTIME_WORKERS_MAX);
}

function resolveRestarts(value: unknown): number {
  if (value === Number.POSITIVE_INFINITY) return value;
  return integerIn('restarts', value, 0, 1_000_000);
}

const HANG_MS_MIN = 100;

function resolveHangMs(value: unknown): number {
  return value === 0 ? 0 : integerIn('hangMs', value, HANG_MS_MIN, TIMER_MS_MAX);
}

function resolveHeapRatio(value: unknown): number {
  if (value === 0) return 0;
  if (typeof value === 'number' && value >= 0.1 && value <= 0.99) return value;
  return invalid('recycleAtHeapRatio', '0, or a number from 0.1 to 0.99', value);
}

function booleanOption(name: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : invalid(name, 'a boolean', value);
}

const LIMIT_KNOWN: ReadonlySet<string> = new Set<keyof LimitOptions>(['total', 'perWorker']);
const LIMIT_MAX = 2 ** 31 - 1;

function resolveCount(name: string, value: unknown): number {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return integerIn(name, value, 1, LIMIT_MAX);
}

function resolveLimit(name: string, value: unknown): Limit {
  if (!isPlainObject(value)) {
    return Object.freeze({ ...NO_LIMIT, total: resolveCount(name, value) });
  }
  unknownKeys(`${name} key`, value, LIMIT_KNOWN);
  return Object.freeze({
    total: resolveCount(`${name}.total`, value.total),
    perWorker: resolveCount(`${name}.perWorker`, value.perWorker),
  });
}

function resolveOverload(value: unknown): 'wait' | 'refuse' {
  if (value === 'wait' || value === 'refuse') return value;
  return invalid('overload', `'wait' or 'refuse'`, value);
}

function resolveClosing(value: unknown): 'refuse' | 'serve' {
  if (value === 'refuse' || value === 'serve') return value;
  return invalid('closing', `'refuse' or 'serve'`, value);
}

/** HOST:PORT, :PORT or PORT. */
const LISTENER_KEY = /^(?:(\[[\da-fA-F:.]+(?:%\w+)?\]|[\d.]*):)?(\d{1,5})$/;

function resolveListeners(value: unknown): ResolvedOptions['listeners'] {
  if (!isPlainObject(value)) return invalid('listeners', 'an object', value);
  const listeners = new Map<string, Readonly<Required<ListenerOptions>>>();
  for (const [key, options] of Object.entries(value)) {
    const [, host = '', port] = LISTENER_KEY.exec(key) ?? [];
    if (port === undefined || Number(port) > 65_535) {
      return invalid('listeners', "keyed by 'HOST:PORT' or 'PORT'", key);
    }
    const where = `option listeners[${JSON.stringify(key)}]`;
    listeners.set(`${host}:${Number(port)}`, resolveListenerOptions(where, options));
  }
  return listeners;
}

/** What `listeners` says of `address`: of the address itself, else of its port. */
export function listenerAt(
  listeners: ResolvedOptions['listeners'],
  address: ListenAddress,
): Readonly<ListenerOptions> | undefined {
  if (address.family === 'unix') return undefined;
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return listeners.get(`${host}:${address.port}`) ?? listeners.get(`:${address.port}`);
}

function resolvePin(value: unknown): ResolvedOptions['pin'] {
  if (value === 'soft' || value === 'hard' || value === 'off') return value;
  if (!Array.isArray(value) || value.length === 0) {
    return invalid('pin', `'soft', 'hard', 'off' or a list of CPU numbers`, value);
  }
  for (const cpu of value) integerIn('pin', cpu, 0, 8191);
  if (new Set(value).size !== value.length) return invalid('pin', 'a list without repeats', value);
  return Object.freeze([...(value as number[])]);
}

function resolveLimits(value: unknown): Readonly<ResourceLimits> | undefined {
  if (value === undefined) return undefined;
  if (!isPlainObject(value)) return invalid('resourceLimits', 'an object', value);
  unknownKeys('resourceLimits key', value, new Set(Object.keys(LIMITS_MIN)));
  for (const [key, limit] of Object.entries(value)) {
    if (limit === undefined) continue;
    const min = LIMITS_MIN[key as keyof ResourceLimits];
    const max = LIMITS_MAX[key as keyof ResourceLimits];
    if (typeof limit === 'number' && limit >= min && limit <= max) continue;
    if (key === 'codeRangeSizeMb' && limit === 0) continue;
    const range = max === Number.MAX_VALUE ? `of at least ${min}` : `from ${min} to ${max}`;
    return invalid(`resourceLimits.${key}`, `a number of MB ${range}`, limit);
  }
  return Object.freeze({ ...value }) as Readonly<ResourceLimits>;
}

function stringList(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) return invalid(name, 'a list of strings', value);
  const list: unknown[] = [...value]; // its holes become visible
  if (list.some((item) => typeof item !== 'string')) {
    return invalid(name, 'a list of strings', value);
  }
  return Object.freeze(list as string[]);
}

function resolveEnv(value: unknown): Readonly<Record<string, string | undefined>> {
  if (!isPlainObject(value)) return invalid('env', 'an object of strings', value);
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined && typeof item !== 'string') {
      return invalid(`env.${key}`, 'a string or undefined', item);
    }
  }
  return Object.freeze({ ...value }) as Readonly<Record<string, string | undefined>>;
}

function resolveScheduler(value: unknown): Readonly<Required<SchedulerOptions>> {
  if (!isPlainObject(value)) return invalid('scheduler', 'an object', value);
  unknownKeys('scheduler option', value, SCHEDULER_KNOWN);
  const move = orDefault(value.move, SCHEDULER_DEFAULTS.move);
  if (typeof move !== 'boolean') return invalid('scheduler.move', 'a boolean', move);
  const chaos = orDefault(value.chaos, SCHEDULER_DEFAULTS.chaos);
  if (typeof chaos !== 'boolean') return invalid('scheduler.chaos', 'a boolean', chaos);
  const trace = orDefault(value.trace, SCHEDULER_DEFAULTS.trace);
  if (typeof trace !== 'boolean') return invalid('scheduler.trace', 'a boolean', trace);
  const roundMs = orDefault(value.roundMs, SCHEDULER_DEFAULTS.roundMs);
  const ms = typeof roundMs === 'number' && roundMs >= 0 ? roundMs : Number.NaN;
  if (!(ms <= 1_000) && ms !== Number.POSITIVE_INFINITY) {
    return invalid('scheduler.roundMs', 'a number of ms from 0 to 1000, or Infinity', roundMs);
  }
  const tickMs = orDefault(value.tickMs, SCHEDULER_DEFAULTS.tickMs);
  const batchMax = orDefault(value.batchMax, SCHEDULER_DEFAULTS.batchMax);
  const seed = orDefault(value.seed, Math.floor(Math.random() * 2 ** 32));
  return Object.freeze({
    move,
    chaos,
    trace,
    roundMs: ms,
    tickMs: integerIn('scheduler.tickMs', tickMs, 1, 1_000),
    batchMax: integerIn('scheduler.batchMax', batchMax, 1, 256),
    seed: integerIn('scheduler.seed', seed, 0, 2 ** 32 - 1),
  });
}

function resolveRequire(value: unknown): readonly CapabilityName[] {
  const names: readonly string[] = CAPABILITY_NAMES;
  const wanted = stringList('require', value);
  if (!wanted.every((name) => names.includes(name))) {
    return invalid('require', `a list of ${names.join(', ')}`, value);
  }
  return wanted as readonly CapabilityName[];
}

/** Whether there is a limit beyond which it is overloaded. */
export function hasLimit({
  maxConnections,
  maxOutstanding,
}: Pick<ResolvedOptions, 'maxConnections' | 'maxOutstanding'>): boolean {
  return isLimited(maxConnections) || isLimited(maxOutstanding);
}

/**
 * Checks `options` and fills in the defaults. Pure: reads no file and no machine.
 *
 * @throws GyreError with `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID` or
 *   `ERR_GYRE_OPTION_CONFLICT`.
 */
export function resolveOptions(options: unknown): ResolvedOptions {
  if (!isPlainObject(options)) return invalid('s (the whole object)', 'an object', options);
  unknownKeys('option', options, KNOWN);
  const given = <K extends keyof typeof DEFAULTS>(key: K): unknown =>
    orDefault(options[key], DEFAULTS[key]);

  const entry = resolvePath('entry', options.entry);
  const workers = resolveWorkers(given('workers'));
  const pin = resolvePin(given('pin'));
  const placement = given('placement');
  if (placement !== 'divergent' && placement !== 'collaborative') {
    return invalid('placement', `'divergent' or 'collaborative'`, placement);
  }
  const name = given('name');
  if (typeof name !== 'string' || name.length < 1 || name.length > 64) {
    return invalid('name', 'a string of 1 to 64 characters', name);
  }
  const handleSignals = booleanOption('handleSignals', given('handleSignals'));

  const resolved: ResolvedOptions = {
    entry,
    workers,
    spares: resolveSpares(given('spares'), workers),
    pin,
    placement,
    name,
    handleSignals,
    args: stringList('args', orDefault(options.args, [])),
    env: resolveEnv(orDefault(options.env, {})),
    resourceLimits: resolveLimits(options.resourceLimits),
    backlog: integerIn('backlog', given('backlog'), 1, 65_535),
    require: resolveRequire(orDefault(options.require, [])),
    drainMs: durationMs('drainMs', given('drainMs'), 0),
    startMs: durationMs('startMs', given('startMs'), 1),
    maxWorkers: resolveMaxWorkers(options.maxWorkers, workers),
    restarts: resolveRestarts(given('restarts')),
    restartsWithinMs: integerIn('restartsWithinMs', given('restartsWithinMs'), 1, TIMER_MS_MAX),
    hangMs: resolveHangMs(given('hangMs')),
    recycleAtHeapRatio: resolveHeapRatio(given('recycleAtHeapRatio')),
    closing: resolveClosing(given('closing')),
    blame: booleanOption('blame', given('blame')),
    maxConnections: resolveLimit('maxConnections', options.maxConnections),
    maxOutstanding: resolveLimit('maxOutstanding', options.maxOutstanding),
    overload: resolveOverload(given('overload')),
    listeners: resolveListeners(orDefault(options.listeners, {})),
    jobs: resolveJobs(orDefault(options.jobs, {})),
    jobPool: resolveJobPool(orDefault(options.jobPool, {})),
    scheduler: resolveScheduler(orDefault(options.scheduler, {})),
    admin: resolveAdmin(options.admin),
    agentCheck: resolveAgentCheck(options.agentCheck),
  };
  if (workers === 'inline') {
    if (pin === 'hard' || Array.isArray(pin)) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `workers: 'inline' runs on the calling thread, which gyre never pins: use pin 'soft' or 'off'`,
      );
    }
    if (resolved.admin !== null || resolved.agentCheck !== null) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `workers: 'inline' serves requests on the main thread, where admin and agentCheck would be`,
      );
    }
    if (resolved.overload === 'wait' && hasLimit(resolved)) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `workers: 'inline' opens its own sockets, which cannot wait: use overload 'refuse'`,
      );
    }
    for (const key of ['resourceLimits', 'env'] as const) {
      if (options[key] === undefined) continue;
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `workers: 'inline' starts no thread, so it cannot have ${key}`,
      );
    }
  }
  if (Array.isArray(pin) && typeof workers === 'number' && workers > pin.length) {
    throw new GyreError(
      'ERR_GYRE_CPUS',
      `${workers} workers were asked for, but pin lists ${pin.length} CPUs`,
    );
  }
  return Object.freeze(resolved);
}
