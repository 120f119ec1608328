/**
 * Question: what does the governor use of the CPUs, while the process is idle and under
 * load?
 *
 * The governor is two threads: the one that decides, and the one beside it that watches
 * the workers. Idle: nothing is sent. Hello: as many requests as the workers can answer.
 * Stalls: the load of the stall benchmark. A wake-up is a sleep that ended (proc(5):
 * voluntary_ctxt_switches). Those of the other threads are shown beside them: an idle
 * process should not wake up at all.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { loadOf } from './arrivals.js';
import { run } from './harness.js';
import { runPoisson } from './poisson.js';
import { type Server, withServer } from './server.js';
import type { AppName } from './systems.js';
import { checkWrk, runWrk, wrkVersion } from './wrk.js';

/** After the last worker listens: what starts up has done so. No evidence but that it suffices. */
const SETTLE_MS = 1_000;

async function watched(server: Server, during: () => Promise<unknown>) {
  const look = () => {
    const all = server.threads().reduce((sum, { wakeups }) => sum + wakeups, 0);
    return { at: performance.now(), all, ...server.governor() };
  };
  await sleep(SETTLE_MS);
  const before = look();
  await during();
  const after = look();
  const seconds = (after.at - before.at) / 1000;
  const wakeups = (after.wakeups - before.wakeups) / seconds;
  return {
    cpu: (after.cpuUs - before.cpuUs) / seconds / 10_000, // µs per s, in percent
    wakeups,
    others: (after.all - before.all) / seconds - wakeups,
  };
}

run({
  name: 'governor',
  question: 'what does the governor use of the CPUs, idle and under load?',
  pinning: 'each gyre worker to one CPU; the governor and the load not',
  flags: {
    rounds: 3,
    ...{ seconds: 10, connections: 64, workers: 2 },
    ...{ fast: 1500, slow: 8, ms: 50 },
  },
  fractions: ['slow'],
  metrics: {
    cpu: { unit: '% of one CPU, used by the governor', digits: 3, better: 'less' },
    wakeups: { unit: 'wake-ups/s of the governor', digits: 1, better: 'less' },
    others: { unit: 'wake-ups/s of the other threads', digits: 1, better: 'less' },
  },
  variants: ['idle', 'hello', 'stalls'],
  comparisons: [],
  check: checkWrk,
  programs: wrkVersion,
  measure(variant, flags, round) {
    const app: AppName = variant === 'stalls' ? 'stall' : 'hello';
    return withServer('gyre', app, flags.workers, (server) =>
      watched(server, () => {
        if (variant === 'idle') return sleep(flags.seconds * 1000);
        if (variant === 'hello') return runWrk(server.port, flags);
        return runPoisson(server.port, loadOf(flags, round));
      }),
    );
  },
});
