/**
 * Runs every benchmark that the page shows (page/questions.ts), one after the other, each as a process:
 * `npm run bench`. With --json-dir their reports are also written there, as NAME.json; --rounds is
 * handed on.
 */
import { parseCommandLine } from './command-line.js';
import { runOrSay } from './failures.js';
import { QUESTIONS } from './page/questions.js';
import { runSeries } from './series.js';

runOrSay('bench', async () => {
  const { given } = parseCommandLine({}, [], ['json-dir', 'rounds']);
  const args = given.rounds === undefined ? [] : ['--rounds', given.rounds];
  runSeries(
    QUESTIONS.map(({ name }) => ({ name, args })),
    given['json-dir'] ?? null,
  );
});
