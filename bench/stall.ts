/**
 * Question: when a few requests burn CPU, how long do the others wait?
 *
 * Fast and slow requests arrive by a Poisson process on keep-alive connections, and
 * latency counts from the moment a request was due (poisson.ts). All variants of a round
 * face the same arrivals. Beside the servers stands the limit: one queue in front of as
 * many processors as there are workers, simulated with the same arrivals, which no server that
 * does not interrupt a request can beat.
 */
import { type Load, loadOf, oneQueue } from './arrivals.js';
import { CannotRun } from './failures.js';
import { run } from './harness.js';
import { CURVE_PERCENTILES, type Percentiles } from './latencies.js';
import { runPoisson } from './poisson.js';
import { withServer } from './server.js';
import { missingSystem, programsOf, type SystemName } from './systems.js';

/** What is no server: the simulation. */
const LIMIT = 'limit';

/** How many spares there may be; as it comes it is 4 on two CPUs. */
const SPARES = ['gyre-spares-0', 'gyre-spares-1', 'gyre-spares-2', 'gyre-spares-8'];

const RIVALS = ['gyre-still', 'cluster-rr', 'cluster-none', 'threads', 'transfer', 'watt', 'go'];

/** What a simulated generator uses of the CPUs, and how late it is. */
const NOTHING = { cpuPercent: 0, late: 0 };

async function latencies(variant: string, load: Load, workers: number) {
  if (variant === LIMIT) return { ...oneQueue(load, workers), ...NOTHING };
  return withServer(variant as SystemName, 'stall', workers, async ({ port }) => {
    const { fast, slow, late, cpuPercent } = await runPoisson(port, load);
    return { fast, slow, late: late.p99, cpuPercent };
  });
}

function shown(fast: Percentiles, slow: Percentiles) {
  const { p50, p90, p95, p99, p999, max, curve } = fast;
  return { p50, p90, p95, p99, p999, max, curve, slow50: slow.p50, slow95: slow.p95 };
}

run({
  name: 'stall',
  question: 'when a few requests burn CPU, how long do the others wait?',
  pinning: 'gyre and gyre-still: each worker on one CPU; the others and the load: none',
  flags: {
    rounds: 5,
    ...{ seconds: 8, warmup: 1, connections: 64, workers: 2 },
    ...{ fast: 1500, slow: 8, ms: 50 },
  },
  fractions: ['slow'],
  metrics: {
    p50: { unit: 'ms', digits: 2, better: 'less' },
    p90: { unit: 'ms', digits: 2, better: 'less' },
    p95: { unit: 'ms', digits: 2, better: 'less' },
    p99: { unit: 'ms', digits: 2, better: 'less' },
    p999: { unit: 'ms', digits: 2, better: 'less' },
    max: { unit: 'ms', digits: 2, better: 'less' },
    slow50: { unit: 'ms, slow requests, p50', digits: 1, better: 'less' },
    slow95: { unit: 'ms, slow requests, p95', digits: 1, better: 'less' },
    late: { unit: 'ms that the generator was late, p99', digits: 2 },
    generator: { unit: '% of one CPU, used by the generator', digits: 1 },
  },
  curves: { of: 'fast requests, ms', percentiles: CURVE_PERCENTILES },
  variants: ['gyre', ...RIVALS, 'gyre-unpinned', ...SPARES, 'single', LIMIT],
  comparisons: (['p50', 'p90', 'p95', 'p99', 'p999'] as const).flatMap((metric) =>
    [...RIVALS, 'gyre-unpinned', ...SPARES, LIMIT].map((to) => ({ metric, of: 'gyre', to })),
  ),
  missing: (variant) => (variant === LIMIT ? null : missingSystem(variant as SystemName)),
  programs: (variants) =>
    programsOf(variants.filter((variant) => variant !== LIMIT) as readonly SystemName[]),
  measure: async (variant, flags, round) => {
    const { seconds, workers } = flags;
    const measured = await latencies(variant, loadOf(flags, round), workers);
    if (measured.slow.count === 0) {
      throw new CannotRun(`no slow request came in ${seconds} s: --seconds has to be more`, 2);
    }
    return {
      ...shown(measured.fast, measured.slow),
      ...{ late: measured.late, generator: measured.cpuPercent },
    };
  },
});
