/**
 * The options of `createRuntime`, checked and with their defaults, as everything else takes them:
 * that all is valid is known before anything starts. Resolved once, frozen, passed inward. Pure: reads
 * no file and no machine.
 */
import type { ResourceLimits } from 'node:worker_threads';
import {
  type AdminAddress,
  type ResolvedAdmin,
  resolveAdmin,
  resolveAgentCheck,
} from '../admin/options.js';
import { GyreError } from '../errors.js';
import type { JobNames } from '../job-request.js';
import { type ListenerOptions, resolveListenerOptions } from '../listener-options.js';
import {
  absolutePath,
  booleanOption,
  durationMs,
  integerIn,
  invalid,
  isPlainObject,
  oneOf,
  orDefault,
  refuseUnknown,
  stringList,
  TIMER_MS_MAX,
} from '../option-checks.js';
import type { ListenAddress } from '../protocol.js';
import { WORKERS_MAX as SLOTS_MAX } from '../scheduler/layout.js';
import { isLimited, type Limit, NO_LIMIT } from '../scheduler/limits.js';
import type { Placement } from '../scheduler/placement.js';
import { PLACES_MAX } from '../scheduler/places.js';
import { CAPABILITY_NAMES, type CapabilityName } from './capabilities.js';
import { type JobPoolOptions, resolveJobPool, resolveJobs } from './job-options.js';
import {
  DEFAULTS,
  type LimitOptions,
  type RuntimeOptions,
  SCHEDULER_DEFAULTS,
  type SchedulerOptions,
} from './options.js';
import { RUNTIME_WORKERS_MAX } from './slots.js';

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

const KNOWN: readonly (keyof RuntimeOptions)[] = [
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
];

const SCHEDULER_KNOWN: readonly (keyof SchedulerOptions)[] = [
  'move',
  'roundMs',
  'tickMs',
  'batchMax',
  'seed',
  'chaos',
  'trace',
];

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

const LIMIT_KNOWN: readonly (keyof LimitOptions)[] = ['total', 'perWorker'];

function resolveCount(name: string, value: unknown): number {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return integerIn(name, value, 1, PLACES_MAX);
}

function resolveLimit(name: string, value: unknown): Limit {
  if (!isPlainObject(value)) {
    return Object.freeze({ ...NO_LIMIT, total: resolveCount(name, value) });
  }
  refuseUnknown(value, LIMIT_KNOWN, (key) => `${name} key ${key}`);
  return Object.freeze({
    total: resolveCount(`${name}.total`, value.total),
    perWorker: resolveCount(`${name}.perWorker`, value.perWorker),
  });
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

/**
 * The least and the greatest value of each of `resourceLimits`, in MB. Tried with Node 20, 22, 24 and 26
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
const RESOURCE_LIMITS_MIN: Readonly<Record<keyof ResourceLimits, number>> = Object.freeze({
  maxOldGenerationSizeMb: 16,
  maxYoungGenerationSizeMb: 1,
  codeRangeSizeMb: 8,
  stackSizeMb: 1,
});
const RESOURCE_LIMITS_MAX: Readonly<Record<keyof ResourceLimits, number>> = Object.freeze({
  maxOldGenerationSizeMb: Number.MAX_VALUE,
  maxYoungGenerationSizeMb: Number.MAX_VALUE,
  codeRangeSizeMb: 2_048,
  stackSizeMb: 4_096,
});

function resolveResourceLimits(value: unknown): Readonly<ResourceLimits> | undefined {
  if (value === undefined) return undefined;
  if (!isPlainObject(value)) return invalid('resourceLimits', 'an object', value);
  refuseUnknown(value, Object.keys(RESOURCE_LIMITS_MIN), (key) => `resourceLimits key ${key}`);
  for (const [key, limit] of Object.entries(value)) {
    if (limit === undefined) continue;
    const min = RESOURCE_LIMITS_MIN[key as keyof ResourceLimits];
    const max = RESOURCE_LIMITS_MAX[key as keyof ResourceLimits];
    if (typeof limit === 'number' && limit >= min && limit <= max) continue;
    if (key === 'codeRangeSizeMb' && limit === 0) continue;
    const range = max === Number.MAX_VALUE ? `of at least ${min}` : `from ${min} to ${max}`;
    return invalid(`resourceLimits.${key}`, `a number of MB ${range}`, limit);
  }
  return Object.freeze({ ...value }) as Readonly<ResourceLimits>;
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
  refuseUnknown(value, SCHEDULER_KNOWN, (key) => `scheduler option ${key}`);
  const given = (key: keyof typeof SCHEDULER_DEFAULTS) =>
    orDefault(value[key], SCHEDULER_DEFAULTS[key]);
  const move = booleanOption('scheduler.move', given('move'));
  const chaos = booleanOption('scheduler.chaos', given('chaos'));
  const trace = booleanOption('scheduler.trace', given('trace'));
  const roundMs = given('roundMs');
  const ms = typeof roundMs === 'number' && roundMs >= 0 ? roundMs : Number.NaN;
  if (!(ms <= 1_000) && ms !== Number.POSITIVE_INFINITY) {
    return invalid('scheduler.roundMs', 'a number of ms from 0 to 1000, or Infinity', roundMs);
  }
  const seed = orDefault(value.seed, Math.floor(Math.random() * 2 ** 32));
  return Object.freeze({
    move,
    chaos,
    trace,
    roundMs: ms,
    tickMs: integerIn('scheduler.tickMs', given('tickMs'), 1, 1_000),
    batchMax: integerIn('scheduler.batchMax', given('batchMax'), 1, 256),
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

/** What is impossible without a thread of its own. @throws GyreError `ERR_GYRE_OPTION_CONFLICT` */
function refuseWithInline(resolved: ResolvedOptions, given: Record<string, unknown>): void {
  const conflict = (message: string) => {
    throw new GyreError('ERR_GYRE_OPTION_CONFLICT', `workers: 'inline' ${message}`);
  };
  if (resolved.pin === 'hard' || Array.isArray(resolved.pin)) {
    conflict(`runs on the calling thread, which gyre never pins: use pin 'soft' or 'off'`);
  }
  if (resolved.admin !== null || resolved.agentCheck !== null) {
    conflict('serves requests on the main thread, where admin and agentCheck would be');
  }
  if (resolved.overload === 'wait' && hasLimit(resolved)) {
    conflict(`opens its own sockets, which cannot wait: use overload 'refuse'`);
  }
  if (resolved.blame) conflict('has no other thread that could look: it cannot have blame');
  for (const key of ['resourceLimits', 'env'] as const) {
    if (given[key] !== undefined) conflict(`starts no thread, so it cannot have ${key}`);
  }
}

/**
 * Checks `options` and fills in the defaults.
 *
 * @throws GyreError with `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID` or
 *   `ERR_GYRE_OPTION_CONFLICT`.
 */
export function resolveOptions(options: unknown): ResolvedOptions {
  if (!isPlainObject(options)) return invalid('s (the whole object)', 'an object', options);
  refuseUnknown(options, KNOWN, (key) => `option ${key}`);
  const given = <K extends keyof typeof DEFAULTS>(key: K): unknown =>
    orDefault(options[key], DEFAULTS[key]);

  const entry = absolutePath('entry', options.entry);
  const workers = resolveWorkers(given('workers'));
  const pin = resolvePin(given('pin'));
  const placement = oneOf('placement', given('placement'), ['divergent', 'collaborative']);
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
    resourceLimits: resolveResourceLimits(options.resourceLimits),
    backlog: integerIn('backlog', given('backlog'), 1, 65_535),
    require: resolveRequire(orDefault(options.require, [])),
    drainMs: durationMs('drainMs', given('drainMs'), 0),
    startMs: durationMs('startMs', given('startMs'), 1),
    maxWorkers: resolveMaxWorkers(options.maxWorkers, workers),
    restarts: resolveRestarts(given('restarts')),
    restartsWithinMs: integerIn('restartsWithinMs', given('restartsWithinMs'), 1, TIMER_MS_MAX),
    hangMs: resolveHangMs(given('hangMs')),
    recycleAtHeapRatio: resolveHeapRatio(given('recycleAtHeapRatio')),
    closing: oneOf('closing', given('closing'), ['refuse', 'serve']),
    blame: booleanOption('blame', given('blame')),
    maxConnections: resolveLimit('maxConnections', options.maxConnections),
    maxOutstanding: resolveLimit('maxOutstanding', options.maxOutstanding),
    overload: oneOf('overload', given('overload'), ['wait', 'refuse']),
    listeners: resolveListeners(orDefault(options.listeners, {})),
    jobs: resolveJobs(orDefault(options.jobs, {})),
    jobPool: resolveJobPool(orDefault(options.jobPool, {})),
    scheduler: resolveScheduler(orDefault(options.scheduler, {})),
    admin: resolveAdmin(options.admin),
    agentCheck: resolveAgentCheck(options.agentCheck),
  };
  if (workers === 'inline') refuseWithInline(resolved, options);
  if (resolved.blame && !resolved.scheduler.move) {
    throw new GyreError(
      'ERR_GYRE_OPTION_CONFLICT',
      'blame looks at workers from where connections are moved: it needs scheduler.move',
    );
  }
  if (Array.isArray(pin) && typeof workers === 'number' && workers > pin.length) {
    throw new GyreError(
      'ERR_GYRE_CPUS',
      `${workers} workers were asked for, but pin lists ${pin.length} CPUs`,
    );
  }
  return Object.freeze(resolved);
}
