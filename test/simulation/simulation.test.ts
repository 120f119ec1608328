/**
 * The runtime on a fake kernel, driven by seeds: each run must keep what invariants.ts says. A seed
 * that fails is repeated by `npm run test:simulation -- SEED`.
 */
import t from 'tap';
import { Fleet, runHere } from './fleet.js';
import { MUTANTS } from './mutants.js';
import { HARSH_EVERY } from './plan.js';
import { simulate } from './simulate.js';

const SEEDS = 10_000;
/** In which each mistake must be found. */
const MUTANT_SEEDS = 1_000;

const fleet = new Fleet();
t.teardown(() => fleet.close());
t.setTimeout(280_000);

t.test(`${SEEDS} seeds`, async (t) => {
  const { seeds, failures, served } = await fleet.run({
    from: 1,
    count: SEEDS,
    step: 1,
    edits: [],
    all: true,
  });
  t.equal(seeds, SEEDS);
  // In others nobody has asked yet when all is closed.
  t.ok(served > SEEDS * 0.6, `clients were served in ${served}`);
  t.same(
    failures.map(({ seed, message }) => `seed ${seed}: ${message}`),
    [],
  );
});

t.test('the same seed, the same run', async (t) => {
  const seed = 4711;
  const { hash, steps } = simulate(seed);
  t.not(simulate(seed + 1).hash, hash);
  t.match(simulate(seed, undefined, true), { hash, steps }, 'also when it is shown');
  const wanted = { from: seed, count: 20, step: 1, edits: [], all: true };
  t.equal(
    (await fleet.runOnOne(wanted)).hash,
    runHere(wanted).hash,
    'on any thread, after any other',
  );
});

t.test('every mistake is found', async (t) => {
  const look = async ({ what, seed = 0, ...edit }: (typeof MUTANTS)[number]) => {
    const wanted = {
      from: seed,
      count: MUTANT_SEEDS,
      step: HARSH_EVERY,
      edits: [edit],
      all: false,
    };
    const { failures, seeds } = await fleet.runOnOne(wanted);
    const [first] = failures;
    t.ok(
      first,
      first
        ? `${what}: seed ${first.seed}: ${first.message}`
        : `${what}: not found in ${seeds} seeds`,
    );
  };
  await Promise.all(MUTANTS.map(look));
});
