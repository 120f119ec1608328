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
import type { Load } from './arrivals.js';
import { run } from './harness.js';
import { runPoisson } from './poisson.js';
import { type AppName, type Server, type Thread, withServer } from './server.js';
import { checkWrk, runWrk, wrkVersion } from './wrk.js';

/** After the last worker listens: what starts up has done so. No evidence but that it suffices. */
const SETTLE_MS = 1_000;

const sum = (threads: readonly Thread[], key: 'cpuUs' | 'wakeups') =>
  threads.reduce((total, thread) => total + thread[key], 0);

async function watched(server: Server, during: () => Promise<unknown>) {
  const look = () => {
    const governor = server.governor();
    return {
      ...{ at: performance.now(), all: sum(server.threads(), 'wakeups') },
      ...{ cpuUs: sum(governor, 'cpuUs'), wakeups: sum(governor, 'wakeups') },
    };
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
    const { seconds = 0, connections = 0, workers = 0, fast = 0, slow = 0, ms = 0 } = flags;
    const app: AppName = variant === 'stalls' ? 'stall' : 'hello';
    const load: Load = {
      ...{ warmup: 0, seconds, connections, seed: round + 1 },
      ...{ fastPerSecond: fast, fastMs: 0, slowPerSecond: slow, slowMs: ms },
    };
    return withServer('gyre', app, workers, (server) =>
      watched(server, () => {
        if (variant === 'idle') return sleep(seconds * 1000);
        if (variant === 'hello') return runWrk(server.port, { connections, seconds });
        return runPoisson(server.port, load);
      }),
    );
  },
});
