/**
 * Reads the machine's description: sysfs, CPUID and the page size. Any thread may call it; it blocks
 * for some 20 µs a file, and a machine has about 20 files for each CPU.
 *
 * A directory named by a user may hold anything, so a file is only read if it is one (a FIFO would
 * be waited for), and no more of it than a real one has.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import path from 'node:path';
import { affinity, cpuid, hasLinuxParts } from '../native.js';
import { identify } from '../scheduler/cpuid.js';
import { describeMachine } from '../scheduler/machine.js';
import { CPUS_MAX, idList, type Tree } from '../scheduler/sysfs-text.js';
import type { Topology } from '../scheduler/topology.js';

/** sysfs gives a page, or for long CPU lists a few. */
const FILE_BYTES_MAX = 65_536;
const buffer = Buffer.allocUnsafe(FILE_BYTES_MAX);

/** The beginning of a file, or null if it is none or cannot be read. */
function readStart(file: string): string | null {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    if (!fstatSync(fd).isFile()) return null;
    return buffer.toString('utf8', 0, readSync(fd, buffer));
  } catch {
    return null; // a sysfs file may refuse at any time: the CPU went offline
  } finally {
    closeSync(fd);
  }
}

/** The tree below `root`. */
function sysfsTree(root: string): Tree {
  return {
    read: (file) => readStart(path.join(root, file)),
    list(dir) {
      try {
        return readdirSync(path.join(root, dir));
      } catch {
        return [];
      }
    },
  };
}

/** Of the first mapping, which is the program itself; proc(5). */
function pageBytes(): number | null {
  const found = /^KernelPageSize:\s+(\d{1,6}) kB$/m.exec(readStart('/proc/self/smaps') ?? '');
  return found === null ? null : Number(found[1]) * 1024;
}

/** CPUs that this process may run on, or null where nobody knows. */
function inheritedAffinity(): readonly number[] | null {
  try {
    if (hasLinuxParts) return affinity();
  } catch {
    // a seccomp filter may forbid the call
  }
  const found = /^Cpus_allowed_list:\s+(.*)$/m.exec(readStart('/proc/self/status') ?? '');
  return idList(found?.[1] ?? null, CPUS_MAX);
}

/**
 * This machine, or with `root` the one whose sysfs was copied there: then all of its CPUs
 * count as usable, and what sysfs does not have is unknown.
 *
 * @throws GyreError `ERR_GYRE_TOPOLOGY` if no CPU is described.
 */
export function readTopology(root?: string): Topology {
  if (root !== undefined) {
    const unknown = { affinity: null, processor: null, pageBytes: null };
    return describeMachine(sysfsTree(root), unknown);
  }
  return describeMachine(sysfsTree('/sys'), {
    affinity: inheritedAffinity(),
    processor: identify(cpuid),
    pageBytes: pageBytes(),
  });
}
