/**
 * An open-loop load generator: requests are sent when a Poisson process says so, whether
 * or not earlier ones were answered, over keep-alive connections, and each latency counts
 * from the moment the request was due. Nothing packaged does all of that.
 *
 * A program of its own: `node poisson.js '{"port":…}'` prints one line of JSON.
 */
import http from 'node:http';

export interface Load {
  readonly port: number;
  readonly seconds: number;
  /** Requests at the start that are not counted, in seconds. */
  readonly warmup: number;
  readonly connections: number;
  readonly fastPerSecond: number;
  readonly slowPerSecond: number;
  readonly slowMs: number;
  readonly seed: number;
}

export interface Latencies {
  readonly requests: number;
  readonly errors: number;
  /** Of the fast requests, in ms. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Uniform in [0, 1): mulberry32, after Tommy Ettinger. */
function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Due {
  readonly atMs: number;
  readonly slow: boolean;
}

/** Arrivals of both kinds, in order. */
function schedule(load: Load): Due[] {
  const random = uniform(load.seed);
  const due: Due[] = [];
  for (const slow of [false, true]) {
    const rate = slow ? load.slowPerSecond : load.fastPerSecond;
    for (let at = 0; rate > 0; ) {
      at += (-Math.log(1 - random()) / rate) * 1000;
      if (at >= (load.warmup + load.seconds) * 1000) break;
      due.push({ atMs: at, slow });
    }
  }
  return due.sort((a, b) => a.atMs - b.atMs);
}

function percentile(sorted: readonly number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

/** A connection that carries one request at a time. */
function request(port: number, agent: http.Agent, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = http.get({ host: '127.0.0.1', port, path, agent }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
      response.resume();
      response.on('end', resolve);
      response.on('error', reject);
    });
    sent.on('error', reject);
  });
}

async function generate(load: Load): Promise<Latencies> {
  const random = uniform(load.seed + 1);
  const agents = Array.from(
    { length: load.connections },
    () => new http.Agent({ keepAlive: true, maxSockets: 1 }),
  );
  // All connections exist before the first arrival, as those of a load balancer do.
  await Promise.all(agents.map((agent) => request(load.port, agent, '/')));
  const idle = [...agents];
  const waiting: Due[] = [];
  const latencies: number[] = [];
  let errors = 0;
  let open = 0;
  let finished = () => {};
  const startedAt = performance.now();

  const dispatch = () => {
    while (waiting.length > 0 && idle.length > 0) {
      const due = waiting.shift() as Due;
      const agent = idle.splice(Math.floor(random() * idle.length), 1)[0] as http.Agent;
      open++;
      const done = (failed: boolean) => {
        const ms = performance.now() - startedAt - due.atMs;
        if (failed) errors++;
        else if (!due.slow && due.atMs >= load.warmup * 1000) latencies.push(ms);
        idle.push(agent);
        open--;
        dispatch();
        finished();
      };
      request(load.port, agent, due.slow ? `/burn/${load.slowMs}` : '/').then(
        () => done(false),
        () => done(true),
      );
    }
  };
  const arrivals = schedule(load);
  let next = 0;
  await new Promise<void>((resolve) => {
    const tick = () => {
      const now = performance.now() - startedAt;
      for (; next < arrivals.length && (arrivals[next] as Due).atMs <= now; next++) {
        waiting.push(arrivals[next] as Due);
      }
      dispatch();
      if (next === arrivals.length) resolve();
      else setTimeout(tick, 1);
    };
    tick();
  });
  await new Promise<void>((resolve) => {
    finished = () => {
      if (open === 0 && waiting.length === 0) resolve();
    };
    finished();
  });
  for (const agent of agents) agent.destroy();
  return summarize(latencies, errors);
}

function summarize(latencies: number[], errors: number): Latencies {
  const sorted = latencies.sort((a, b) => a - b);
  return {
    ...{ requests: sorted.length, errors, max: sorted.at(-1) ?? Number.NaN },
    ...{ p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95) },
    ...{ p99: percentile(sorted, 0.99), p999: percentile(sorted, 0.999) },
  };
}

/** What a fast request takes a server, in ms; some of it is the client's. */
const FAST_MS = 0.1;

/**
 * The same arrivals at one queue with `servers` servers, first come first served: what
 * moving connections without cost could reach.
 */
export function oneQueue(load: Load, servers: number): Latencies {
  const freeAt = new Array<number>(servers).fill(0);
  const latencies: number[] = [];
  for (const { atMs, slow } of schedule(load)) {
    const first = freeAt.indexOf(Math.min(...freeAt));
    const endMs = Math.max(atMs, freeAt[first] as number) + (slow ? load.slowMs : FAST_MS);
    freeAt[first] = endMs;
    if (!slow && atMs >= load.warmup * 1000) latencies.push(endMs - atMs);
  }
  return summarize(latencies, 0);
}

if (require.main === module) {
  generate(JSON.parse(process.argv[2] as string) as Load).then((latencies) => {
    process.stdout.write(`${JSON.stringify(latencies)}\n`);
  });
}
