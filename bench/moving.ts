/**
 * Question: what does it cost to move a connection, and how long does a move pause the
 * worker that it takes from?
 *
 * Chaos: connections move at random, idle ones too, as fast as they can, under fast
 * requests. Stalls: they move away from a worker that burns CPU, as in the stall
 * benchmark. The cost of a move is what the whole server used more of the CPUs, per move, than
 * a server with moving off did for the same arrivals right before. Under stalls there
 * are few moves and most of the CPU time is the burning, so there it is a rough figure.
 *
 * The scoreboard counts pauses by powers of two, so a percentile here is the power above it.
 */
import { type Load, loadOf } from './arrivals.js';
import { VoidRun } from './failures.js';
import { run } from './harness.js';
import { runPoisson } from './poisson.js';
import { type Server, withServer } from './server.js';
import type { SystemName } from './systems.js';

const LOADS = {
  chaos: { system: 'hosted-chaos', burns: false },
  stalls: { system: 'hosted', burns: true },
} as const satisfies Record<string, { system: SystemName; burns: boolean }>;

/** Sums over all workers; the scoreboard counts modulo 2^32, which no run here reaches. */
async function counts(server: Server) {
  const { workers } = await server.snapshot();
  const sum = (key: 'received' | 'rescued' | 'pauses' | 'pauseUs') =>
    workers.reduce((total, row) => total + row[key], 0);
  return {
    ...{ received: sum('received'), rescued: sum('rescued') },
    ...{ pauses: sum('pauses'), pauseUs: sum('pauseUs') },
    ...{ cpuUs: server.cpuUs(), governorUs: server.governor().cpuUs },
    pausesByUs: (workers[0]?.pausesByUs ?? []).map((_, bucket) =>
      workers.reduce((total, row) => total + (row.pausesByUs[bucket] ?? 0), 0),
    ),
  };
}

/** The least power of two, in µs, that a `share` of the pauses was shorter than. */
function pausePercentile(pausesByUs: readonly number[], share: number): number {
  const all = pausesByUs.reduce((total, count) => total + count, 0);
  let seen = 0;
  const bucket = pausesByUs.findIndex((count) => {
    seen += count;
    return seen >= share * all;
  });
  return 2 ** (bucket + 3);
}

/** What grew in the course of a load. */
function growth(system: SystemName, workers: number, load: Load) {
  return withServer(system, 'stall', workers, async (server) => {
    const before = await counts(server);
    await runPoisson(server.port, load);
    const after = await counts(server);
    const grew = (key: 'received' | 'rescued' | 'pauses' | 'pauseUs' | 'cpuUs' | 'governorUs') =>
      after[key] - before[key];
    return {
      ...{ received: grew('received'), rescued: grew('rescued'), cpuUs: grew('cpuUs') },
      ...{ pauses: grew('pauses'), pauseUs: grew('pauseUs'), governorUs: grew('governorUs') },
      pausesByUs: after.pausesByUs.map((count, i) => count - (before.pausesByUs[i] ?? 0)),
    };
  });
}

run({
  name: 'moving',
  question: 'what does it cost to move a connection, and how long does it pause a worker?',
  pinning: 'each gyre worker to one CPU; the governor and the load not',
  flags: {
    rounds: 5,
    ...{ seconds: 5, connections: 64, workers: 2 },
    ...{ fast: 1500, slow: 8, ms: 50 },
  },
  fractions: ['slow'],
  metrics: {
    moves: { unit: 'moves/s', digits: 1 },
    perPause: { unit: 'moves per pause', digits: 2 },
    pause: { unit: 'µs per pause, mean', digits: 1, better: 'less' },
    pauseP50: { unit: 'µs, half of the pauses were shorter', digits: 0, better: 'less' },
    pauseP99: { unit: 'µs, 99% of the pauses were shorter', digits: 0, better: 'less' },
    governor: { unit: 'µs of CPU of the governor per move', digits: 1, better: 'less' },
    cost: { unit: 'µs of CPU of all threads per move', digits: 0, better: 'less' },
  },
  variants: Object.keys(LOADS),
  comparisons: [],
  async measure(variant, flags, round) {
    const { seconds, workers, slow } = flags;
    const { system, burns } = LOADS[variant as keyof typeof LOADS];
    const load = loadOf({ ...flags, slow: burns ? slow : 0 }, round);
    const still = await growth('hosted-still', workers, load);
    const moving = await growth(system, workers, load);
    if (moving.received === 0 || moving.pauses === 0) throw new VoidRun('nothing moved');
    return {
      moves: moving.received / seconds,
      perPause: moving.rescued / moving.pauses,
      pause: moving.pauseUs / moving.pauses,
      pauseP50: pausePercentile(moving.pausesByUs, 0.5),
      pauseP99: pausePercentile(moving.pausesByUs, 0.99),
      governor: moving.governorUs / moving.received,
      cost: (moving.cpuUs - still.cpuUs) / moving.received,
    };
  },
});
