/** Benchmarks one after the other, each as a process. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

export interface Run {
  readonly name: string;
  readonly args: readonly string[];
  /** Name of its file, where results are kept. Default: `name`. */
  readonly file?: string;
}

/**
 * Sets the exit code to 1 when one of them could not run; the others still do.
 *
 * @param folder where each writes its report as JSON; null: nowhere
 */
export function runSeries(runs: readonly Run[], folder: string | null): void {
  for (const { name, args, file = name } of runs) {
    const json = folder === null ? [] : ['--json', path.join(folder, `${file}.json`)];
    const { status } = spawnSync(
      process.execPath,
      [path.join(__dirname, `${name}.js`), ...args, ...json],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    if (status !== 0) process.exitCode = 1; // it has said why
  }
}
