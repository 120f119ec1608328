/**
 * From options and machine to what is started: how many workers, spares and threads for jobs, and on
 * which CPUs. Pure.
 */
import { GyreError } from '../errors.js';
import type { SoftPinsInit } from '../protocol.js';
import { WORKERS_MAX as SLOTS_MAX } from '../scheduler/layout.js';
import { type Rings, ringsFor } from '../scheduler/neighbourhood.js';
import { arrange, place } from '../scheduler/placement.js';
import type { Nearness } from '../scheduler/topology.js';
import type { Capabilities } from './capabilities.js';
import { autoWorkers } from './machine.js';
import type { ResolvedOptions } from './resolved-options.js';
import { RUNTIME_WORKERS_MAX, Slots } from './slots.js';

export interface Machine {
  readonly capabilities: Capabilities;
  /** The affinity mask that the process inherited, ascending; null if unknown. */
  readonly inherited: readonly number[] | null;
  /** CPUs that may be used where the mask is unknown. */
  readonly parallelism: number;
  /** CPU quota in CPUs, or Infinity. */
  readonly quotaCpus: number;
  /** Where its CPUs are; null if unknown: they are taken in ascending order. */
  readonly topology: Nearness | null;
}

/** What is decided before anything starts. */
export interface RuntimePlan {
  readonly machine: Machine;
  /** How many workers start. */
  readonly count: number;
  /** Of every worker that there may be, those that start first; null: it is not pinned. */
  readonly cpus: readonly (number | null)[];
  /** Of every worker that there may be, and of the spares. */
  readonly slots: Slots;
  /** Around every worker that there may be. */
  readonly rings: readonly Rings[];
  readonly jobs: JobPlan;
  /** What the governor needs to know of the CPUs; null: pins do not give way. */
  readonly softPins: SoftPinsInit | null;
}

/** @throws GyreError `ERR_GYRE_CPUS` or `ERR_GYRE_CAPABILITY` */
export function planRuntime(options: ResolvedOptions, machine: Machine): RuntimePlan {
  const starting = planWorkers(options, machine);
  const cpus = planGrowth(options, machine, starting);
  const spares = planSpares(options, machine.capabilities, starting.length, cpus.length);
  return {
    ...{ machine, count: starting.length, cpus },
    slots: new Slots(cpus.length, spares),
    rings: ringsFor(cpus, machine.topology),
    jobs: planJobs(options, machine, starting),
    softPins: planSoftPins(options, machine, cpus.length),
  };
}

/**
 * The CPU of each worker; null where a worker is not pinned. Its length is the number
 * of workers.
 *
 * @throws GyreError `ERR_GYRE_CPUS` or `ERR_GYRE_CAPABILITY`.
 */
export function planWorkers(
  options: Pick<ResolvedOptions, 'workers' | 'pin' | 'placement'>,
  machine: Machine,
): readonly (number | null)[] {
  const { pin } = options;
  const { capabilities, inherited } = machine;
  if (options.workers === 'inline') return [null];

  const isList = typeof pin !== 'string';
  const canPin = capabilities.pin.available && inherited !== null;
  if (!canPin && (isList || pin === 'hard')) {
    throw new GyreError(
      'ERR_GYRE_CAPABILITY',
      `pin: ${isList ? `[${pin}]` : `'${pin}'`} is impossible: ${capabilities.pin.reason}`,
    );
  }
  if (isList && inherited !== null) {
    const foreign = pin.filter((cpu) => !inherited.includes(cpu));
    if (foreign.length > 0) {
      throw new GyreError(
        'ERR_GYRE_CPUS',
        `pin lists CPU ${foreign.join(', ')}, but this process may use ${inherited.join(', ')}`,
      );
    }
  }

  const usable = inherited?.length ?? machine.parallelism;
  const auto = isList ? pin.length : autoWorkers(usable, machine.quotaCpus);
  // Without the helper nobody can share a listening socket between threads.
  const shareable = capabilities.native.available ? auto : 1;
  const workers = options.workers === 'auto' ? shareable : options.workers;
  if (workers > 1 && !capabilities.native.available) {
    throw new GyreError(
      'ERR_GYRE_CAPABILITY',
      `${workers} workers cannot share listening sockets: ${capabilities.native.reason}`,
    );
  }
  if (pin === 'hard' && workers > usable) {
    throw new GyreError(
      'ERR_GYRE_CPUS',
      `${workers} workers were asked for with pin: 'hard', but this process may use ${usable} CPUs`,
    );
  }
  if (pin === 'off' || !canPin) return new Array(workers).fill(null);
  if (isList) return place(workers, pin);
  return place(workers, arrange(options.placement, inherited, machine.topology, workers));
}

/**
 * Spares that `'auto'` means for so many workers. Long requests pile up beyond the workers
 * like a geometric series, so what counts is how many more threads there are; and the more
 * workers, the less likely it is that all stand still at once: see docs/simulation.md.
 */
function autoSpares(workers: number): number {
  // Who asks for one worker may rely on there being one copy of the program.
  if (workers === 1) return 0;
  if (workers <= 4) return 4;
  return workers <= 8 ? 2 : 1;
}

/**
 * The CPUs of all workers that there may ever be: those of `cpus`, which are to start, and then
 * of those that `resize()` may add, on CPUs that nobody has as long as there are any.
 */
function planGrowth(
  options: Pick<ResolvedOptions, 'workers' | 'maxWorkers' | 'pin' | 'placement'>,
  { inherited, parallelism, topology, capabilities }: Machine,
  cpus: readonly (number | null)[],
): readonly (number | null)[] {
  if (options.workers === 'inline' || !capabilities.native.available) return cpus;
  const usable = inherited?.length ?? parallelism;
  const most = Math.min(RUNTIME_WORKERS_MAX, usable);
  const max = Math.max(cpus.length, options.maxWorkers ?? most);
  const more = max - cpus.length;
  if (cpus[0] === null) return [...cpus, ...new Array(more).fill(null)];
  const { pin, placement } = options;
  const order = Array.isArray(pin)
    ? pin
    : arrange(placement, inherited ?? [], topology, Math.min(max, usable));
  const free = order.filter((cpu) => !cpus.includes(cpu));
  const added = free.slice(0, more);
  return [...cpus, ...added, ...place(more - added.length, order)];
}

/** How many spares `workers` workers may have, if there are never more than `max`. */
export function planSpares(
  options: Pick<ResolvedOptions, 'workers' | 'spares' | 'scheduler'>,
  capabilities: Capabilities,
  workers: number,
  max = workers,
): number {
  const { spares, scheduler } = options;
  const moves = scheduler.move && capabilities.move.available && options.workers !== 'inline';
  if (!moves) return 0;
  const room = SLOTS_MAX - 2 * max;
  return Math.min(room, spares === 'auto' ? autoSpares(workers) : spares);
}

/** @param workers most that there may be */
function planSoftPins(
  { pin }: ResolvedOptions,
  { capabilities, inherited, topology }: Machine,
  workers: number,
): SoftPinsInit | null {
  if (pin !== 'soft' || !capabilities.widen.available) return null;
  if (inherited === null || inherited.length < 2) return null;
  // It goes to another thread, so no more of it than is needed there.
  const machine = topology && {
    cpus: topology.cpus,
    nodes: topology.nodes,
    levels: topology.levels,
  };
  return { workers, cpus: inherited, machine };
}

/** The threads of the job pool. */
interface JobPlan {
  readonly threads: number;
  /** CPUs that nobody else is bound to, one for each thread in turn; null: they are not bound. */
  readonly cpus: readonly number[] | null;
  readonly niceIncrement: number;
}

/** @param cpus of the workers that start; null where one is not bound */
export function planJobs(
  options: Pick<ResolvedOptions, 'jobPool' | 'placement'>,
  machine: Omit<Machine, 'capabilities'>,
  cpus: readonly (number | null)[],
): JobPlan {
  const { threads, niceIncrement } = options.jobPool;
  const { inherited, parallelism, quotaCpus, topology } = machine;
  const usable = inherited?.length ?? parallelism;
  const bound = inherited !== null && cpus.every((cpu) => cpu !== null);
  const taken = new Set(cpus);
  const free = bound ? inherited.filter((cpu) => !taken.has(cpu)) : [];
  const left = bound ? free.length : Math.max(0, usable - cpus.length);
  if (left === 0) {
    const all = autoWorkers(usable, quotaCpus);
    return { threads: threads === 'auto' ? all : threads, cpus: null, niceIncrement };
  }
  const count = threads === 'auto' ? autoWorkers(left, quotaCpus - cpus.length) : threads;
  const order = arrange(options.placement, free, topology, usable);
  return { threads: count, cpus: bound ? order : null, niceIncrement: 0 };
}
