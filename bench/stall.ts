/**
 * Question: when a few requests burn CPU, how long do the others wait?
 *
 * Fast and slow requests arrive by a Poisson process on keep-alive connections, and
 * latency counts from the moment a request was due (poisson.ts). Beside the servers
 * stands the limit: one queue in front of as many processors as there are workers, simulated
 * with the same arrivals, which no server that does not interrupt a request can beat.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { CannotRun, run, VoidRun } from './harness.js';
import { type Latencies, type Load, oneQueue } from './poisson.js';
import { type SystemName, withServer } from './server.js';

const GENERATOR = path.join(__dirname, 'poisson.js');

/** Turns of the loop in apps/stall.js that take a ms here, measured once for all variants. */
function turnsPerMs(): number {
  let x = 1;
  const turn = (turns: number) => {
    for (let left = turns; left > 0; left--) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  };
  turn(1e7); // until it is compiled
  const rates = Array.from({ length: 5 }, () => {
    const startedAt = performance.now();
    turn(2e7);
    return 2e7 / (performance.now() - startedAt);
  });
  return Math.round(Math.max(...rates));
}

async function generate(load: Load): Promise<Latencies> {
  const child = spawn(process.execPath, [GENERATOR, JSON.stringify(load)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new CannotRun(`the load generator ended with code ${code}`);
  return JSON.parse(text) as Latencies;
}

process.env.BURN_PER_MS = String(turnsPerMs());
let seed = 0;

run({
  name: 'stall',
  question: 'when a few requests burn CPU, how long do the others wait?',
  pinning: 'gyre and gyre-move: each worker on one CPU; the others and the load: none',
  flags: {
    rounds: 5,
    ...{ seconds: 8, warmup: 1, connections: 64, workers: 2 },
    ...{ fast: 1500, slow: 8, ms: 50 },
  },
  metrics: {
    p50: { unit: 'ms', digits: 2 },
    p95: { unit: 'ms', digits: 2 },
    p99: { unit: 'ms', digits: 2 },
    p999: { unit: 'ms', digits: 2 },
  },
  variants: ['gyre-move', 'cluster-rr', 'gyre', 'cluster-none', 'gyre-move-unpinned', 'limit'],
  comparisons: (['p50', 'p95', 'p99', 'p999'] as const).flatMap((metric) =>
    ['cluster-rr', 'cluster-none', 'gyre', 'limit'].map((to) => ({ metric, of: 'gyre-move', to })),
  ),
  measure: async (variant, flags) => {
    const {
      seconds = 0,
      warmup = 0,
      connections = 0,
      workers = 0,
      fast = 0,
      slow = 0,
      ms = 0,
    } = flags;
    const load = {
      ...{ seconds, warmup, connections, fastPerSecond: fast, slowPerSecond: slow, slowMs: ms },
      seed: ++seed,
    };
    const { p50, p95, p99, p999, errors } =
      variant === 'limit'
        ? oneQueue({ ...load, port: 0 }, workers)
        : await withServer(variant as SystemName, 'stall', workers, ({ port }) =>
            generate({ ...load, port }),
          );
    if (errors > 0) throw new VoidRun(`${variant}: ${errors} requests failed`);
    return { p50, p95, p99, p999 };
  },
});
