/**
 * An open-loop load of clients that do not wait for ever: each opens a connection when a Poisson
 * process says so, asks once, and leaves when it has its answer or its patience is over. What
 * is answered in time is goodput; a server that works for clients that have left has none.
 *
 * It runs as a process of its own. The file is both ends: {@link runImpatient} is for the
 * benchmarks.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Load, schedule } from './arrivals.js';
import { Connection, requestFor } from './connection.js';
import { CannotRun } from './failures.js';
import { type Percentiles, Recorder } from './latencies.js';
import { now, startPacer } from './pacer.js';

export interface Impatience {
  /** Of which only the fast requests are sent, each on a connection of its own. */
  readonly load: Load;
  /** From when a request was due to when its client leaves. */
  readonly patienceMs: number;
}

export interface Goodput {
  /** Right answers in time, per second. */
  readonly goodput: number;
  /** Requests that were told 503, per second. */
  readonly refused: number;
  /** Clients whose patience was over, per second. */
  readonly late: number;
  /** Connections that could not be made or broke, per second. */
  readonly broken: number;
  /** Of the right answers in time. */
  readonly latency: Percentiles;
  /** CPU time of the generator while it measured, in % of one CPU. */
  readonly cpuPercent: number;
}

/** Between making the schedule and the first arrival: the pacer must be running. */
const HEAD_START_MS = 200;

type Fate = 'goodput' | 'refused' | 'late' | 'broken';

class Crowd {
  readonly #port: number;
  readonly #patienceMs: number;
  readonly #request: Buffer;
  readonly #counts: Record<Fate, number> = { goodput: 0, refused: 0, late: 0, broken: 0 };
  readonly #latency = new Recorder();

  constructor(port: number, { load, patienceMs }: Impatience) {
    this.#port = port;
    this.#patienceMs = patienceMs;
    this.#request = requestFor(`/burn/${load.fastMs}`);
  }

  /** One client, whose request was due at `dueAt`. */
  arrive(dueAt: number, counts: boolean): Promise<void> {
    return new Promise((resolve) => {
      let connection: Connection | null = null;
      let over = false;
      const end = (fate: Fate) => {
        if (over) return;
        over = true;
        clearTimeout(timer);
        connection?.destroy();
        if (counts) this.#counts[fate]++;
        if (counts && fate === 'goodput') this.#latency.record(now() - dueAt);
        resolve();
      };
      const timer = setTimeout(() => end('late'), dueAt + this.#patienceMs - now());
      const settle = (error: Error | null) => {
        if (error === null) end('goodput');
        else end(error.message.startsWith('HTTP/1.1 503') ? 'refused' : 'broken');
      };
      Connection.open(this.#port, settle).then((opened) => {
        connection = opened;
        if (over) opened.destroy();
        else opened.send(this.#request, settle);
      }, settle);
    });
  }

  outcome(seconds: number, cpuPercent: number): Goodput {
    const rate = (fate: Fate) => this.#counts[fate] / seconds;
    return {
      ...{ goodput: rate('goodput'), refused: rate('refused') },
      ...{ late: rate('late'), broken: rate('broken') },
      ...{ latency: this.#latency.percentiles(), cpuPercent },
    };
  }
}

async function load(port: number, impatience: Impatience): Promise<Goodput> {
  const { warmup, seconds } = impatience.load;
  const crowd = new Crowd(port, impatience);
  const arrivals = schedule({ ...impatience.load, slowPerSecond: 0 });
  const startsAt = now() + HEAD_START_MS;
  const pacer = startPacer(
    startsAt,
    Float64Array.from(arrivals, ({ dueMs }) => dueMs),
  );
  const measuresAt = startsAt + warmup * 1000;
  let usedBefore = process.cpuUsage();
  setTimeout(() => {
    usedBefore = process.cpuUsage();
  }, measuresAt - now());
  const clients: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    pacer.on('message', () => {
      const sinceStart = now() - startsAt;
      while (clients.length < arrivals.length) {
        const dueMs = arrivals[clients.length]?.dueMs as number;
        if (dueMs > sinceStart) return;
        clients.push(crowd.arrive(startsAt + dueMs, dueMs >= warmup * 1000));
      }
      resolve();
    });
  });
  await Promise.all(clients);
  const used = process.cpuUsage(usedBefore);
  const cpuPercent = (used.user + used.system) / 10 / (now() - measuresAt);
  return crowd.outcome(seconds, cpuPercent);
}

/** Loads the server at `port` from another process. */
export async function runImpatient(port: number, impatience: Impatience): Promise<Goodput> {
  const child = spawn(process.execPath, [__filename, JSON.stringify({ port, impatience })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new CannotRun(`the load generator ended with code ${code}`);
  return JSON.parse(text) as Goodput;
}

if (require.main === module) {
  const { port, impatience } = JSON.parse(process.argv[2] as string) as {
    port: number;
    impatience: Impatience;
  };
  load(port, impatience).then((outcome) => {
    process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit());
  });
}
