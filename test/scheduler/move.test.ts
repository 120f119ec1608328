import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type Criterion, frontier } from '../../src/scheduler/frontier.js';
import { CANDIDATES_MAX, chooseMove, type MoveQuestion } from '../../src/scheduler/move.js';
import { type Rings, wholeMachine } from '../../src/scheduler/neighbourhood.js';
import { BOUND_MAX, below, seededRandom } from '../../src/scheduler/random.js';

const SEED = 20_121_119;

/** Pearson's statistic of `counts` against all being equally likely. */
function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/**
 * What a uniform choice exceeds once in about 10,000 runs, for many degrees of freedom or
 * few (Wilson and Hilferty's approximation). The seeds are fixed, so no run is the one.
 */
function chiSquareMax(degrees: number): number {
  const third = 2 / (9 * degrees);
  return degrees * (1 - third + 3.72 * Math.sqrt(third)) ** 3;
}

t.test('the generator is sfc32, and repeats itself for the same seed only', async (t) => {
  const values = (seed: number) => Array.from({ length: 5 }, seededRandom(seed));
  // From an implementation of PractRand's sfc32 in C, seeded there with the same 64 bits.
  t.same(values(0), [1363572419, 145230303, 808754475, 4216505632, 947923937]);
  t.same(values(SEED), [1787339373, 1045485730, 2482410285, 111545217, 2056531807]);
  t.same(values(SEED), values(SEED));
  t.notSame(values(1), values(1 + 2 ** 32), 'seeds may be as long as Date.now()');
  t.throws(() => seededRandom(Number.NaN), RangeError);
});

t.test('below() is uniform', async (t) => {
  for (const bound of [1, 2, 3, 7, 10, 64, 1000]) {
    const random = seededRandom(SEED);
    const counts = new Array(bound).fill(0);
    for (let i = 0; i < 200_000; i++) counts[below(random, bound)]++;
    t.equal(counts.length, bound, 'and below the bound');
    t.ok(bound === 1 || chiSquare(counts) < chiSquareMax(bound - 1), `${bound}`);
  }
  for (const bound of [2, 3, 1024, BOUND_MAX]) {
    t.equal(
      below(() => 0, bound),
      0,
    );
    t.equal(
      below(() => 2 ** 32 - 1, bound),
      bound - 1,
    );
  }
  for (const bound of [0, -1, 1.5, Number.NaN, BOUND_MAX + 1]) {
    t.throws(() => below(() => 0, bound), RangeError);
  }
});

/** Costs by candidate and criterion, few different ones so that ties are common. */
const costTables = fc
  .integer({ min: 0, max: 4 })
  .chain((criteria) =>
    fc.array(
      fc.array(
        fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom(Infinity, -Infinity, -0, 0.5)),
        { minLength: criteria, maxLength: criteria },
      ),
      { maxLength: 12 },
    ),
  );

function frontierOf(costs: readonly (readonly number[])[]): number[] {
  const criteria: Criterion[] = (costs[0] ?? []).map((_, at) => (c) => costs[c]?.[at] as number);
  return frontier([...costs.keys()], criteria);
}

t.test('the frontier is what no other candidate dominates, by the definition', async (t) => {
  const dominates = (a: readonly number[], b: readonly number[]) =>
    a.every((cost, i) => cost <= (b[i] as number)) && a.some((cost, i) => cost < (b[i] as number));
  fc.assert(
    fc.property(costTables, (costs) => {
      const expected = [...costs.keys()].filter(
        (c) => !costs.some((other) => dominates(other, costs[c] as number[])),
      );
      assert.deepEqual(frontierOf(costs), expected);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
  t.pass('2,000 sets of candidates');
});

t.test('equal candidates stay together, and without criteria all stay', async (t) => {
  t.same(
    frontierOf([
      [1, 1],
      [2, 0],
      [1, 1],
      [2, 2],
    ]),
    [0, 1, 2],
  );
  t.same(frontier([5, 3, 9], []), [5, 3, 9], 'in their order');
  t.same(frontier([], [(c) => c]), []);
  t.same(frontier([4, 4, 7], [(c) => c]), [4, 4]);
});

t.test('a frontier among 1,024 candidates asks each of them once', async (t) => {
  let asked = 0;
  const random = seededRandom(SEED);
  const candidates = Array.from({ length: 1024 }, (_, index) => index);
  const anti: Criterion = (c) => {
    asked++;
    return -c;
  };
  t.same(frontier(candidates, [(c) => c, anti]), candidates, 'none dominates another');
  t.equal(asked, 1024);
  t.ok(frontier(candidates, [() => random(), () => random()]).length < 64, 'about ln 1024');
});

t.test('candidates that are equal are not compared with each other', async (t) => {
  const candidates = Array.from({ length: 8192 }, (_, index) => index);
  const before = process.cpuUsage();
  for (let i = 0; i < 20; i++) {
    const kept = frontier(candidates, [() => 0, (c) => (c === 5 ? -1 : -7)]);
    if (kept.length !== 8191) t.fail(`${kept.length}`);
  }
  // Each with each: 33 million comparisons, 20 times.
  const { user } = process.cpuUsage(before);
  t.ok(user < 1e6, `${user} µs of CPU time`);
});

t.test('until a topology is known, one ring holds all others', async (t) => {
  t.same(wholeMachine(3), [[[1, 2]], [[0, 2]], [[0, 1]]]);
  t.same(wholeMachine(1), [[[]]]);
});

interface Machine {
  readonly outstanding: readonly number[];
  readonly rounds: readonly number[];
  readonly accepts: readonly boolean[];
}

function question(
  events: number,
  machine: Partial<Machine> & { readonly outstanding: readonly number[] },
  rings: Rings = wholeMachine(machine.outstanding.length)[0] as Rings,
  seed = SEED,
): MoveQuestion {
  return {
    giver: 0,
    events,
    rings,
    outstanding: (worker) => machine.outstanding[worker] as number,
    roundsSinceGave: (worker) => machine.rounds?.[worker] ?? 0,
    accepts: (worker) => machine.accepts?.[worker] ?? true,
    random: seededRandom(seed),
  };
}

t.test('one event stays, and of more half goes, rounded down', async (t) => {
  for (const events of [0, 1]) t.equal(chooseMove(question(events, { outstanding: [0, 0] })), null);
  for (const [events, count] of [
    [2, 1],
    [3, 1],
    [4, 2],
    [65, 32],
  ] as const) {
    t.same(chooseMove(question(events, { outstanding: [0, 0] })), { recipient: 1, count });
  }
});

t.test('nobody is left worse off than the giver', async (t) => {
  t.equal(chooseMove(question(2, { outstanding: [2, 1] })), null, '1 and 2 are not better');
  t.same(chooseMove(question(3, { outstanding: [3, 1] })), { recipient: 1, count: 1 }, '2 and 2');
  t.equal(chooseMove(question(9, { outstanding: [9, 2] })), null, '5 and 6');
});

const machines = fc.integer({ min: 1, max: 9 }).chain((workers) =>
  fc.record({
    outstanding: fc.array(fc.integer({ min: 0, max: 4 }), {
      minLength: workers,
      maxLength: workers,
    }),
    rounds: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: workers, maxLength: workers }),
    accepts: fc.array(fc.boolean(), { minLength: workers, maxLength: workers }),
    /** To which ring each worker belongs. */
    ring: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: workers, maxLength: workers }),
  }),
);

t.test('every move goes to the frontier of the nearest ring with a candidate', async (t) => {
  let moves = 0;
  fc.assert(
    fc.property(
      machines,
      fc.integer({ min: 0, max: 12 }),
      fc.integer(),
      (machine, events, seed) => {
        const workers = [...machine.outstanding.keys()].slice(1);
        const rings = [0, 1, 2, 3].map((ring) => workers.filter((w) => machine.ring[w] === ring));
        const count = Math.floor(events / 2);
        const fits = (w: number) =>
          machine.accepts[w] && (machine.outstanding[w] as number) + count <= events - count;
        const nearest = rings.map((ring) => ring.filter(fits)).find((ring) => ring.length > 0);
        const move = chooseMove(question(events, machine, rings, seed));
        if (events <= 1 || nearest === undefined) {
          assert.equal(move, null);
          return;
        }
        moves++;
        if (move === null) throw new Error('a move was possible');
        assert.equal(move.count, count);
        assert.ok(nearest.includes(move.recipient), 'in the nearest ring that has a candidate');
        const cost = (w: number) => [machine.outstanding[w], machine.rounds[w]] as [number, number];
        const [m0, m1] = cost(move.recipient);
        for (const other of nearest) {
          const [o0, o1] = cost(other);
          assert.ok(!(o0 <= m0 && o1 >= m1 && (o0 < m0 || o1 > m1)), `${other} dominates it`);
        }
      },
    ),
    { seed: SEED, numRuns: 2_000 },
  );
  t.ok(moves > 500, `${moves} moves`);
});

t.test('rings are asked in order, and a ring without a candidate is passed over', async (t) => {
  const rings = [[1], [2, 3], [4]];
  const outstanding = [9, 0, 0, 0, 0];
  const to = (accepts: readonly boolean[]) =>
    chooseMove(question(8, { outstanding, accepts, rounds: [0, 0, 1, 0, 9] }, rings))?.recipient;
  t.equal(to([true, true, true, true, true]), 1);
  t.equal(to([true, false, true, true, true]), 2, 'not 4, though it waits longest');
  t.equal(to([true, false, false, true, true]), 3);
  t.equal(to([true, false, false, false, true]), 4);
  t.equal(to([true, false, false, false, false]), undefined);
  t.equal(chooseMove(question(8, { outstanding: [9] }, [[0]])), null, 'and never to itself');
});

t.test('of a wide ring as many are asked as it takes to find some candidates', async (t) => {
  const workers = 200;
  const rings = [Array.from({ length: workers - 1 }, (_, at) => at + 1)];
  const random = seededRandom(SEED);
  /** How many were asked for a move, when so many of the others accept; and who got it. */
  const ask = (accepting: (worker: number) => boolean, candidatesMax?: number) => {
    const asked = new Set<number>();
    const move = chooseMove({
      ...question(4, { outstanding: new Array(workers).fill(0) }, rings),
      accepts: (worker) => {
        asked.add(worker);
        return accepting(worker);
      },
      ...{ random, ...(candidatesMax === undefined ? {} : { candidatesMax }) },
    });
    return { asked: asked.size, recipient: move?.recipient };
  };
  t.equal(ask(() => true).asked, CANDIDATES_MAX);
  t.equal(ask(() => true, 3).asked, 3);
  t.equal(ask(() => true, Number.POSITIVE_INFINITY).asked, workers - 1);
  t.same(ask((worker) => worker === 77).recipient, 77, 'the only one is found');
  t.same(
    ask(() => false),
    { asked: workers - 1, recipient: undefined },
  );
  // Nobody is preferred, not even where those that accept are side by side.
  for (const accepting of [workers - 1, 40]) {
    const counts = new Array(accepting).fill(0);
    for (let i = 0; i < 20_000; i++) {
      counts[(ask((worker) => worker <= accepting).recipient as number) - 1]++;
    }
    t.ok(chiSquare(counts) < chiSquareMax(accepting - 1), `${Math.min(...counts)}`);
  }
});

t.test('the choice among the frontier is uniform, and the seed decides it', async (t) => {
  // 1 to 5 are on the frontier, 6 is dominated by 5, and 7 is full.
  const machine = {
    outstanding: [5, 0, 0, 1, 1, 0, 0, 2],
    rounds: [0, 3, 3, 4, 4, 3, 2, 9],
  };
  const counts = new Array(8).fill(0);
  const random = seededRandom(SEED);
  for (let i = 0; i < 50_000; i++) {
    const move = chooseMove({ ...question(5, machine), random });
    counts[move?.recipient ?? 0]++;
  }
  t.same([counts[0], counts[6], counts[7]], [0, 0, 0]);
  t.ok(chiSquare(counts.slice(1, 6)) < chiSquareMax(4), `${counts}`);
  const choices = (seed: number) => {
    const random = seededRandom(seed);
    return Array.from({ length: 32 }, () => chooseMove({ ...question(5, machine), random }));
  };
  t.same(choices(1), choices(1));
  t.notSame(choices(1), choices(2));
});
