/**
 * The options `jobs` and `jobPool` of `createRuntime`: what each means, and their check. Pure.
 */
import { GyreError } from '../errors.js';
import { isJobUrl, type JobNames, type JobRef, jobAt } from '../job-request.js';
import {
  absolutePath,
  durationMs,
  integerIn,
  invalid,
  isPlainObject,
  orDefault,
  refuseUnknown,
} from '../option-checks.js';
import { POOL_THREADS_MAX } from '../scheduler/balancer.js';

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

const QUEUE_MAX = 1_000_000;
const THREADS_MAX = Math.min(512, POOL_THREADS_MAX);
const NICE_MAX = 19;

function resolveJob(option: string, file: unknown): JobRef {
  if (!isJobUrl(file)) return { file: absolutePath(option, file), name: 'default' };
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
  refuseUnknown(value, Object.keys(JOB_POOL_DEFAULTS), (key) => `jobPool option ${key}`);
  const given = (key: keyof typeof JOB_POOL_DEFAULTS) =>
    orDefault(value[key], JOB_POOL_DEFAULTS[key]);
  const threads = given('threads');
  return Object.freeze({
    threads: threads === 'auto' ? threads : integerIn('jobPool.threads', threads, 1, THREADS_MAX),
    queueMax: integerIn('jobPool.queueMax', given('queueMax'), 0, QUEUE_MAX),
    idleMs: durationMs('jobPool.idleMs', given('idleMs'), 0),
    niceIncrement: integerIn('jobPool.niceIncrement', given('niceIncrement'), 0, NICE_MAX),
  });
}
