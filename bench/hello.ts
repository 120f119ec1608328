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
import { withServer } from './server.js';
import type { SystemName } from './systems.js';
import { CLOSED_LOOP_METRICS, checkWrk, measureWrk, wrkVersion } from './wrk.js';

run({
  name: 'hello',
  question: 'does gyre serve at least as many requests per second as node:cluster?',
  pinning: 'each gyre worker to one CPU; gyre-unpinned, the rivals and the load generator not',
  flags: { rounds: 5, seconds: 3, warmup: 1, connections: 64, workers: 2 },
  metrics: CLOSED_LOOP_METRICS,
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
  measure: (variant, flags) =>
    withServer(variant as SystemName, 'hello', flags.workers, (server) =>
      measureWrk(server, flags),
    ),
});
