/**
 * The job pool: a Piscina pool that is made when the first job comes, and the queue in front
 * of it. Main thread only; it hands jobs out and never waits for one.
 *
 * Piscina owns the threads, hands them tasks, brings back results and ends the thread of a task
 * that is aborted. What is added here:
 *
 * - **The queue.** Piscina gets no more jobs than there are threads. Its own queue puts a task
 *   that nobody could take at its end, does not count those that may be aborted, and is not
 *   looked at any more when threads that start fail. This one is first in, first out, bounded, and
 *   empties itself.
 * - **The choice.** Its load balancer is the scheduler's own: src/scheduler/balancer.ts.
 * - **The end.** Each job settles once: when it is done, throws, is cancelled, loses its thread or
 *   its worker, or when the runtime closes.
 */
import { EventEmitter, once } from 'node:events';
import path from 'node:path';
import {
  MessageChannel,
  type MessagePort,
  type ResourceLimits,
  receiveMessageOnPort,
  type Transferable,
} from 'node:worker_threads';
import type { FixedQueue, Piscina } from 'piscina';
import { closedError, GyreError } from '../errors.js';
import {
  AbortError,
  type JobNames,
  type JobRef,
  type RunOptions,
  resolveRun,
  valueError,
} from '../job-request.js';
import { misalignmentOf } from '../native.js';
import type { FromJobThread, JobFailure, JobOutcome, JobTask, JobThreadInit } from '../protocol.js';
import { Balancer, type PoolThread } from '../scheduler/balancer.js';
import { seededRandom } from '../scheduler/random.js';
import type { JobsSnapshot, JobThreadInfo } from './api.js';

/** By path, because main must not import what runs in other threads. */
const JOB_THREAD = path.join(__dirname, '..', 'workers', 'job-thread.js');

/** How long threads may take to end; one may be in a system call. */
const TERMINATE_MS = 5_000;

/** Of the histograms; the last counts everything from 16 s on. */
const BUCKETS = 16;

export interface JobsOptions extends JobThreadInit {
  readonly names: JobNames;
  /** Most that run at a time. */
  readonly threads: number;
  readonly queueMax: number;
  readonly idleMs: number;
  readonly resourceLimits: Readonly<ResourceLimits> | undefined;
  readonly seed: number;
  /** What the threads have as `process.env`. */
  env(): NodeJS.ProcessEnv;
}

/** A worker that asks. */
interface Asker {
  readonly index: number;
  send(message: JobFailure): void;
}

/** What a signal is to Piscina; far cheaper than an AbortController. */
class Cancelling extends EventEmitter {
  aborted = false;

  abort(): void {
    this.aborted = true;
    this.emit('abort');
  }
}

interface Job {
  readonly task: JobTask;
  readonly transfer: readonly Transferable[];
  /** Null: main itself. */
  readonly asker: Asker | null;
  readonly askedAt: number;
  readonly cancelling: Cancelling;
  /** Called once. */
  readonly settle: (outcome: JobOutcome) => void;
  state: 'waiting' | 'running' | 'over';
  /** Who runs it, from the moment that it was sent there. */
  thread: PoolThread | null;
  startedAt: number;
}

type Pool = Piscina<JobTask & Record<symbol, unknown>, unknown>;

interface Copy {
  readonly value: unknown;
  /** The same objects as within the value. */
  readonly transfer: readonly Transferable[];
}

/** Copies a value on this thread: what becomes of the original afterwards does not matter. */
class Copier {
  readonly #ports = new MessageChannel();

  /** @throws GyreError `ERR_GYRE_JOB_VALUE` */
  copy(value: unknown, transfer: readonly Transferable[]): Copy {
    try {
      this.#ports.port1.postMessage({ value, transfer }, transfer);
      return receiveMessageOnPort(this.#ports.port2)?.message;
    } catch (cause) {
      throw valueError(cause);
    }
  }

  close(): void {
    this.#ports.port1.close();
  }
}

export class Jobs {
  readonly #options: JobsOptions;
  readonly #report: (error: GyreError) => void;
  #piscina: typeof import('piscina') | null = null;
  #pool: Pool | null = null;
  #waiting: FixedQueue | null = null;
  #copier: Copier | null = null;
  readonly #running = new Set<Job>();
  /** Jobs of workers that are not over. */
  readonly #asked = new Map<Asker, Map<number, Job>>();
  readonly #facts = new Map<number, FromJobThread>();
  /** Threads that left the pool and have not ended yet. */
  readonly #leaving = new Set<Promise<unknown>>();
  readonly #counts = { asked: 0, finished: 0, failed: 0, crashed: 0, cancelled: 0, refused: 0 };
  readonly #waitsByMs = new Array<number>(BUCKETS).fill(0);
  readonly #runsByMs = new Array<number>(BUCKETS).fill(0);
  /** Why the last thread that had no job ended. */
  #lastError: unknown;
  #over = false;
  /** Jobs of main that are not over, and who waits until there are none. */
  #own = 0;
  readonly #idle = new EventEmitter();

  /** @param report gets what went wrong in a thread that had no job */
  constructor(options: JobsOptions, report: (error: GyreError) => void) {
    this.#options = options;
    this.#report = report;
  }

  /** `runtime.run()`. */
  async run(job: string | URL, value: unknown, options: RunOptions): Promise<unknown> {
    if (this.#over) throw closedError();
    const { ref, signal, transfer } = resolveRun(this.#options.names, job, options);
    this.#copier ??= new Copier();
    const copy = this.#copier.copy(value, transfer);
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#cancel(own, new AbortError(signal?.reason));
      this.#own++;
      const own = this.#submit({
        task: { ...ref, value: copy.value },
        transfer: copy.transfer,
        asker: null,
        settle: (outcome) => {
          signal?.removeEventListener('abort', onAbort);
          if (outcome.ok) resolve(outcome.value);
          else reject(outcome.error);
          if (--this.#own === 0) this.#idle.emit('idle');
        },
      });
      if (own.state !== 'over') signal?.addEventListener('abort', onAbort);
    });
  }

  /** A worker asks for a job. It hears only of those that have no outcome. */
  ask(asker: Asker, id: number, ref: JobRef, port: MessagePort): void {
    const mine = this.#asked.get(asker) ?? new Map<number, Job>();
    this.#asked.set(asker, mine);
    const job = this.#submit({
      task: { ...ref, port },
      transfer: [port],
      asker,
      settle: (outcome) => {
        mine.delete(id);
        port.close(); // without effect once it was sent to a thread
        if (!outcome.ok) asker.send(failure(id, outcome.error));
      },
    });
    if (job.state !== 'over') mine.set(id, job);
  }

  /** A worker no longer wants a job. */
  cancel(asker: Asker, id: number): void {
    const job = this.#asked.get(asker)?.get(id);
    if (job !== undefined) this.#cancel(job, new AbortError(undefined));
  }

  /** A worker has ended: nobody wants its jobs any more. */
  abandon(asker: Asker): void {
    for (const job of this.#asked.get(asker)?.values() ?? []) {
      this.#cancel(job, new AbortError(undefined));
    }
    this.#asked.delete(asker);
  }

  snapshot(): JobsSnapshot {
    const busy = new Set([...this.#running].map(({ thread }) => thread?.id));
    const threads = (this.#pool?.threads ?? []).map(({ threadId }): JobThreadInfo => {
      const { tid = null, cpu = null } = this.#facts.get(threadId) ?? {};
      return { threadId, tid, cpu, busy: busy.has(threadId) };
    });
    return {
      ...this.#counts,
      waiting: this.#waiting?.size ?? 0,
      running: this.#running.size,
      threads,
      waitsByMs: [...this.#waitsByMs],
      runsByMs: [...this.#runsByMs],
    };
  }

  /** No job of main is taken any more. Resolves when those that it asked for are over. */
  async drain(): Promise<void> {
    while (this.#own > 0) await once(this.#idle, 'idle');
  }

  /** Ends every job: those of main reject with ERR_GYRE_CLOSED. */
  stop(): void {
    this.#over = true;
    for (let job = this.#next(); job !== null; job = this.#next()) this.#fail(job, closedError());
    for (const job of [...this.#running]) this.#cancel(job, closedError());
  }

  /** The same, and resolves when no thread is left. */
  async close(): Promise<void> {
    this.stop();
    this.#copier?.close();
    const gone = Promise.all([this.#pool?.destroy(), ...this.#leaving]);
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      gone,
      new Promise((resolve) => {
        timer = setTimeout(resolve, TERMINATE_MS);
      }),
    ]);
    clearTimeout(timer);
  }

  #submit(asked: Pick<Job, 'task' | 'transfer' | 'asker' | 'settle'>): Job {
    const job: Job = {
      ...{ ...asked, askedAt: performance.now(), cancelling: new Cancelling() },
      ...{ state: 'waiting', thread: null, startedAt: 0 },
    };
    this.#counts.asked++;
    if (this.#over) {
      this.#fail(job, closedError());
      return job;
    }
    this.#pool ??= this.#open();
    const waiting = this.#waiting as FixedQueue;
    if (this.#running.size < this.#options.threads) {
      this.#start(job); // then none waits
    } else if (waiting.size >= this.#options.queueMax) {
      this.#counts.refused++;
      this.#fail(job, full(this.#options.queueMax));
    } else {
      waiting.push(job as never);
    }
    return job;
  }

  #open(): Pool {
    // Not at the top: most programs have no jobs.
    const piscina = require('piscina') as typeof import('piscina');
    const { threads, idleMs, seed, resourceLimits, env, ...rest } = this.#options;
    const { name, cpus, inherited, parallelism, niceIncrement } = rest;
    this.#piscina = piscina;
    this.#waiting = new piscina.FixedQueue();
    const balancer = new Balancer({
      ...{ threads, usageMax: 1, random: seededRandom(seed), misalignmentOf },
    });
    const init: JobThreadInit = { name, cpus, inherited, parallelism, niceIncrement };
    const pool: Pool = new piscina.Piscina({
      ...{ filename: JOB_THREAD, workerData: init, env: env() },
      ...{ minThreads: 0, maxThreads: threads, idleTimeout: idleMs },
      // The thread's event loop must turn: ports are closed there, and handlers may use it.
      atomics: 'disabled',
      recordTiming: false, // measured here
      ...(resourceLimits && { resourceLimits }),
      loadBalancer: (task, workers) => {
        const job = task[piscina.queueOptionsSymbol] as Job | null;
        const thread = balancer.choose(task.isAbortable, workers);
        if (thread !== null && job !== null) this.#sent(job, thread);
        return thread;
      },
    });
    pool.on('message', (message: unknown) => this.#onFacts(message));
    pool.on('error', (error: unknown) => this.#onThreadError(error));
    pool.on('workerDestroy', (thread: PoolThread) => this.#onThreadGone(pool, thread));
    return pool;
  }

  #start(job: Job): void {
    const { queueOptionsSymbol } = this.#piscina as typeof import('piscina');
    job.state = 'running';
    this.#running.add(job);
    // The symbol stays here: it is how the balancer knows the job again.
    const task = { ...job.task, [queueOptionsSymbol]: job };
    const options = { signal: job.cancelling, transferList: job.transfer as Transferable[] };
    const ran = new Promise((resolve) => resolve((this.#pool as Pool).run(task, options)));
    ran.then(
      (value) => this.#done(job, { ok: true, value }),
      (error: unknown) => this.#done(job, { ok: false, error }),
    );
  }

  #sent(job: Job, thread: PoolThread): void {
    job.thread = thread;
    job.startedAt = performance.now();
    count(this.#waitsByMs, job.startedAt - job.askedAt);
  }

  /** Piscina has an outcome, or its promise was rejected because the job was cancelled. */
  #done(job: Job, outcome: JobOutcome): void {
    this.#running.delete(job);
    if (job.state !== 'over') {
      count(this.#runsByMs, performance.now() - job.startedAt);
      const lost = !outcome.ok && job.thread?.destroyed;
      // The outcome of a worker's job went to that worker; here it is whether there was one.
      const threw = !outcome.ok || (job.asker !== null && outcome.value === false);
      this.#counts[lost ? 'crashed' : threw ? 'failed' : 'finished']++;
      if (lost) this.#fail(job, crashed(outcome.error));
      else this.#end(job, outcome);
    }
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#running.size < this.#options.threads) {
      const job = this.#next();
      if (job === null) return;
      this.#start(job);
    }
  }

  #next(): Job | null {
    return (this.#waiting?.shift() ?? null) as unknown as Job | null;
  }

  #cancel(job: Job, error: Error): void {
    const { state } = job;
    if (state === 'over') return;
    this.#counts.cancelled++;
    this.#fail(job, error);
    if (state === 'running') job.cancelling.abort();
    else this.#waiting?.remove(job as never);
  }

  #fail(job: Job, error: Error): void {
    this.#end(job, { ok: false, error });
  }

  #end(job: Job, outcome: JobOutcome): void {
    job.state = 'over';
    job.settle(outcome);
  }

  #onFacts(message: unknown): void {
    const { kind, thread } = (message ?? {}) as Partial<FromJobThread>;
    if (kind === 'job-thread' && thread !== undefined) {
      this.#facts.set(thread, message as FromJobThread);
    }
  }

  /** A thread without a job died. */
  #onThreadError(cause: unknown): void {
    this.#lastError = cause;
    this.#report(crashed(cause));
  }

  /** A thread is about to leave the pool: it ended, is being ended, or was idle for long. */
  #onThreadGone(pool: Pool, { id }: PoolThread): void {
    const { threads } = pool;
    const ids = threads.map(({ threadId }) => threadId);
    for (const known of this.#facts.keys()) {
      if (known === id || !ids.includes(known)) this.#facts.delete(known);
    }
    const thread = threads[ids.indexOf(id)];
    // One that has ended already has lost its number.
    if (thread !== undefined && id !== -1) {
      const ended = new Promise((resolve) => thread.once('exit', resolve));
      this.#leaving.add(ended);
      ended.then(() => this.#leaving.delete(ended));
    }
    queueMicrotask(() => {
      if (pool.threads.length === 0) this.#failStranded();
    });
  }

  /** No thread is there, or starts, for jobs that Piscina has: it gives up when one fails to. */
  #failStranded(): void {
    for (const job of this.#running) {
      if (job.thread !== null || job.state === 'over') continue;
      this.#counts.crashed++;
      this.#fail(job, crashed(this.#lastError));
      job.cancelling.abort();
    }
  }
}

function count(histogram: number[], ms: number): void {
  const bucket = ms < 1 ? 0 : 32 - Math.clz32(ms);
  const at = Math.min(bucket, BUCKETS - 1);
  histogram[at] = (histogram[at] as number) + 1;
}

function full(max: number): GyreError {
  return new GyreError('ERR_GYRE_JOB_QUEUE_FULL', `${max} jobs wait already`);
}

function crashed(cause: unknown): GyreError {
  // What cannot be cloned arrives as an empty object.
  const text = cause instanceof Error ? cause.message : 'with what cannot be told from here';
  return new GyreError('ERR_GYRE_JOB_CRASHED', `a thread of the job pool ended: ${text}`, {
    cause,
  });
}

/** What a worker is told of a job without an outcome. */
function failure(id: number, error: unknown): JobFailure {
  const { message, cause } = error as Error;
  const code = error instanceof GyreError ? error.code : 'ERR_GYRE_JOB_CRASHED';
  return { kind: 'job-failed', id, code, message, cause: native(cause) };
}

/** An error of another thread looks like one, but is not cloned as one. */
function native(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined;
  const { name, message, stack } = error;
  return Object.assign(new Error(message), { name, ...(stack !== undefined && { stack }) });
}
