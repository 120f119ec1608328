/**
 * The options `jobs` and `jobPool` of `createRuntime`: what each means, their check, and how many
 * threads on which CPUs they come to. Pure, but for {@link checkJobFiles}.
 */
import { constants as fsConstants } from 'node:fs';
import { access } from 'node:fs/promises';
import { GyreError } from '../errors.js';
import { isJobUrl, type JobNames, type JobRef, jobAt } from '../job-request.js';
import { POOL_THREADS_MAX } from '../scheduler/balancer.js';
import { arrange } from '../scheduler/placement.js';
import { autoWorkers } from './machine.js';
import {
  durationMs,
  integerIn,
  invalid,
  isPlainObject,
  type ResolvedOptions,
  resolvePath,
  unknownKeys,
} from './options.js';
import type { Machine } from './plan.js';

/** The option `jobPool` of `createRuntime`. */
export interface JobPoolOptions {
  /**
   * Most threads that run jobs, each one at a time. They start when they are needed. 1 to 512.
   * `'auto'`: one for each CPU that no worker is bound to; where none is left, one for each CPU
   * of the process, no more than its quota pays for. Default `'auto'`.
   */
  threads?: number | 'auto';
  /**
   * Most jobs that may wait for a thread: one more is refused with ERR_GYRE_JOB_QUEUE_FULL. 0: none
   * waits. 0 to 1,000,000. Default 10,000.
   */
  queueMax?: number;
  /**
   * After how long without a job a thread ends, in ms. 0: at once; Infinity: never. At most
   * 2,147,483,647 otherwise. Default 60,000.
   */
  idleMs?: number;
  /**
   * How much nicer than the workers the threads are where they have to share the workers' CPUs:
   * nice(2). 0 to 19; 19 is a seventieth of a worker's share while both want the CPU. Without effect
   * where CPUs are left for them, and on other systems than Linux. Default 10, a tenth.
   */
  niceIncrement?: number;
}

/** No evidence for more or less. */
export const JOB_POOL_DEFAULTS = {
  threads: 'auto',
  queueMax: 10_000,
  idleMs: 60_000,
  niceIncrement: 10,
} as const;
const KNOWN: ReadonlySet<string> = new Set(Object.keys(JOB_POOL_DEFAULTS));

const QUEUE_MAX = 1_000_000;
const THREADS_MAX = Math.min(512, POOL_THREADS_MAX);
const NICE_MAX = 19;

function resolveJob(option: string, file: unknown): JobRef {
  if (!isJobUrl(file)) return { file: resolvePath(option, file), name: 'default' };
  try {
    return jobAt(file);
  } catch (cause) {
    const { message } = cause as Error;
    throw new GyreError('ERR_GYRE_OPTION_INVALID', `option ${option}: ${message}`, { cause });
  }
}

/** A file is a path or a `file:` URL, of which `#name` is an export. @throws GyreError */
export function resolveJobs(value: unknown): JobNames {
  if (!isPlainObject(value)) return invalid('jobs', 'an object of paths and URLs', value);
  const jobs = Object.entries(value).map(([name, file]) => {
    if (name === '' || name.startsWith('file:')) {
      return invalid('jobs', 'keyed by names that are not empty, and no URLs', name);
    }
    return [name, Object.freeze(resolveJob(`jobs[${JSON.stringify(name)}]`, file))] as const;
  });
  return Object.freeze(Object.fromEntries(jobs));
}

/** @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID` */
export function resolveJobPool(value: unknown): Readonly<Required<JobPoolOptions>> {
  if (!isPlainObject(value)) return invalid('jobPool', 'an object', value);
  unknownKeys('jobPool option', value, KNOWN);
  const given = (key: keyof typeof JOB_POOL_DEFAULTS) =>
    (value[key] === undefined ? JOB_POOL_DEFAULTS : value)[key];
  const threads = given('threads');
  return Object.freeze({
    threads: threads === 'auto' ? threads : integerIn('jobPool.threads', threads, 1, THREADS_MAX),
    queueMax: integerIn('jobPool.queueMax', given('queueMax'), 0, QUEUE_MAX),
    idleMs: durationMs('jobPool.idleMs', given('idleMs'), 0),
    niceIncrement: integerIn('jobPool.niceIncrement', given('niceIncrement'), 0, NICE_MAX),
  });
}

/** @throws GyreError `ERR_GYRE_JOB_UNKNOWN` */
export async function checkJobFiles(jobs: JobNames): Promise<void> {
  for (const [name, { file }] of Object.entries(jobs)) {
    try {
      await access(file, fsConstants.R_OK);
    } catch (cause) {
      throw new GyreError(
        'ERR_GYRE_JOB_UNKNOWN',
        `the file of job ${JSON.stringify(name)} does not exist or cannot be read: ${file}`,
        { cause },
      );
    }
  }
}

export interface JobPlan {
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
