/**
 * Question: how long do requests wait that come through a load balancer's few long-lived
 * connections?
 *
 * nginx stands in front, with a pool of 8 connections to the server, and as many clients.
 * Where a connection stays with the worker that accepted it, 8 of them fall unevenly on
 * the workers, for as long as the pool lives, and nginx prefers the one that it used last.
 * Even: every request computes for 1 ms, so it is the sheer number that one worker has
 * more of. Stalls: beside them a few burn CPU, as in the stall benchmark. Latency counts
 * from the moment a request was due.
 */
import { loadOf } from './arrivals.js';
import { run } from './harness.js';
import { CURVE_PERCENTILES } from './latencies.js';
import { checkNginx, nginxVersion, withNginx } from './nginx.js';
import { runPoisson } from './poisson.js';
import { withServer } from './server.js';
import type { SystemName } from './systems.js';

const SYSTEM_NAMES: readonly SystemName[] = ['gyre', 'gyre-still', 'cluster-rr', 'cluster-none'];
const LOADS = ['even', 'stalls'] as const;

run({
  name: 'upstream',
  question: "how long do requests wait that come through a balancer's few connections?",
  pinning: 'gyre and gyre-still: each worker on one CPU; the others, nginx and the load: none',
  flags: {
    rounds: 5,
    ...{ seconds: 8, warmup: 1, connections: 8, workers: 2 },
    ...{ fast: 600, work: 1, slow: 4, ms: 50 }, // 0.8 of a CPU, should all fall on one worker
  },
  fractions: ['work', 'slow'],
  metrics: {
    p50: { unit: 'ms', digits: 2, better: 'less' },
    p95: { unit: 'ms', digits: 2, better: 'less' },
    p99: { unit: 'ms', digits: 2, better: 'less' },
    p999: { unit: 'ms', digits: 2, better: 'less' },
    late: { unit: 'ms that the generator was late, p99', digits: 2 },
    generator: { unit: '% of one CPU, used by the generator', digits: 1 },
  },
  curves: { of: 'requests, ms', percentiles: CURVE_PERCENTILES },
  variants: LOADS.flatMap((load) => SYSTEM_NAMES.map((system) => `${system} ${load}`)),
  comparisons: (['p50', 'p95', 'p99'] as const).flatMap((metric) =>
    LOADS.flatMap((load) =>
      SYSTEM_NAMES.slice(1).map((rival) => ({
        ...{ metric, of: `gyre ${load}`, to: `${rival} ${load}` },
      })),
    ),
  ),
  check: checkNginx,
  programs: nginxVersion,
  measure: (variant, flags, round) => {
    const { connections, workers, slow } = flags;
    const [system, kind] = variant.split(' ') as [SystemName, (typeof LOADS)[number]];
    const load = loadOf({ ...flags, slow: kind === 'stalls' ? slow : 0 }, round);
    return withServer(system, 'stall', workers, (server) =>
      withNginx(server.port, connections, async (port) => {
        const { fast: waited, late, cpuPercent } = await runPoisson(port, load);
        const { p50, p95, p99, p999, curve } = waited;
        return { p50, p95, p99, p999, curve, late: late.p99, generator: cpuPercent };
      }),
    );
  },
});
