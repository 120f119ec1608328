/** Placement orders of every fixture, as a person derives them by the rules of `spread` and `huddle`. */
import fc from 'fast-check';
import t from 'tap';
import { describeMachine } from '../../src/scheduler/machine.js';
import { arrange, huddle, place, spread } from '../../src/scheduler/placement.js';
import { MACHINES, type MachineName, treeOf } from '../fixtures/topology/machines.js';
import { from, machine } from '../support/described.js';

/** Elements of the lists in turn. */
const alternating = (...lists: number[][]) =>
  (lists[0] ?? []).flatMap((_, at) => lists.map((list) => list[at] as number));

t.test('spreading visits nodes, then packages, then cores, then threads', async (t) => {
  t.same(spread(machine('recombinator')), [0, 1]);
  // One in each package: 0 to 3. Then again, the other L2 first: in package 0, CPU 4
  // shares none with 0, and 8 does. When both caches are in use, the lowest id.
  t.same(spread(machine('wopr')), from(0, 16));
  // The packages in turn, cores first; then their second threads.
  t.same(spread(machine('dumbledore')), [
    ...alternating([0, 1, 2, 3], [4, 5, 6, 7]),
    ...alternating([8, 9, 10, 11], [12, 13, 14, 15]),
  ]);
  t.same(spread(machine('xeon')), [
    ...alternating(from(0, 20), from(20, 20)),
    ...alternating(from(40, 20), from(60, 20)),
  ]);
});

t.test('spreading over nodes inside of packages takes the packages in turn', async (t) => {
  // A node each of 0 to 7, with packages as even as possible: 0 (package 0), 4 (1), 1, 5, 2, 6, ….
  // A second time around, each node's other L3: 8 CPUs further. Then from the start, one core on.
  const nodes = [0, 64, 16, 80, 32, 96, 48, 112];
  const expected = [0, 8, 1, 9].flatMap((core) => nodes.map((first) => first + core));
  t.same(spread(machine('epyc'), 32), expected);
  t.same(spread(machine('epyc without SMT'), 32), expected);
  const whole = spread(machine('epyc'));
  t.ok(
    whole.slice(0, 128).every((cpu) => cpu < 128),
    'every core before any second thread',
  );
});

t.test('spreading over unequal cores: cores before threads, caches apart', async (t) => {
  // First threads of the performance cores. Then efficiency cores, each on a core of its
  // own: 16, then 20 with the other L2, and on in turn. Second threads come last.
  t.same(spread(machine('hybrid')), [
    ...from(0, 8, 2),
    ...alternating(from(16, 4), from(20, 4)),
    ...from(1, 8, 2),
  ]);
  // One of each cluster, then the other.
  t.same(spread(machine('altra')), [...from(0, 40, 2), ...from(1, 40, 2)]);
  t.same(spread(machine('graviton')), from(0, 64));
});

t.test('spreading over what is left of a machine', async (t) => {
  t.same(spread(machine('virtual machine')), [0, 1]);
  // Node 0, node 1; then only node 0 has any: 4 on a core of its own, before 43 on that of 3.
  t.same(spread(machine('container')), [3, 23, 4, 43]);
  // Packages in turn, cores first (13's sibling is off, so it has a core of its own) until
  // package 0 has no more; then the second threads of package 1.
  t.same(spread(machine('offline')), [0, 4, 1, 6, 2, 7, 3, 13, 12, 14, 15]);
  const { files } = MACHINES.epyc();
  const left = (affinity: number[]) =>
    spread(describeMachine(treeOf(files), { affinity, processor: null, pageBytes: null }));
  // Two CPUs each of nodes 0, 1, 2, all in package 0, and of node 4 in package 1. Nodes
  // before packages: every node has one before any has two. Then the emptier package.
  t.same(left([0, 1, 16, 17, 32, 33, 64, 65]), [0, 64, 16, 32, 65, 1, 17, 33]);
  // Packages before cores: of package 1 only one core is left, of which 192 is the second thread.
  t.same(left([0, 8, 16, 24, 64, 192]), [0, 64, 16, 192, 8, 24]);
  // Opposite packages first: 0 and 2, with CPUs 0 and 4.
  t.same(spread(machine('ring')), [0, 4, 2, 6, 1, 5, 3, 7]);
});

t.test('huddling fills what is nearest first', async (t) => {
  t.same(huddle(machine('recombinator')), [0, 1]);
  // The pair with a common L2, the package's other pair, the next package.
  t.same(
    huddle(machine('wopr')),
    [0, 1, 2, 3].flatMap((first) => [0, 8, 4, 12].map((cpu) => first + cpu)),
  );
  t.same(huddle(machine('dumbledore')), alternating(from(0, 8), from(8, 8)));
  t.same(huddle(machine('epyc')), alternating(from(0, 128), from(128, 128)));
  t.same(huddle(machine('epyc without SMT')), from(0, 128));
  t.same(huddle(machine('hybrid')), from(0, 24));
  t.same(huddle(machine('xeon')), alternating(from(0, 40), from(40, 40)));
  t.same(huddle(machine('altra')), from(0, 80));
  t.same(huddle(machine('graviton')), from(0, 64));
  t.same(huddle(machine('virtual machine')), [0, 1]);
  t.same(huddle(machine('container')), [3, 43, 4, 23]);
  // The smallest group with all 11 is the machine. Package 0, then 1: a core with both of
  // its threads, the next, and 13 alone, which is as near as any and comes when it is the lowest.
  t.same(huddle(machine('offline')), [0, 1, 2, 3, 4, 12, 6, 14, 7, 15, 13]);
  // Neighbouring packages before the opposite one: after 0 comes 1, after both 2 or 3: equal.
  t.same(huddle(machine('ring')), from(0, 8));
});

t.test('a few that huddle go where all of them fit', async (t) => {
  t.same(huddle(machine('container'), 3), [3, 43, 4], 'not one of them on the other package');
  t.same(huddle(machine('hybrid'), 4), [16, 17, 18, 19], 'one L2 for all four');
  t.same(huddle(machine('offline'), 5), [4, 12, 6, 14, 7], 'package 0 has only four left');
  t.same(huddle(machine('hybrid'), 1), [0]);
});

t.test('each CPU comes once, and a shorter order is the beginning of a longer one', async (t) => {
  for (const name of Object.keys(MACHINES) as MachineName[]) {
    const topology = machine(name);
    const all = spread(topology);
    const ids = topology.cpus.map(({ id }) => id);
    t.same(
      [...all].sort((a, b) => a - b),
      ids,
      name,
    );
    t.same(
      [...huddle(topology)].sort((a, b) => a - b),
      ids,
      name,
    );
    fc.assert(
      fc.property(fc.nat(all.length), (count) => {
        return spread(topology, count).join() === all.slice(0, count).join();
      }),
      { numRuns: 3 },
    );
  }
});

t.test(
  'CPUs are arranged as the machine says, those that it does not know come last',
  async (t) => {
    const dumbledore = machine('dumbledore');
    t.same(arrange('divergent', [0, 1, 4, 8], null, 4), [0, 1, 4, 8]);
    t.same(arrange('divergent', [...from(0, 16), 99], dumbledore, 17).slice(-2), [15, 99]);
    t.same(arrange('collaborative', from(0, 16), dumbledore, 2).slice(0, 2), [0, 8]);
  },
);

t.test('each worker gets a CPU of its own while there are enough', async (t) => {
  t.same(place(3, [2, 5, 7, 9]), [2, 5, 7]);
  t.same(place(1, [1]), [1]);
});

t.test('with more workers than CPUs they share evenly', async (t) => {
  t.same(place(5, [4, 6]), [4, 6, 4, 6, 4]);
});

t.test('no CPU at all is a mistake', async (t) => {
  t.throws(() => place(1, []), RangeError);
});
