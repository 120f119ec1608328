/**
 * Runs every benchmark, one after the other, each as a process: `npm run bench`. With
 * --json-dir their reports are also written there, as NAME.json; --rounds is handed on.
 */
import { parseArgs } from 'node:util';
import { runSeries } from './series.js';

const BENCHMARKS = [
  ...['hello', 'memory', 'startup', 'false-sharing', 'arena', 'jobs'],
  ...['stall', 'upstream', 'moving', 'pinning', 'governor', 'idle', 'admin', 'overload'],
];

const { values } = parseArgs({
  options: { 'json-dir': { type: 'string' }, rounds: { type: 'string' } },
});
const args = values.rounds === undefined ? [] : ['--rounds', values.rounds];
runSeries(
  BENCHMARKS.map((name) => ({ name, args })),
  values['json-dir'] ?? null,
);
