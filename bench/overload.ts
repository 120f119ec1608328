/**
 * Question: when more is asked than can be computed, how much is still answered in time?
 *
 * Every request burns CPU and comes on a connection of its own, at random times, at 0.5, 1, 2 and 4
 * times the rate that the workers' CPUs can compute; its client leaves when its patience is
 * over. A variant is a server and a rate. With limits a server has no more connections than it can
 * answer in time: the rest is told 503 (`gyre-refuse`), or waits in a short kernel queue
 * (`gyre-wait`). Without, it works its way through requests whose clients have left.
 */
import { loadOf } from './arrivals.js';
import { run } from './harness.js';
import { runImpatient } from './impatient.js';
import { withServer } from './server.js';
import { missingSystem, type SystemName } from './systems.js';

const LIMITED = ['gyre-refuse', 'gyre-wait'] as const;
const SERVERS = [...LIMITED, 'gyre', 'cluster-rr'] as const;
const TIMES = [0.5, 1, 2, 4] as const;

const nameOf = (server: SystemName, times: number) => `${server}@${times}`;

function parse(variant: string): { server: SystemName; times: number } {
  const [server, times] = variant.split('@');
  return { server: server as SystemName, times: Number(times) };
}

run({
  name: 'overload',
  question: 'when more is asked than can be computed, how much is still answered in time?',
  pinning: 'gyre: each worker on one CPU; cluster-rr and the load: none',
  flags: {
    rounds: 3,
    ...{ seconds: 6, warmup: 2, workers: 2, ms: 10, patience: 1_000 },
  },
  metrics: {
    goodput: { unit: 'answers in time/s', digits: 1, better: 'more' },
    share: { unit: '% of what the workers can compute', digits: 0, better: 'more' },
    useful: { unit: "% of the server's CPU time, for answers in time", digits: 0, better: 'more' },
    refused: { unit: '503/s', digits: 1 },
    late: { unit: 'clients that left/s', digits: 1, better: 'less' },
    broken: { unit: 'broken connections/s', digits: 1, better: 'less' },
    p50: { unit: 'ms, answers in time', digits: 1, better: 'less' },
    p99: { unit: 'ms, answers in time', digits: 1, better: 'less' },
    generator: { unit: '% of one CPU, used by the generator', digits: 1 },
  },
  variants: SERVERS.flatMap((server) => TIMES.map((times) => nameOf(server, times))),
  // Not with servers that may answer nothing in time.
  comparisons: LIMITED.flatMap((server) =>
    [2, 4].map((times) => ({
      ...{ metric: 'goodput' as const, of: nameOf(server, times), to: nameOf(server, 1) },
    })),
  ),
  missing: (variant) => missingSystem(parse(variant).server),
  measure: (variant, flags, round) => {
    const { seconds, warmup, workers, ms, patience } = flags;
    const { server, times } = parse(variant);
    const capacity = (workers * 1000) / ms;
    const asked = { seconds, warmup, connections: 0, fast: times * capacity, work: ms };
    const load = loadOf(asked, round);
    return withServer(server, 'stall', workers, async (started) => {
      const usedBefore = started.cpuUs();
      const measured = await runImpatient(started.port, { load, patienceMs: patience });
      // The warm-up is like the rest, as far as that is concerned.
      const usedMs = (started.cpuUs() - usedBefore) / 1_000;
      const { goodput, refused, late, broken, latency, cpuPercent } = measured;
      return {
        ...{ goodput, refused, late, broken, generator: cpuPercent },
        share: (100 * goodput) / capacity,
        useful: (100 * goodput * (warmup + seconds) * ms) / usedMs,
        // Nobody was answered in less.
        p50: goodput === 0 ? patience : latency.p50,
        p99: goodput === 0 ? patience : latency.p99,
      };
    });
  },
});
