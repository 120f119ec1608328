/**
 * Benchmarks one after the other, each as a process, and their reports as one text or as one
 * JSON array.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

export interface Run {
  readonly name: string;
  readonly args: readonly string[];
}

/** Sets the exit code to 1 when one of them could not run; the others still do. */
export function runSeries(runs: readonly Run[], json: boolean): void {
  const reports: string[] = [];
  for (const { name, args } of runs) {
    const { status, stdout } = spawnSync(
      process.execPath,
      [path.join(__dirname, `${name}.js`), ...args, ...(json ? ['--json'] : [])],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
        maxBuffer: Number.POSITIVE_INFINITY,
      },
    );
    if (status !== 0)
      process.exitCode = 1; // it has said why
    else if (json) reports.push(stdout.trim());
    else process.stdout.write(stdout);
  }
  if (json) process.stdout.write(`[${reports.join(',\n')}]\n`);
}
