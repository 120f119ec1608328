/**
 * What the machine lets this process use: CPUs, CPU time and descriptors. Main thread only.
 *
 * The cgroup files are read here and not through os.availableParallelism(),
 * which rounds and has been wrong below one CPU.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null; // absent controller, hidden hierarchy or no permission: no limit known
  }
}

/** CPUs that `quota` µs of CPU time in each `period` µs amount to, or Infinity. */
function cpusOf(quota: string | undefined, period: string | undefined): number {
  const quotaUs = Number(quota);
  const periodUs = Number(period);
  const limited = Number.isFinite(quotaUs) && quotaUs > 0 && periodUs > 0;
  return limited ? quotaUs / periodUs : Number.POSITIVE_INFINITY;
}

/** `group` and its ancestors, nearest first, as directories under `mount`. */
function lineage(mount: string, group: string): string[] {
  const dirs: string[] = [];
  for (let at = path.posix.normalize(`/${group}`); ; at = path.posix.dirname(at)) {
    dirs.push(path.join(mount, at));
    if (at === '/') return dirs;
  }
}

/** mountinfo writes a space, a tab, a newline and a backslash as \ooo. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/**
 * The CPU quota of this process in CPUs (1.5: 150 ms in each 100 ms), Infinity if
 * there is none. The smallest of its own group's and every ancestor's, in both
 * cgroup versions.
 *
 * @param root where `/proc` and `/sys` are; a parameter for tests.
 */
export function cpuQuota(root = '/'): number {
  const membership = read(path.join(root, 'proc/self/cgroup')) ?? '';
  const mounts = read(path.join(root, 'proc/self/mountinfo')) ?? '';
  let cpus = Number.POSITIVE_INFINITY;
  for (const line of mounts.split('\n')) {
    // 36 35 98:0 /group-root /mount/point opts - type source super-options
    const [before, after] = line.split(' - ');
    const fields = before?.split(' ') ?? [];
    const [type, , options] = after?.split(' ') ?? [];
    const version2 = type === 'cgroup2';
    if (!version2 && !(type === 'cgroup' && options?.split(',').includes('cpu'))) continue;
    const groupRoot = unescaped(fields[3] ?? '/');
    const mountPoint = path.join(root, unescaped(fields[4] ?? '/'));
    // 0::/a/b is version 2; 4:cpu,cpuacct:/a/b is version 1.
    for (const entry of membership.split('\n')) {
      const [, controllers, ...rest] = entry.split(':');
      const mine = version2 ? controllers === '' : controllers?.split(',').includes('cpu');
      if (!mine) continue;
      // In a container the mount shows only the subtree from groupRoot down.
      const group = rest.join(':');
      const below = path.posix.relative(groupRoot, group);
      const inside = below.startsWith('..') ? group : below;
      for (const dir of lineage(mountPoint, inside)) {
        if (version2) {
          const [quota, period] = (read(path.join(dir, 'cpu.max')) ?? '').trim().split(' ');
          cpus = Math.min(cpus, cpusOf(quota, period));
        } else {
          const quota = read(path.join(dir, 'cpu.cfs_quota_us'))?.trim();
          const period = read(path.join(dir, 'cpu.cfs_period_us'))?.trim();
          cpus = Math.min(cpus, cpusOf(quota, period));
        }
      }
    }
  }
  return cpus;
}

/**
 * Workers that `'auto'` means: one for each usable CPU, but no more than the quota
 * pays for in full, and never less than 1. Rounding a quota up would let the
 * workers together use it up early in a period and then all stand still.
 */
export function autoWorkers(usableCpus: number, quotaCpus: number): number {
  return Math.max(1, Math.min(usableCpus, Math.floor(quotaCpus)));
}

/** The soft limit on descriptors of this process (getrlimit(2), RLIMIT_NOFILE); Infinity where there is no /proc. */
export function descriptorLimit(): number {
  const soft = Number(/^Max open files\s+(\d+)/m.exec(read('/proc/self/limits') ?? '')?.[1]);
  return soft > 0 ? soft : Number.POSITIVE_INFINITY;
}
