/**
 * What the kernel tells of this process and its threads, through /proc: proc(5). Main thread only;
 * reads are small and never wait. Null where there is no /proc.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks in /proc are of 10 ms on every Linux (USER_HZ). */
const TICK_SECONDS = 0.01;

interface ThreadTimes {
  /** On a CPU. */
  readonly cpuSeconds: number | null;
  /** Ready to run, without a CPU. */
  readonly runDelaySeconds: number | null;
}

const UNKNOWN: ThreadTimes = { cpuSeconds: null, runDelaySeconds: null };

/** What thread `tid` of this process has used; null: it has ended, or was never known. */
export function threadTimes(tid: number | null): ThreadTimes {
  if (tid === null) return UNKNOWN;
  const schedstat = read(`/proc/self/task/${tid}/schedstat`)?.split(' ').map(Number);
  if (schedstat !== undefined) {
    const [cpuNs = 0, waitedNs = 0] = schedstat;
    return { cpuSeconds: cpuNs / 1e9, runDelaySeconds: waitedNs / 1e9 };
  }
  // A kernel without scheduler statistics.
  const stat = read(`/proc/self/task/${tid}/stat`);
  if (stat === null) return UNKNOWN;
  const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(afterName[11]) + Number(afterName[12]);
  return { cpuSeconds: ticks * TICK_SECONDS, runDelaySeconds: null };
}

/** How many descriptors this process has open, the one that counts them included. */
export function openDescriptors(): number | null {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return null;
  }
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
