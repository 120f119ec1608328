/**
 * Question: what do 10,000 idle keep-alive connections cost a server?
 *
 * The same server is loaded twice, alone and with the crowd connected, through 64 other
 * connections. Memory is that of its processes; what the kernel keeps for a connection, about
 * as much on every server, is not in it. Nobody is rescued here: the difference between
 * gyre and gyre-still is what keeping track of that many connections costs.
 */
import { checkCrowd, withCrowd } from './crowd.js';
import { run } from './harness.js';
import { withServer } from './server.js';
import type { SystemName } from './systems.js';
import { checkWrk, runWrk, wrkVersion } from './wrk.js';

run({
  name: 'idle',
  question: 'what do 10,000 idle keep-alive connections cost a server?',
  pinning: 'each gyre worker to one CPU; the rivals and the load generator not',
  flags: {
    rounds: 3,
    ...{ seconds: 3, warmup: 1, crowd: 10_000, connections: 64, workers: 2 },
  },
  metrics: {
    alone: { unit: 'requests/s without the crowd', digits: 0, better: 'more' },
    throughput: { unit: 'requests/s with it', digits: 0, better: 'more' },
    kept: { unit: 'of the throughput kept', digits: 3, better: 'more' },
    p99Alone: { unit: 'ms without the crowd', digits: 2, better: 'less' },
    p99: { unit: 'ms with it', digits: 2, better: 'less' },
    memory: { unit: 'KB of memory (PSS) per idle connection', digits: 1, better: 'less' },
  },
  variants: ['gyre', 'gyre-still', 'cluster-rr'],
  comparisons: (['throughput', 'kept', 'p99', 'memory'] as const).flatMap((metric) =>
    ['gyre-still', 'cluster-rr'].map((to) => ({ metric, of: 'gyre', to })),
  ),
  check: checkWrk,
  programs: wrkVersion,
  measure: (variant, { seconds, warmup, crowd, connections, workers }) => {
    checkCrowd(crowd);
    // Its keep-alive connections outlast the benchmark; those of apps/hello.js end after 5 s.
    return withServer(variant as SystemName, 'stall', workers, async (server) => {
      await runWrk(server.port, { connections, seconds: warmup });
      const alone = await runWrk(server.port, { connections, seconds });
      const before = server.memory().pssMb;
      return withCrowd(server.port, crowd, async () => {
        const after = server.memory().pssMb;
        const crowded = await runWrk(server.port, { connections, seconds });
        return {
          ...{ alone: alone.requestsPerSecond, throughput: crowded.requestsPerSecond },
          kept: crowded.requestsPerSecond / alone.requestsPerSecond,
          ...{ p99Alone: alone.p99Ms, p99: crowded.p99Ms },
          memory: ((after - before) * 1024) / crowd,
        };
      });
    });
  },
});
