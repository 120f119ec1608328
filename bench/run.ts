/**
 * Runs every benchmark, one after the other, each as a process: `npm run bench`. With
 * --json-dir their reports are also written there, as NAME.json; --rounds is handed on.
 */
import { parseCommandLine, runOrSay } from './harness.js';
import { runSeries } from './series.js';

const BENCHMARKS = [
  ...['hello', 'memory', 'startup', 'false-sharing', 'arena', 'jobs'],
  ...['stall', 'upstream', 'moving', 'pinning', 'governor', 'idle', 'admin', 'overload'],
];

runOrSay('bench', async () => {
  const { given } = parseCommandLine({}, [], ['json-dir', 'rounds']);
  const args = given.rounds === undefined ? [] : ['--rounds', given.rounds];
  runSeries(
    BENCHMARKS.map((name) => ({ name, args })),
    given['json-dir'] ?? null,
  );
});
