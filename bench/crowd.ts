/**
 * Keep-alive connections that do nothing: each has had one answer, and stays open. They
 * are in a process of their own, with descriptors of its own, and use no CPU once they stand.
 *
 * The file is both ends: {@link withCrowd} is for the benchmarks.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Connection, requestFor } from './connection.js';
import { CannotRun, VoidRun } from './failures.js';

/** Opened at a time: below every accept queue here (511). */
const BATCH = 100;
/** Descriptors that a process has besides its connections. No evidence but that it suffices. */
const SPARE_DESCRIPTORS = 500;

/** @throws CannotRun where the limit on descriptors forbids a crowd of `size`. */
export function checkCrowd(size: number): void {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = Number(
    /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY,
  );
  const needed = size + SPARE_DESCRIPTORS;
  if (hard >= needed) return;
  throw new CannotRun(`${size} connections need \`ulimit -Hn ${needed}\`, and it is ${hard}`);
}

/** @throws VoidRun when one of the connections was lost before `use` was done. */
export async function withCrowd<T>(port: number, size: number, use: () => Promise<T>): Promise<T> {
  const child = spawn(process.execPath, [__filename, String(port), String(size)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  try {
    const [first] = await Promise.race([once(child.stdout, 'data'), exited]);
    if (String(first) !== 'ready\n') throw new VoidRun(`no crowd of ${size} connections`);
    const result = await use();
    if (child.exitCode !== null) throw new VoidRun('an idle connection was lost');
    return result;
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
}

async function gather(port: number, size: number): Promise<void> {
  const request = requestFor('/');
  const lost = (error: Error) => {
    process.stderr.write(`crowd: ${error.message}\n`);
    process.exit(1);
  };
  const join = async () => {
    const connection = await Connection.open(port, lost);
    await new Promise<void>((resolve, reject) => {
      connection.send(request, (error) => (error === null ? resolve() : reject(error)));
    });
  };
  for (let standing = 0; standing < size; standing += BATCH) {
    await Promise.all(Array.from({ length: Math.min(BATCH, size - standing) }, join));
  }
  process.stdout.write('ready\n');
}

if (require.main === module) {
  process.stdin.on('end', () => process.exit(0)).resume(); // the benchmark is gone
  const [port, size] = process.argv.slice(2).map(Number);
  gather(port as number, size as number).catch((error) => {
    process.stderr.write(`crowd: ${error.message}\n`);
    process.exit(1);
  });
}
