/** What Linux shows of processes, their threads and sockets: proc(5). */
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks in /proc are of 10 ms on every Linux (USER_HZ). */
const TICK_US = 10_000;

/** Process `pid` and all that it has started, and they, as far as they still run. */
export function familyOf(pid: number): number[] {
  const found = [pid];
  for (const each of found) {
    for (const tid of readdirSync(`/proc/${each}/task`)) {
      const children = readFileSync(`/proc/${each}/task/${tid}/children`, 'utf8');
      found.push(...children.split(' ').filter(Boolean).map(Number));
    }
  }
  return found;
}

/** CPU time that a process has used, in whole ticks (stat, 14 and 15). */
export function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(afterName[11]) + Number(afterName[12])) * TICK_US;
}

export interface Memory {
  /** Counts a page once for each process that has it mapped. */
  readonly rssMb: number;
  /** Shares it out among them. */
  readonly pssMb: number;
}

/** Memory of a process (smaps_rollup). */
export function memoryOf(pid: number): Memory {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mb = (field: string) =>
    Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(rollup)?.[1]) / 1024;
  return { rssMb: mb('Rss'), pssMb: mb('Pss') };
}

/** A thread as /proc shows it (comm, schedstat, status). */
export interface Thread {
  /** Cut at 15 bytes. */
  readonly name: string;
  readonly cpuUs: number;
  /** Times it slept and was woken. */
  readonly wakeups: number;
}

/** What each thread of a process has done since it began. */
export function threadsOf(pid: number): Thread[] {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).map((tid) => {
    const read = (file: string) => readFileSync(`${tasks}/${tid}/${file}`, 'utf8');
    const switches = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(read('status'))?.[1];
    return {
      name: read('comm').trim(),
      cpuUs: Number(read('schedstat').split(' ')[0]) / 1000,
      wakeups: Number(switches),
    };
  });
}

/** Listening TCP sockets of this port (net/tcp; state 0A is LISTEN). */
export function listeningSockets(port: number): number {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = ['tcp', 'tcp6'].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, 'utf8').split('\n').slice(1),
  );
  return rows.filter((row) => {
    const [, local, , state] = row.trim().split(/\s+/);
    return state === '0A' && local?.endsWith(`:${wanted}`);
  }).length;
}
