/** What Linux shows of processes, their threads and sockets: proc(5), and ss(8). */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Descriptors that this process has open, with what they refer to. */
export function descriptors(): Map<number, string> {
  const open = new Map<number, string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      open.set(Number(fd), readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      // the one that listed the directory
    }
  }
  return open;
}

/** CPUs as the kernel prints them (0-2,5). */
export function cpusOf(list: string): number[] {
  return list
    .trim()
    .split(',')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** A kernel thread (proc(5): status). */
export interface KernelThread {
  readonly tid: number;
  readonly name: string;
  /** CPUs that it may use, as a list. */
  readonly cpus: string;
  /** How often it has slept and was woken. */
  readonly wakeups: number;
}

/** Kernel threads of a process, by default this one. */
export function threads(pid: number | string = 'self'): KernelThread[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    let status: string;
    try {
      status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    } catch {
      return []; // it has ended since it was listed
    }
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
    const wakeups = Number(field('voluntary_ctxt_switches'));
    const cpus = field('Cpus_allowed_list');
    return [{ tid: Number(tid), name: field('Name'), cpus, wakeups }];
  });
}

/** CPU time that process `pid` has used, in ms: proc(5), utime and stime in ticks of 10 ms. */
export function cpuMs(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const fields = rest.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Resident memory of process `pid`, in MB. */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

/** Anonymous memory of process `pid` that is in RAM, in MB: heaps and stacks, no files. */
export function memoryMbOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

/** Lengths of the accept queues of the sockets that listen on `port`; null without ss. */
export function backlogs(port: number): number[] | null {
  const { status, stdout } = spawnSync('ss', ['-Hltn', `sport = :${port}`], { encoding: 'utf8' });
  if (status !== 0) return null;
  const lines = stdout.trim().split('\n');
  return lines.map((line) => Number(line.split(/\s+/)[2]));
}
