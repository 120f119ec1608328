/**
 * Question: when another process burns the CPU of a worker, how long do requests wait? And what
 * does it cost to be prepared for that when there is none?
 *
 * Requests of half a ms arrive by a Poisson process (poisson.ts) and leave the workers half of the
 * time or more to sleep. In the variants that end
 * in `-burnt` a process burns the CPU of worker 0 from before the first of them to after the last.
 * The warm-up is long enough for a soft pin to give way, which takes some 0.2 s.
 */
import { affinity } from '../src/native.js';
import { detectCapabilities } from '../src/runtime/capabilities.js';
import { loadOf } from './arrivals.js';
import { withBurner } from './burner.js';
import { CannotRun } from './failures.js';
import { run } from './harness.js';
import { CURVE_PERCENTILES } from './latencies.js';
import { runPoisson } from './poisson.js';
import { withServer } from './server.js';
import type { SystemName } from './systems.js';

const PINS = {
  soft: 'hosted',
  hard: 'hosted-hard',
  off: 'hosted-unpinned',
} as const satisfies Record<string, SystemName>;
const BURNT = '-burnt';
const burnt = (pin: string) => `${pin}${BURNT}`;

run({
  name: 'pinning',
  question: 'when another process burns the CPU of a worker, how long do requests wait?',
  pinning: 'as the variants say; the load: none; what burns: to the CPU of worker 0',
  flags: {
    rounds: 5,
    ...{ seconds: 8, warmup: 2, connections: 64, workers: 2 },
    ...{ fast: 1000, ms: 0.5 },
  },
  fractions: ['ms'],
  metrics: {
    p50: { unit: 'ms', digits: 2, better: 'less' },
    p90: { unit: 'ms', digits: 2, better: 'less' },
    p95: { unit: 'ms', digits: 2, better: 'less' },
    p99: { unit: 'ms', digits: 2, better: 'less' },
    p999: { unit: 'ms', digits: 2, better: 'less' },
    max: { unit: 'ms', digits: 2, better: 'less' },
    widened: { unit: 'times that a worker got more CPUs', digits: 0 },
    narrowed: { unit: 'times that one lost some', digits: 0 },
    late: { unit: 'ms that the generator was late, p99', digits: 2 },
  },
  curves: { of: 'requests, ms', percentiles: CURVE_PERCENTILES },
  variants: [...Object.keys(PINS), ...Object.keys(PINS).map(burnt)],
  comparisons: (['p50', 'p95', 'p99', 'p999'] as const).flatMap((metric) => [
    { metric, of: burnt('soft'), to: burnt('off') },
    { metric, of: burnt('soft'), to: burnt('hard') },
    { metric, of: 'soft', to: 'hard' },
    { metric, of: 'soft', to: 'off' },
  ]),
  check() {
    const { reason } = detectCapabilities().widen;
    if (reason !== undefined) throw new CannotRun(reason);
    if (affinity().length < 2) throw new CannotRun('there is one CPU, and nowhere to go');
  },
  measure(variant, flags, round) {
    const { ms: work, ...others } = flags;
    const load = loadOf({ ...others, work }, round);
    const pin = variant.replace(BURNT, '') as keyof typeof PINS;
    return withServer(PINS[pin], 'stall', flags.workers, async (server) => {
      const [first] = (await server.snapshot()).workers;
      const home = first?.cpu ?? (affinity()[0] as number);
      const loaded = () => runPoisson(server.port, load);
      const outcome = variant === pin ? await loaded() : await withBurner(home, loaded);
      const { workers: rows } = await server.snapshot();
      const sum = (key: 'widened' | 'narrowed') => rows.reduce((all, row) => all + row[key], 0);
      const { p50, p90, p95, p99, p999, max, curve } = outcome.fast;
      return {
        ...{ p50, p90, p95, p99, p999, max, curve, late: outcome.late.p99 },
        ...{ widened: sum('widened'), narrowed: sum('narrowed') },
      };
    });
  },
});
