/**
 * Question: how much memory does one more worker cost, as a gyre thread and as a
 * node:cluster process?
 *
 * Each sample is the slope through what the whole server holds with 1, 2 and 4 workers,
 * each in processes of their own: when it has just started, and after a load of the same
 * length on each. RSS, which top shows, charges a page that several processes share, such
 * as node's code, to each of them. PSS charges it once, so it is what the machine loses;
 * other node processes on the machine, this one included, lower it a little for a cluster.
 *
 * After a load most of it is the application's own heap, which no runtime takes away:
 * above all V8's young generation, which may grow to 48 MB in a thread as in a process.
 */
import { run } from './harness.js';
import type { Memory } from './proc.js';
import { withServer } from './server.js';
import { slopeOf } from './statistics.js';
import type { AppName, SystemName } from './systems.js';
import { checkWrk, runWrk, wrkVersion } from './wrk.js';

const WORKERS = [1, 2, 4] as const;

run({
  name: 'memory',
  question: 'how much memory does one more worker cost?',
  pinning: 'each gyre worker to one CPU in turn; the rivals and the load generator not',
  flags: { rounds: 3, seconds: 2, connections: 64 },
  metrics: {
    rssIdle: { unit: 'MB of RSS per added worker, just started', digits: 1, better: 'less' },
    pssIdle: { unit: 'MB of PSS per added worker, just started', digits: 1, better: 'less' },
    rss: { unit: 'MB of RSS per added worker, after a load', digits: 1, better: 'less' },
    pss: { unit: 'MB of PSS per added worker, after a load', digits: 1, better: 'less' },
    pss2: { unit: 'MB of PSS in all with 2 workers, after a load', digits: 1, better: 'less' },
  },
  variants: ['gyre hello', 'cluster-rr hello', 'gyre express', 'cluster-rr express'],
  comparisons: (['rssIdle', 'pssIdle', 'rss', 'pss', 'pss2'] as const).flatMap((metric) =>
    ['hello', 'express'].map((app) => ({
      ...{ metric, of: `gyre ${app}`, to: `cluster-rr ${app}` },
    })),
  ),
  check: checkWrk,
  programs: wrkVersion,
  async measure(variant, { seconds, connections }) {
    const [system, app] = variant.split(' ') as [SystemName, AppName];
    const idle: Memory[] = [];
    const loaded: Memory[] = [];
    for (const workers of WORKERS) {
      await withServer(system, app, workers, async (server) => {
        idle.push(server.memory());
        await runWrk(server.port, { connections, seconds });
        loaded.push(server.memory());
      });
    }
    const perWorker = (held: readonly Memory[], key: keyof Memory) =>
      slopeOf(WORKERS.map((workers, at) => [workers, (held[at] as Memory)[key]]));
    return {
      rssIdle: perWorker(idle, 'rssMb'),
      pssIdle: perWorker(idle, 'pssMb'),
      rss: perWorker(loaded, 'rssMb'),
      pss: perWorker(loaded, 'pssMb'),
      pss2: (loaded[WORKERS.indexOf(2)] as Memory).pssMb,
    };
  },
});
