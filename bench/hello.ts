/**
 * Question: does gyre serve at least as many hello-world requests per second as
 * node:cluster does on the same CPUs? And what does it cost to keep track of what may move:
 * gyre against gyre-still, neighbours in every round?
 *
 * The load generator runs on those CPUs, too, so a server is also measured by the CPU
 * time that it uses for a request: that counts what all its threads and processes do,
 * and other people's work on the machine hardly changes it.
 */
import { run } from './harness.js';
import { type SystemName, withServer } from './server.js';
import { checkWrk, runWrk, wrkVersion } from './wrk.js';

run({
  name: 'hello',
  question: 'does gyre serve at least as many requests per second as node:cluster?',
  pinning: 'each gyre worker to one CPU; gyre-unpinned, the rivals and the load generator not',
  flags: { rounds: 5, seconds: 3, warmup: 1, connections: 64, workers: 2 },
  metrics: {
    throughput: { unit: 'requests/s', digits: 0, better: 'more' },
    cpu: { unit: 'µs of CPU per request', digits: 2, better: 'less' },
    p99: { unit: 'ms', digits: 2, better: 'less' },
  },
  variants: ['gyre', 'gyre-still', 'cluster-rr', 'gyre-unpinned', 'cluster-none', 'single'],
  comparisons: (['throughput', 'cpu'] as const).flatMap((metric) => [
    { metric, of: 'gyre', to: 'gyre-still' }, // what tracking costs
    ...['cluster-rr', 'cluster-none', 'single', 'gyre-unpinned'].map((to) => ({
      ...{ metric, of: 'gyre', to },
    })),
    ...['cluster-rr', 'cluster-none'].map((to) => ({ metric, of: 'gyre-unpinned', to })),
  ]),
  check: checkWrk,
  programs: wrkVersion,
  measure: (variant, { seconds = 0, warmup = 0, connections = 0, workers = 0 }) =>
    withServer(variant as SystemName, 'hello', workers, async (server) => {
      await runWrk(server.port, { connections, seconds: warmup });
      const before = server.cpuUs();
      const { requests, requestsPerSecond, p99Ms } = await runWrk(server.port, {
        ...{ connections, seconds },
      });
      return {
        ...{ throughput: requestsPerSecond, p99: p99Ms },
        cpu: (server.cpuUs() - before) / requests,
      };
    }),
});
