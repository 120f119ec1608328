/**
 * Runs every benchmark, one after the other, each as a process: `npm run bench`. With
 * --json their reports come as one array; --rounds is handed on.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';

const BENCHMARKS = ['hello', 'memory', 'startup', 'false-sharing', 'stall'] as const;

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, rounds: { type: 'string' } },
});
const args = [
  ...(values.json ? ['--json'] : []),
  ...(values.rounds === undefined ? [] : ['--rounds', values.rounds]),
];
const reports: string[] = [];
for (const name of BENCHMARKS) {
  const { status, stdout } = spawnSync(
    process.execPath,
    [path.join(__dirname, `${name}.js`), ...args],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: Number.POSITIVE_INFINITY },
  );
  if (status !== 0)
    process.exitCode = 1; // it has said why; the others still run
  else if (values.json) reports.push(stdout.trim());
  else process.stdout.write(stdout);
}
if (values.json) process.stdout.write(`[${reports.join(',\n')}]\n`);
