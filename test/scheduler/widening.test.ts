/**
 * When a pin gives way, and when it is to hold again: on made-up samples, and on any.
 */
import fc from 'fast-check';
import t from 'tap';
import {
  PATIENCE_MAX_MS,
  PATIENCE_MS,
  SAMPLE_MS,
  type Sample,
  STARVED_MS,
  WINDOW_MS,
  Widening,
} from '../../src/scheduler/widening.js';

/** What happens in 100 ms. */
type Happening = Omit<Sample, 'atMs'>;

const idles = (share: number) => ({ share, overMs: SAMPLE_MS });
const SLEEPS: Happening = {
  ...{ runMs: 0, delayMs: 0, runs: 0 },
  ...{ within: true, inside: null, outside: null },
};
/** Somebody else has the CPU for four fifths of the time; another CPU idles. */
const STARVES: Happening = {
  ...{ runMs: 20, delayMs: 80, runs: 8 },
  ...{ within: false, inside: null, outside: idles(0.5) },
};
/** It runs undisturbed, somewhere. */
const UNDISTURBED: Happening = { ...SLEEPS, runMs: 20, delayMs: 1, runs: 40, within: false };
const FREE: Happening = { ...UNDISTURBED, inside: idles(0.9) };
const TAKEN: Happening = { ...UNDISTURBED, inside: idles(0) };

/** A worker with so many rings, to which things happen. */
class Trial {
  readonly widening: Widening;
  nowMs = 1e6;
  /** Rings that it got, one after the other. */
  readonly changes: number[] = [];

  constructor(rings = 3) {
    this.widening = new Widening(rings, this.nowMs);
  }

  step(happening: Happening, overMs = SAMPLE_MS): void {
    this.nowMs += overMs;
    const rings = this.widening.sample({ ...happening, atMs: this.nowMs });
    if (rings === this.widening.rings) return;
    this.widening.changed(rings, this.nowMs);
    this.changes.push(rings);
  }

  /** @returns after how many ms it has `rings` rings; Infinity: not within `maxMs` */
  until(rings: number, happening: Happening, maxMs: number): number {
    for (let ms = SAMPLE_MS; ms <= maxMs; ms += SAMPLE_MS) {
      this.step(happening);
      if (this.widening.rings === rings) return ms;
    }
    return Number.POSITIVE_INFINITY;
  }

  during(happening: Happening, ms: number): void {
    this.until(Number.NaN, happening, ms);
  }
}

t.test('a starved worker gets one ring after the other, as many as there are', async (t) => {
  const trial = new Trial(3);
  t.equal(trial.until(1, STARVES, 1_000), SAMPLE_MS, 'at the first sample that shows it');
  t.equal(trial.until(3, STARVES, 1_000), 2 * SAMPLE_MS);
  trial.during(STARVES, 10_000);
  t.same(trial.changes, [1, 2, 3], 'and then no more');
  const alone = new Trial(0);
  alone.during(STARVES, 10_000);
  t.same(alone.changes, [], 'on a single CPU there is nowhere to go');
});

t.test('a starved worker stays where it is if no other CPU has room', async (t) => {
  const trial = new Trial(2);
  trial.during({ ...STARVES, outside: idles(0.1) }, 60_000);
  t.same(trial.changes, []);
  t.equal(trial.until(1, { ...STARVES, outside: idles(0.2) }, 1_000), SAMPLE_MS);
  trial.during({ ...STARVES, outside: idles(0) }, 60_000);
  t.same(trial.changes, [1], 'and goes no further');
});

t.test('what is outside is asked for when it matters, and waited for', async (t) => {
  const trial = new Trial(1);
  t.equal(trial.widening.wantsRoom, false);
  trial.step({ ...STARVES, outside: null });
  t.equal(trial.widening.wantsRoom, true);
  trial.during({ ...SLEEPS, outside: null }, WINDOW_MS);
  t.equal(trial.widening.wantsRoom, true, 'beyond the end of the second');
  t.same(trial.changes, []);
  trial.step({ ...SLEEPS, outside: idles(1) });
  t.same(trial.changes, [1]);
  t.equal(trial.widening.wantsRoom, false);
  trial.step(STARVES);
  t.equal(trial.widening.wantsRoom, false, 'there is nowhere else');

  const unheard = new Trial(1);
  unheard.step({ ...STARVES, outside: null });
  unheard.during({ ...SLEEPS, outside: null }, 2 * WINDOW_MS);
  t.equal(unheard.widening.wantsRoom, false, 'but not for ever');
});

t.test('who is not starved stays: each condition alone does not suffice', async (t) => {
  const cases: Record<string, Happening> = {
    'waits for less than a third of what it wants': { ...STARVES, runMs: 60, delayMs: 29 },
    'waits often, and briefly': { ...STARVES, runs: 100 },
    'waits for little of the time': { ...STARVES, runMs: 1, delayMs: 4, runs: 1 },
    'wants nothing': SLEEPS,
  };
  for (const [name, happening] of Object.entries(cases)) {
    const trial = new Trial();
    trial.during(happening, 60_000);
    t.same(trial.changes, [], name);
  }
});

t.test('a second of little waiting is forgotten, not added up', async (t) => {
  const trial = new Trial();
  const rarely = { ...STARVES, runMs: 0, delayMs: STARVED_MS - 1, runs: 1 };
  for (let i = 0; i < 100; i++) {
    trial.step(rarely);
    trial.during(SLEEPS, WINDOW_MS);
  }
  t.same(trial.changes, []);
});

t.test('when its CPU is free it returns, ring by ring', async (t) => {
  const trial = new Trial(2);
  trial.until(2, STARVES, 1_000);
  trial.during(TAKEN, 60_000);
  t.same(trial.changes, [1, 2], 'not as long as somebody uses it');
  t.equal(trial.until(1, FREE, 10_000), PATIENCE_MS);
  t.equal(trial.until(0, FREE, 10_000), PATIENCE_MS);
  trial.during(FREE, 60_000);
  t.same(trial.changes, [1, 2, 1, 0]);
});

t.test(
  'it returns as well if it runs on its CPU, undisturbed, and leaves it no rest',
  async (t) => {
    const busy: Happening = { ...SLEEPS, runMs: 95, delayMs: 3, runs: 10, inside: idles(0.05) };
    for (const [name, happening, returns] of [
      ['at home', busy, true],
      ['nothing else is known', { ...busy, inside: null }, true],
      ['not always at home', { ...busy, within: false }, false],
      ['at home, and waits', { ...busy, delayMs: 30 }, false],
      ['hardly runs', { ...busy, runMs: 1, delayMs: 0 }, false],
    ] as const) {
      const trial = new Trial(1);
      trial.until(1, STARVES, 1_000);
      t.equal(trial.until(0, happening, 20_000) < 20_000, returns, name);
    }
  },
);

t.test('a CPU that is free by turns only is not', async (t) => {
  const trial = new Trial(1);
  trial.until(1, STARVES, 1_000);
  for (let i = 0; i < 100; i++) {
    trial.during(FREE, WINDOW_MS);
    trial.during(TAKEN, WINDOW_MS);
  }
  t.same(trial.changes, [1]);
});

t.test('time in which the process slept says nothing', async (t) => {
  const trial = new Trial(1);
  trial.until(1, STARVES, 1_000);
  trial.step({ ...FREE, inside: { share: 1, overMs: 3_600_000 } }, 3_600_000);
  t.equal(trial.widening.rings, 1, 'an hour counts as a second');
  t.equal(trial.until(0, FREE, 10_000), PATIENCE_MS - WINDOW_MS);
});

/** Comes back, is starved again, and so on: how long it took to come back each time. */
function returns(trial: Trial, times: number, rest = 0): number[] {
  return Array.from({ length: times }, () => {
    trial.until(1, STARVES, 1_000);
    const ms = trial.until(0, FREE, 2 * PATIENCE_MAX_MS);
    trial.during(SLEEPS, rest);
    return ms;
  });
}

t.test('who came back too early waits twice as long the next time', async (t) => {
  const trial = new Trial(1);
  t.same(
    returns(trial, 8),
    [2, 4, 8, 16, 32, 64, 64, 64].map((s) => s * 1_000),
  );
  t.equal(PATIENCE_MAX_MS, 64_000);
});

t.test('and is forgiven after a long time', async (t) => {
  const trial = new Trial(1);
  returns(trial, 4);
  trial.during(SLEEPS, 8 * 16_000);
  t.same(returns(trial, 1), [16_000], 'half, and then twice that');
  trial.during(SLEEPS, 3_600_000);
  t.same(returns(trial, 1), [2 * PATIENCE_MS]);
});

t.test('several rings at once are one mistake', async (t) => {
  const trial = new Trial(4);
  trial.until(4, STARVES, 1_000);
  t.equal(trial.until(0, FREE, 60_000), 4 * PATIENCE_MS);
  trial.until(4, STARVES, 1_000);
  t.equal(trial.until(3, FREE, 60_000), 2 * PATIENCE_MS);
});

t.test('a change that could not be made is asked for again', async (t) => {
  const widening = new Widening(1, 0);
  t.equal(widening.sample({ ...STARVES, atMs: 100 }), 1);
  t.equal(widening.rings, 0);
  t.equal(widening.sample({ ...STARVES, atMs: 200 }), 1);
});

/**
 * Changes that there may be in `ms`: each narrowing takes PATIENCE_MS, so it is to be
 * undone to go on; that doubles the patience, and only 8 × 2 × PATIENCE_MS halves it again.
 */
function most(rings: number, ms: number): number {
  return rings + 2 * rings * (7 + ms / 20_000);
}

const amount = (max: number) => fc.double({ min: 0, max, noNaN: true });
const idle = fc.option(fc.record({ share: amount(1), overMs: amount(1_000) }));
const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.constantFrom(SLEEPS, STARVES, UNDISTURBED, FREE, TAKEN),
  fc.record({
    runMs: amount(200),
    delayMs: amount(200),
    runs: fc.nat(1_000),
    within: fc.boolean(),
    inside: idle,
    outside: idle,
  }),
);

t.test('property: it does not flap, whatever the samples say', async () => {
  const phases = fc.array(
    fc.record({ happening, samples: fc.integer({ min: 1, max: 2_000 }), gapMs: fc.nat(20_000) }),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 6 }), phases, (rings, all) => {
      const trial = new Trial(rings);
      const beganMs = trial.nowMs;
      for (const { happening, samples, gapMs } of all) {
        trial.step(happening, SAMPLE_MS + gapMs);
        for (let i = 1; i < samples; i++) trial.step(happening);
      }
      const { changes, nowMs } = trial;
      const steps = changes.map((ring, i) => Math.abs(ring - (changes[i - 1] ?? 0)));
      return (
        changes.length <= most(rings, nowMs - beganMs) &&
        steps.every((step) => step === 1) &&
        changes.every((ring) => ring >= 0 && ring <= rings)
      );
    }),
    { numRuns: 100 },
  );
});

t.test('property: nor if somebody sees what it does, and does the contrary', async () => {
  const adversary = fc.record({
    rings: fc.integer({ min: 1, max: 6 }),
    turnsAt: fc.nat(6),
    waits: fc.array(fc.nat(600), { minLength: 1, maxLength: 20 }),
  });
  fc.assert(
    fc.property(adversary, ({ rings, turnsAt, waits }) => {
      const trial = new Trial(rings);
      const beganMs = trial.nowMs;
      let starves = true;
      for (let turns = 0; turns < 60; turns++) {
        const target = starves ? rings : Math.min(turnsAt, rings - 1);
        trial.until(target, starves ? STARVES : FREE, 8 * PATIENCE_MAX_MS);
        if (!starves) trial.during(SLEEPS, (waits[turns % waits.length] as number) * SAMPLE_MS);
        starves = !starves;
      }
      return trial.changes.length <= most(rings, trial.nowMs - beganMs);
    }),
    { numRuns: 20 },
  );
});
