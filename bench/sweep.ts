/**
 * The stall benchmark over the whole grid: slow requests of 5, 50 and 500 ms which
 * together use 10, 30 and 60% of one CPU. With --json-dir the reports are also written there, as
 * sweep-MSms-PERCENT.json; --rounds, --only, --fast and --seconds are handed on.
 */
import { parseCommandLine } from './command-line.js';
import { runOrSay } from './failures.js';
import { runSeries } from './series.js';

const SLOW_MS = [5, 50, 500];
const CPU_PERCENT = [10, 30, 60];
/** Expected in a run, so that rare ones say something, too: it lasts longer if it must. */
const SLOW_MIN = 10;
const SECONDS = 8;

runOrSay('sweep', async () => {
  const { given } = parseCommandLine({}, [], ['json-dir', 'rounds', 'only', 'fast', 'seconds']);
  const { 'json-dir': folder = null, seconds = SECONDS, ...handedOn } = given;
  const common = Object.entries(handedOn).flatMap(([name, value = '']) => [`--${name}`, value]);
  const cells = SLOW_MS.flatMap((ms) =>
    CPU_PERCENT.map((percent) => ({ ms, percent, slow: (percent * 10) / ms })),
  );
  runSeries(
    cells.map(({ ms, slow, percent }) => {
      const lasts = Math.max(Number(seconds), Math.ceil(SLOW_MIN / slow));
      const flags = ['--ms', `${ms}`, '--slow', `${slow}`, '--seconds', `${lasts}`];
      return { name: 'stall', args: [...common, ...flags], file: `sweep-${ms}ms-${percent}` };
    }),
    folder,
  );
});
