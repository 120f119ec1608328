/**
 * A process that leaves nothing of one CPU to others: what shares a machine with a server.
 *
 * The file is both ends: {@link withBurner} is for the benchmarks.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setAffinity } from '../src/native.js';
import { CannotRun } from './failures.js';
import { endsWithUs } from './groups.js';

/** Burns `cpu` while `use` runs. */
export async function withBurner<T>(cpu: number, use: () => Promise<T>): Promise<T> {
  const child = spawn(process.execPath, [__filename, String(cpu)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // A session of its own, as the server and anything in another container has: Linux shares
    // CPUs out between sessions first (sched(7), autogroup).
    detached: true,
  });
  endsWithUs(child);
  const exited = once(child, 'exit');
  try {
    const [first] = await Promise.race([once(child.stdout, 'data'), exited]);
    if (String(first) !== 'burning\n') throw new CannotRun(`nothing burns CPU ${cpu}`);
    return await use();
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
}

if (require.main === module) {
  const parent = process.ppid;
  setAffinity([Number(process.argv[2])]);
  process.stdout.write('burning\n', () => {
    while (process.ppid === parent); // the benchmark may be killed
  });
}
