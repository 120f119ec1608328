/** Process groups that a benchmark starts, and that end when it does, whatever ends it. */
import type { ChildProcess } from 'node:child_process';
import os from 'node:os';

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) killGroup(child);
});
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(128 + os.constants.signals[signal])); // as a shell says it
}

/** Ends `child`, which leads a process group of its own, when this process ends. */
export function endsWithUs(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}

/** Kills `child` and all that it has started in its group. */
export function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // all of it has ended
  }
}
