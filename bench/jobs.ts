/**
 * Question: how long do CPU-bound jobs wait for a thread, and how many get done, in gyre's pool and in
 * plain Piscina's?
 *
 * Each variant has as many threads as there are CPUs and runs the same function. First a closed
 * loop of jobs of 1 ms, with twice as many outstanding as threads: jobs per second. Then an open loop
 * of short jobs and a few long ones at random times: how long each waited, from the moment that it
 * was due until its function was entered, and when it was done.
 *
 *     piscina        as it comes; its default load balancer is the least busy one
 *     piscina-fifo   with `stricterFIFO`
 *     pareto         the same, with `paretoBalancer()` of gyre/piscina
 *     gyre           `runtime.run()`
 */
import { execFile } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Piscina } from 'piscina';
import { createRuntime } from '../src/index.js';
import { paretoBalancer } from '../src/piscina.js';
import { type Load, schedule } from './arrivals.js';
import { turnsPerMs } from './calibration.js';
import { CannotRun } from './failures.js';
import { type Measured, run } from './harness.js';
import { Recorder } from './latencies.js';
import { now, startPacer } from './pacer.js';
import { ROOT } from './root.js';

const JOB = path.join(ROOT, 'bench', 'apps', 'job.js');
const IDLE = path.join(ROOT, 'test', 'fixtures', 'apps', 'idle.js');
const UNIFORM_MS = 1;
const WARMUP_S = 1;

const METRICS = {
  throughput: { unit: 'jobs/s', digits: 0, better: 'more' },
  waitP50: { unit: 'ms', digits: 2, better: 'less' },
  waitP99: { unit: 'ms', digits: 1, better: 'less' },
  shortP99: { unit: 'ms until done', digits: 1, better: 'less' },
  longP99: { unit: 'ms until done', digits: 1, better: 'less' },
} as const;
type Result = Measured<keyof typeof METRICS>;

interface Contender {
  /** Resolves to when the function was entered. */
  job(ms: number): Promise<number>;
  close(): Promise<void>;
}

const threads = os.availableParallelism();

function pool(options: ConstructorParameters<typeof Piscina>[0]): Contender {
  const piscina = new Piscina<number, number>({
    ...{ filename: JOB, minThreads: threads, maxThreads: threads },
    ...options,
  });
  return { job: (ms) => piscina.run(ms), close: () => piscina.destroy() };
}

const CONTENDERS: Record<string, () => Contender | Promise<Contender>> = {
  piscina: () => pool({}),
  'piscina-fifo': () => pool({ stricterFIFO: true }),
  pareto: () => pool({ stricterFIFO: true, loadBalancer: paretoBalancer() }),
  async gyre() {
    const runtime = await createRuntime({
      ...{ entry: IDLE, workers: 1, pin: 'off', spares: 0, startMs: 1, jobs: { job: JOB } },
      jobPool: { threads, niceIncrement: 0 },
    });
    return { job: (ms) => runtime.run('job', ms), close: () => runtime.close({ drainMs: 0 }) };
  },
};

/** Jobs per second in a closed loop. */
async function throughput({ job }: Contender, ms: number): Promise<number> {
  let done = 0;
  const endsAt = performance.now() + ms;
  const lane = async () => {
    while (performance.now() < endsAt) {
      await job(UNIFORM_MS);
      done++;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: 2 * threads }, lane));
  return (done * 1000) / (performance.now() - startedAt);
}

async function waiting({ job }: Contender, load: Load): Promise<Omit<Result, 'throughput'>> {
  const arrivals = schedule(load);
  const [waits, short, long] = [new Recorder(), new Recorder(), new Recorder()];
  const startsAt = now() + 200; // the pacer's thread starts meanwhile
  const pacer = startPacer(
    startsAt,
    Float64Array.from(arrivals, ({ dueMs }) => dueMs),
  );
  const all: Promise<void>[] = [];
  let next = 0;
  const ask = async (at: number) => {
    const { dueMs, slow } = arrivals[at] as (typeof arrivals)[number];
    const dueAt = startsAt + dueMs;
    const enteredAt = await job(slow ? load.slowMs : load.fastMs);
    if (dueMs < load.warmup * 1000) return;
    waits.record(enteredAt - dueAt);
    (slow ? long : short).record(now() - dueAt);
  };
  await new Promise<void>((resolve) => {
    pacer.on('message', () => all.push(ask(next++)));
    pacer.on('exit', () => resolve());
  });
  await Promise.all(all);
  const { p50, p99 } = waits.percentiles();
  return {
    ...{ waitP50: p50, waitP99: p99 },
    ...{ shortP99: short.percentiles().p99, longP99: long.percentiles().p99 },
  };
}

/** In a process of its own. */
async function measureHere(variant: string, flags: Flags, seed: number): Promise<Result> {
  const contender = await (CONTENDERS[variant] as () => Contender | Promise<Contender>)();
  await throughput(contender, WARMUP_S * 1000);
  const perSecond = await throughput(contender, flags.seconds * 1000);
  const { seconds, short, shortMs, long, longMs } = flags;
  const waits = await waiting(contender, {
    ...{ warmup: WARMUP_S, seconds, connections: 0, seed },
    ...{ fastPerSecond: short, fastMs: shortMs, slowPerSecond: long, slowMs: longMs },
  });
  await contender.close();
  return { throughput: perSecond, ...waits };
}

/** Together three quarters of two CPUs. */
const FLAGS = { rounds: 5, seconds: 8, short: 400, shortMs: 1, long: 27, longMs: 40 };
type Flags = typeof FLAGS;

async function measureInProcess(variant: string, flags: Flags, seed: number): Promise<Result> {
  const args = [__filename, '--measure', variant, JSON.stringify(flags), String(seed)];
  const BURN_PER_MS = turnsPerMs({ file: process.execPath } as Parameters<typeof turnsPerMs>[0]);
  const env = { ...process.env, BURN_PER_MS };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  return JSON.parse(stdout);
}

if (process.argv[2] === '--measure') {
  const [variant = '', flags = '', seed] = process.argv.slice(3);
  measureHere(variant, JSON.parse(flags), Number(seed)).then((result) =>
    process.stdout.write(JSON.stringify(result)),
  );
} else {
  run({
    name: 'jobs',
    question: 'how long do CPU-bound jobs wait for a thread, and how many get done?',
    pinning: 'none; as many threads as CPUs',
    flags: FLAGS,
    fractions: ['shortMs', 'longMs', 'short', 'long'],
    metrics: METRICS,
    variants: Object.keys(CONTENDERS),
    comparisons: ['piscina-fifo', 'pareto', 'gyre'].flatMap((of) =>
      (Object.keys(METRICS) as (keyof typeof METRICS)[]).map((metric) => ({
        ...{ metric, of, to: 'piscina' },
      })),
    ),
    check() {
      if (threads < 2) throw new CannotRun('it needs two CPUs');
    },
    measure: (variant, flags, round) => measureInProcess(variant, flags as Flags, round + 1),
  });
}
