/**
 * An open-loop load generator: requests are sent when a Poisson process says so, whether
 * or not earlier ones were answered, over keep-alive connections, and each latency counts
 * from the moment the request was due. Nothing packaged does all of that.
 *
 * It runs as a process of its own on the servers' CPUs, so it says what it used of them
 * and how late it was itself.
 *
 * The file is both ends: {@link runPoisson} is for the benchmarks.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type Arrival, type Load, schedule, uniform } from './arrivals.js';
import { type Answered, Connection, requestFor } from './connection.js';
import { CannotRun, VoidRun } from './failures.js';
import { endsWithUs } from './groups.js';
import { type Percentiles, Recorder } from './latencies.js';
import { now, startPacer } from './pacer.js';

export interface Outcome {
  readonly fast: Percentiles;
  readonly slow: Percentiles;
  /** How much later than due a request was noticed here: a part of each latency. */
  readonly late: Percentiles;
  /** CPU time of the generator while it measured, in % of one CPU. */
  readonly cpuPercent: number;
  readonly errors: number;
  /** The first error, for a person to read. */
  readonly error: string | null;
}

/** Latencies in ms, of those answered since the last batch. */
export interface Batch {
  readonly fast: readonly number[];
  readonly slow: readonly number[];
}

/** A line of the generator's output. The last one is the outcome. */
type Said = { readonly batch: Batch } | { readonly outcome: Outcome };

/** From the last arrival. Nothing here should be in flight so long: what is has failed. */
const GRACE_MS = 30_000;
/** Between making the schedule and the first arrival: the pacer must be running. */
const HEAD_START_MS = 200;
/** Between two batches. */
const BATCH_MS = 200;

interface Plan {
  readonly port: number;
  readonly load: Load;
  /** Whether it tells latencies as they come. */
  readonly tells: boolean;
}

function say(said: Said): void {
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

class Generator {
  readonly #load: Load;
  readonly #arrivals: readonly Arrival[];
  readonly #random: () => number;
  readonly #requests: { readonly fast: Buffer; readonly slow: Buffer };
  readonly #fast = new Recorder();
  readonly #slow = new Recorder();
  readonly #late = new Recorder();
  /** Null: it tells nothing but the outcome. */
  readonly #batch: { fast: number[]; slow: number[] } | null;
  #connections: Connection[] = [];
  #idle: Connection[] = [];
  /** Arrivals that were due, and those of them that were sent. */
  #due = 0;
  #sent = 0;
  #answered = 0;
  #errors = 0;
  #error: string | null = null;
  #startsAt = 0;
  #usedBefore = process.cpuUsage();
  #finish = () => {};

  constructor({ load, tells }: Plan) {
    this.#load = load;
    this.#batch = tells ? { fast: [], slow: [] } : null;
    this.#arrivals = schedule(load);
    this.#random = uniform(load.seed + 1);
    this.#requests = {
      fast: requestFor(load.fastMs === 0 ? '/' : `/burn/${load.fastMs}`),
      slow: requestFor(`/burn/${load.slowMs}`),
    };
  }

  async run(port: number): Promise<Outcome> {
    // All connections exist, and work, before the first arrival, as those of a load balancer do.
    this.#connections = await Promise.all(
      Array.from({ length: this.#load.connections }, () => this.#open(port)),
    );
    this.#idle = [...this.#connections];
    this.#startsAt = now() + HEAD_START_MS;
    const dues = Float64Array.from(this.#arrivals, ({ dueMs }) => dueMs);
    const pacer = startPacer(this.#startsAt, dues);
    pacer.on('message', () => this.#tick());
    const { warmup, seconds } = this.#load;
    const measuresAt = this.#startsAt + warmup * 1000;
    setTimeout(() => {
      this.#usedBefore = process.cpuUsage();
    }, measuresAt - now());
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
      setTimeout(resolve, measuresAt + seconds * 1000 + GRACE_MS - now()).unref();
    });
    const telling = this.#batch && setInterval(() => this.#tell(), BATCH_MS);
    await finished;
    if (telling !== null) clearInterval(telling);
    this.#tell();
    const used = process.cpuUsage(this.#usedBefore);
    const cpuPercent = (used.user + used.system) / 10 / (now() - measuresAt);
    for (const connection of this.#connections) connection.destroy();
    await pacer.terminate();
    const unanswered = this.#arrivals.length - this.#answered;
    if (unanswered > 0) this.#fail(unanswered, new Error(`no answer in ${GRACE_MS} ms`));
    return {
      fast: this.#fast.percentiles(),
      slow: this.#slow.percentiles(),
      late: this.#late.percentiles(),
      cpuPercent,
      errors: this.#errors,
      error: this.#error,
    };
  }

  async #open(port: number): Promise<Connection> {
    const connection = await Connection.open(port, (error) => this.#fail(1, error));
    await new Promise<void>((resolve, reject) => {
      connection.send(requestFor('/'), (error) => (error === null ? resolve() : reject(error)));
    });
    return connection;
  }

  #tell(): void {
    const batch = this.#batch;
    if (batch === null) return;
    say({ batch: { fast: batch.fast.splice(0), slow: batch.slow.splice(0) } });
  }

  #fail(count: number, error: Error): void {
    this.#errors += count;
    this.#error ??= error.message;
  }

  #counts({ dueMs }: Arrival): boolean {
    return dueMs >= this.#load.warmup * 1000;
  }

  #tick(): void {
    const sinceStart = now() - this.#startsAt;
    for (; this.#due < this.#arrivals.length; this.#due++) {
      const arrival = this.#arrivals[this.#due] as Arrival;
      if (arrival.dueMs > sinceStart) break;
      if (this.#counts(arrival)) this.#late.record(sinceStart - arrival.dueMs);
    }
    this.#dispatch();
  }

  /** Sends what is due on idle connections, chosen at random. */
  #dispatch(): void {
    while (this.#sent < this.#due && this.#idle.length > 0) {
      const arrival = this.#arrivals[this.#sent++] as Arrival;
      const at = Math.floor(this.#random() * this.#idle.length);
      const connection = this.#idle[at] as Connection;
      this.#idle[at] = this.#idle.at(-1) as Connection;
      this.#idle.pop();
      const request = arrival.slow ? this.#requests.slow : this.#requests.fast;
      connection.send(request, this.#onAnswer(arrival, connection));
    }
  }

  #onAnswer(arrival: Arrival, connection: Connection): Answered {
    return (error) => {
      if (error !== null) this.#fail(1, error);
      else if (this.#counts(arrival)) {
        const ms = now() - this.#startsAt - arrival.dueMs;
        (arrival.slow ? this.#slow : this.#fast).record(ms);
        if (this.#batch !== null) (arrival.slow ? this.#batch.slow : this.#batch.fast).push(ms);
      }
      this.#idle.push(connection);
      this.#answered++;
      this.#dispatch();
      if (this.#answered === this.#arrivals.length) this.#finish();
    };
  }
}

/**
 * Loads the server at `port` from another process.
 *
 * @param tell is told latencies while the load goes on; one that was not told before the end is told
 *   then. Telling costs the generator some CPU time.
 * @throws VoidRun if any request failed.
 */
export async function runPoisson(
  port: number,
  load: Load,
  tell?: (batch: Batch) => void,
): Promise<Outcome> {
  const plan: Plan = { port, load, tells: tell !== undefined };
  const child = spawn(process.execPath, [__filename, JSON.stringify(plan)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  endsWithUs(child);
  const closed = once(child, 'close');
  let outcome: Outcome | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Said;
    if ('outcome' in said) outcome = said.outcome;
    else tell?.(said.batch);
  }
  const [code] = await closed;
  if (code !== 0 || outcome === null) {
    throw new CannotRun(`the load generator ended with code ${code}`);
  }
  if (outcome.errors > 0) throw new VoidRun(`${outcome.errors} failed: ${outcome.error}`);
  return outcome;
}

if (require.main === module) {
  const plan = JSON.parse(process.argv[2] as string) as Plan;
  new Generator(plan).run(plan.port).then((outcome) => say({ outcome }));
}
