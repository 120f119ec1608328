/**
 * `gyre/piscina`: gyre's load balancer and pinning for a Piscina pool of one's own. Needs no
 * runtime.
 *
 * @module gyre/piscina
 */
import { access } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { GyreError } from './errors.js';
import {
  affinity,
  claimCpu,
  hasHelper,
  hasLinuxParts,
  markPinned,
  misalignmentOf,
  setAffinity,
  widenInChildren,
} from './native.js';
import { integerIn, mustBe, optionsOf } from './option-checks.js';
import { Balancer, POOL_THREADS_MAX, type PoolThread } from './scheduler/balancer.js';
import { seededRandom } from './scheduler/random.js';

export type { PoolThread };

/** Options of {@link paretoBalancer}. */
export interface ParetoBalancerOptions {
  /** As the pool's option `maxThreads`, or more; 1 to 1,023. Default 256. */
  maxThreads?: number;
  /** As the pool's option of this name; 1 to 1,000,000. Default 1. */
  concurrentTasksPerWorker?: number;
  /** Of the random choice among equals: the same seed decides alike. Default: another each time. */
  seed?: number;
}

const DEFAULT_THREADS = 256;
const SEED_MAX = 2 ** 32 - 1;

/**
 * A `loadBalancer` for `new Piscina()`: the Pareto frontier over the tasks that a thread has (fewer
 * is better) and how many tasks ago it last got one (more is better), with a random choice among
 * those that no other dominates. A task that could start at once is never put behind another.
 *
 * One balancer is for one pool. Give that `stricterFIFO: true` as well: otherwise Piscina puts a task
 * that no thread could take at the end of its queue.
 *
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`; and, from `pool.run()`,
 *   RangeError if the pool has more than `maxThreads` threads
 */
export function paretoBalancer(
  options: ParetoBalancerOptions = {},
): <T extends PoolThread>(task: { readonly isAbortable: boolean }, workers: T[]) => T | null {
  optionsOf('paretoBalancer()', options, ['maxThreads', 'concurrentTasksPerWorker', 'seed']);
  const { maxThreads = DEFAULT_THREADS, concurrentTasksPerWorker = 1 } = options;
  const { seed = Math.floor(Math.random() * SEED_MAX) } = options;
  const balancer = new Balancer({
    threads: integerIn('maxThreads', maxThreads, 1, POOL_THREADS_MAX),
    usageMax: integerIn('concurrentTasksPerWorker', concurrentTasksPerWorker, 1, 1_000_000),
    random: seededRandom(integerIn('seed', seed, 0, SEED_MAX)),
    misalignmentOf,
  });
  return (task, workers) => balancer.choose(task.isAbortable, workers);
}

/** Options of {@link pinnedWorker}. */
export interface PinOptions {
  /** CPUs to choose from. Default: all that the thread may use. */
  cpus?: readonly number[];
}

/** Whether this thread has done what {@link pinnedWorker} asks for. */
let settled = false;

/**
 * For the file that a pool's threads load: binds the thread that calls it to one CPU, and returns
 * `handler`. Threads of a process take different CPUs as long as there are any, and those that no
 * worker of a gyre runtime is bound to first.
 *
 *     export default pinnedWorker((image) => …);
 *
 * On the main thread it binds nothing. Where there is no pinning, it says so on stderr.
 *
 * @typeParam Handler what the pool's file exports
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_CPUS` if the thread may
 *   use none of `cpus`
 */
export function pinnedWorker<Handler extends (...args: never[]) => unknown>(
  handler: Handler,
  options: PinOptions = {},
): Handler {
  if (typeof handler !== 'function') {
    return mustBe('the argument of pinnedWorker()', 'a function, which it returns');
  }
  optionsOf('pinnedWorker()', options, ['cpus']);
  const { cpus } = options;
  if (cpus !== undefined && (!Array.isArray(cpus) || cpus.length === 0)) {
    return mustBe('option cpus', 'a list of CPU numbers');
  }
  for (const cpu of cpus ?? []) integerIn('cpus', cpu, 0, 8191);
  if (!isMainThread && !settled) pin(cpus ?? null);
  return handler;
}

function pin(cpus: readonly number[] | null): void {
  if (!hasHelper || !hasLinuxParts) {
    // A warning would be written in a later turn of a loop that does not turn between tasks.
    process.stderr.write(
      'gyre: [GYRE_NOT_PINNED] there is no pinning here, so a thread of a pool is bound to no CPU\n',
    );
    settled = true;
    return;
  }
  const usable = affinity();
  const choice = (cpus ?? usable).filter((cpu) => usable.includes(cpu));
  if (choice.length === 0) {
    throw new GyreError(
      'ERR_GYRE_CPUS',
      `this thread may use CPU ${usable.join(', ')}, and none of ${cpus?.join(', ')}`,
    );
  }
  // What inherits a thread's mask is made before, or told: libuv's thread pool, which begins with
  // the first asynchronous call in the process, and children.
  access('.', () => {});
  widenInChildren(usable);
  markPinned(true);
  setAffinity([claimCpu(choice)]);
  settled = true;
}
