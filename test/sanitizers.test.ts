/**
 * The pause word, the mailboxes and the connection table on real threads with real signals, and
 * what a loop concludes from its own figures, plain and under the sanitizers: see test/native. `npm run test:sanitizers` does more of it.
 */
import t from 'tap';
import { absent, build, run, type Sanitizer } from './native/trials.js';

/** A second or two each on two CPUs, and each finds every mistake in mutants.test.ts but one. */
const STEPS = { iteration: 1_000, pause: 5_000, mailbox: 20_000, table: 500 };
/** `npm run test:sanitizers` runs longer ones. */
const SCALE = Number(process.env.GYRE_TRIAL_SCALE ?? 1);
/** No evidence: no thread of a trial waits longer than a few milliseconds on an idle machine. */
const BOUND_MS = 20_000;
const TITLES: Record<Sanitizer, string> = {
  none: 'without a sanitizer, so that signals come at any instruction',
  thread: 'no data race',
  address: 'no bad address, no undefined behaviour, no leak',
};

t.setTimeout(300_000);

for (const sanitizer of ['none', 'thread', 'address'] as const) {
  const skip = absent(sanitizer);
  t.test(`the protocols in shared memory: ${TITLES[sanitizer]}`, { skip }, async (t) => {
    const folder = await build(sanitizer, false);
    for (const [trial, steps] of Object.entries(STEPS)) {
      const { code, output } = await run(folder, trial, steps * SCALE, BOUND_MS);
      t.comment(output.trim());
      t.equal(code, 0, trial);
    }
  });
}
