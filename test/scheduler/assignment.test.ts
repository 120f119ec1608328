/**
 * Who handles a firing: spread over everybody, or kept together where sources say that they
 * collaborate, on the machines of the fixtures.
 */
import t from 'tap';
import { Assignment, type AssignmentQuestion } from '../../src/scheduler/assignment.js';
import { ringsFor, wholeMachine } from '../../src/scheduler/neighbourhood.js';
import { seededRandom } from '../../src/scheduler/random.js';
import type { MachineName } from '../fixtures/topology/machines.js';
import { from, machine } from '../support/described.js';

const all = (workers: number) => from(0, workers);

/** Rings of four workers on two caches with two cores each. */
const TWO_CACHES = [
  [[1], [2, 3]],
  [[0], [2, 3]],
  [[3], [0, 1]],
  [[2], [0, 1]],
];

/** A question about `workers`, of which some have something to do and some stand still. */
function question(
  candidates: readonly number[],
  outstanding: Readonly<Record<number, number>> = {},
  still: readonly number[] = [],
): AssignmentQuestion {
  return {
    candidates,
    outstanding: (worker) => outstanding[worker] ?? 0,
    standsStill: (worker) => still.includes(worker),
  };
}

/** Chooses, and acts on it. */
function give(assignment: Assignment, key: string | null, q: AssignmentQuestion): number {
  const assigned = assignment.choose(key, q);
  if (assigned === null) throw new Error('nobody');
  assignment.given(key, assigned);
  return assigned.worker;
}

/** One worker on each CPU of a fixture; workers are named by their CPUs. */
function on(name: MachineName) {
  const cpus = machine(name).cpus.map(({ id }) => id);
  const assignment = new Assignment(ringsFor(cpus, machine(name), 'first'), seededRandom(1));
  const indices = (ids: readonly number[]) => ids.map((id) => cpus.indexOf(id));
  return {
    cpus,
    give: (key: string | null, able = cpus, still: readonly number[] = []) =>
      cpus[give(assignment, key, question(indices(able), {}, indices(still)))] as number,
    group: (key: string, able = cpus) =>
      assignment.group(key, indices(able)).map((index) => cpus[index] as number),
  };
}

t.test('divergent firings go around: to whoever was given one longest ago', async (t) => {
  const assignment = new Assignment(wholeMachine(8), seededRandom(7));
  const q = question(all(8));
  for (let round = 0; round < 5; round++) {
    const given = all(8).map(() => give(assignment, null, q));
    t.same(given.sort(), all(8), 'each worker once');
  }
});

t.test('whoever has nothing to do comes first, and whoever stands still last', async (t) => {
  const assignment = new Assignment(wholeMachine(4), seededRandom(7));
  for (let i = 0; i < 20; i++) {
    t.equal(give(assignment, null, question(all(4), { 0: 1, 1: 3, 3: 1 })), 2);
  }
  const busy = { 0: 9, 1: 1, 2: 1, 3: 1 };
  const chosen = all(60).map(() => give(assignment, null, question(all(4), busy)));
  t.ok(chosen.filter((worker) => worker === 0).length < 20, 'the frontier prefers the others');
  for (let i = 0; i < 20; i++) {
    t.equal(give(assignment, null, question(all(4), { 2: 5 }, [0, 1, 3])), 2);
  }
  t.ok(all(4).includes(give(assignment, null, question(all(4), {}, all(4)))), 'better than nobody');
  t.equal(assignment.choose(null, question([])), null);
});

t.test('a frontier, not an order: what no other candidate is better than', async (t) => {
  const assignment = new Assignment(wholeMachine(3), seededRandom(3));
  // 0 was given one long ago, 1 just now, 2 before that.
  for (const worker of [0, 2, 1]) give(assignment, null, question([worker]));
  const seen = new Set<number>();
  for (let seed = 0; seed < 50; seed++) {
    const assigned = assignment.choose(null, question(all(3), { 0: 3, 1: 1, 2: 2 }));
    seen.add(assigned?.worker ?? -1);
  }
  t.same([...seen].sort(), [0, 1, 2], 'nobody dominates another here');
  const dominated = new Set(
    all(50).map(() => assignment.choose(null, question(all(3), { 0: 1, 1: 1, 2: 2 }))?.worker),
  );
  t.same([...dominated], [0], '1 was given later than 0 and has no less to do');
});

t.test('those who collaborate stay in one group, and are spread within it', async (t) => {
  const epyc = on('epyc'); // 128 cores, of which 8 each share a cache; their siblings from 128 on
  const cache = (cpu: number) => Math.floor((cpu % 128) / 8);
  const home = epyc.give('k');
  const near = new Set(all(31).map(() => epyc.give('k')));
  t.equal(near.size, 16, 'both threads of 8 cores');
  t.ok(near.has(home));
  t.same(new Set([...near].map(cache)), new Set([cache(home)]));
  t.same(new Set(epyc.group('k')), near);
  const other = epyc.give('another');
  t.notOk(near.has(other), 'another key is elsewhere');
});

t.test('they move together, to the nearest that can, and no further', async (t) => {
  const epyc = on('epyc'); // two caches a node, four nodes a package
  const cache = (cpu: number) => Math.floor((cpu % 128) / 8);
  const node = (cpu: number) => Math.floor(cache(cpu) / 2);
  const package_ = (cpu: number) => Math.floor(node(cpu) / 4);
  const home = epyc.give('k');
  const first = epyc.give(
    'k',
    epyc.cpus.filter((cpu) => cache(cpu) !== cache(home)),
  );
  t.equal(node(first), node(home), 'the other cache of the node comes first');
  t.same(
    new Set(all(20).map(() => cache(epyc.give('k')))),
    new Set([cache(first)]),
    'all of the key are in the new group, though the old one could again',
  );
  const far = epyc.cpus.filter((cpu) => package_(cpu) !== package_(home));
  t.not(package_(epyc.give('k', far)), package_(home));
  t.same(new Set(epyc.group('k').map(package_)), new Set([1 - package_(home)]));
});

t.test('being busy moves nobody, standing still does', async (t) => {
  const assignment = new Assignment(TWO_CACHES, seededRandom(1));
  const home = give(assignment, 'k', question([0]));
  t.equal(home, 0);
  const busy = question(all(4), { 0: 5, 1: 5 });
  for (let i = 0; i < 10; i++) t.ok([0, 1].includes(give(assignment, 'k', busy)));
  for (let i = 0; i < 10; i++) t.equal(give(assignment, 'k', question(all(4), {}, [0])), 1);
  t.ok([2, 3].includes(give(assignment, 'k', question(all(4), {}, [0, 1]))));
  t.ok([2, 3].includes(give(assignment, 'k', question(all(4)))), 'and there they stay');
});

t.test('a source that is not asked each time is told when its key has moved', async (t) => {
  const assignment = new Assignment(TWO_CACHES, seededRandom(1));
  const first = assignment.group('k', all(4));
  t.equal(first.length, 2, 'it has a home from the first question on');
  const home = first[0] as number;
  const away = assignment.choose('k', question(home < 2 ? [2, 3] : [0, 1]));
  t.ok(away && assignment.given('k', away), 'moved');
  t.notSame(assignment.group('k', all(4)), first);
  t.same(assignment.group(null, all(4)), all(4), 'a divergent one has all');
  t.same(assignment.group('k', []), []);
});

t.test('keys are bounded, and what was used longest ago is forgotten', async (t) => {
  const assignment = new Assignment(TWO_CACHES, seededRandom(1));
  for (let i = 0; i < 5_000; i++) give(assignment, `key ${i}`, question([0]));
  const elsewhere = question(all(4), { 0: 1, 1: 1 });
  t.ok([0, 1].includes(give(assignment, 'key 4999', elsewhere)), 'it has its home');
  t.ok([2, 3].includes(give(assignment, 'key 0', elsewhere)), 'it has a new one');
});
