/** Each mistake in a protocol is found by its trial, or by ThreadSanitizer in it. */
import t from 'tap';
import { absent, build, mutantsIn, run } from './trials.js';

/**
 * All but one are found within a tenth of it. CANCELLED_BY_STORE must meet a signal between
 * two instructions, and is found in every second trial of 10,000.
 */
const STEPS = { iteration: 1, pause: 150_000, mailbox: 40_000, table: 4_000 };
/** Some mistakes are seen by a thread that stands still. */
const BOUND_MS = 2_000;

t.setTimeout(300_000);

t.test('each mistake is found', { skip: absent('thread') }, async (t) => {
  const folder = await build('thread', true);
  const mutants = mutantsIn(folder);
  t.ok(mutants.length >= 20, `${mutants.length} mistakes`);
  for (const mutant of mutants) {
    const trial = mutant.split('-')[1] as keyof typeof STEPS;
    const { code, output } = await run(folder, mutant, STEPS[trial], BOUND_MS);
    const found = /^(violation: .*|WARNING: ThreadSanitizer: [^(]*)/m.exec(output)?.[0];
    t.ok(code !== 0 && found !== undefined, `${mutant}: ${found ?? output}`);
  }
});
