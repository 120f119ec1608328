/**
 * Runs every benchmark that the page shows (page/questions.ts), one after the other, each as a process:
 * `npm run bench`. With --json-dir their reports are also written there, as NAME.json; --rounds is
 * handed on.
 */
import { parseArgs } from 'node:util';
import { QUESTIONS } from './page/questions.js';
import { runSeries } from './series.js';

const { values } = parseArgs({
  options: { 'json-dir': { type: 'string' }, rounds: { type: 'string' } },
});
const args = values.rounds === undefined ? [] : ['--rounds', values.rounds];
runSeries(
  QUESTIONS.map(({ name }) => ({ name, args })),
  values['json-dir'] ?? null,
);
