/**
 * Rings of every fixture, as a person derives them: the groups of a worker's CPU from inside
 * out, each without those before it; the other threads of its core come second. With worker i on
 * CPU i a ring is a list of CPUs.
 */
import t from 'tap';
import { cpuRings, ringsFor, wholeMachine } from '../../src/scheduler/neighbourhood.js';
import { place, spread } from '../../src/scheduler/placement.js';
import { MACHINES, type MachineName } from '../fixtures/topology/machines.js';
import { from, machine } from '../support/described.js';

const idsOf = (name: MachineName) => machine(name).cpus.map(({ id }) => id);
/** Rings of the worker on `cpu`, when there is one worker on each CPU; as CPUs. */
function ringsOf(name: MachineName, cpu: number): number[][] {
  const ids = idsOf(name);
  const rings = ringsFor(ids, machine(name))[ids.indexOf(cpu)] ?? [];
  return rings.map((ring) => ring.map((worker) => ids[worker] as number));
}
const sorted = (...lists: number[][]) => lists.flat().sort((a, b) => a - b);
const others = (all: number[], ...seen: number[][]) =>
  all.filter((cpu) => !seen.some((list) => list.includes(cpu)));

t.test('nearest first: caches, nodes, packages, but the own core second', async (t) => {
  t.same(ringsOf('recombinator', 1), [[0]]);
  t.same(ringsOf('wopr', 0), [[8], [4, 12], others(from(0, 16), [0, 8, 4, 12])]);
  t.same(ringsOf('wopr', 13), [[5], [1, 9], others(from(0, 16), [1, 5, 9, 13])]);
  const first = [0, 1, 2, 3, 8, 9, 10, 11];
  t.same(ringsOf('dumbledore', 9), [others(first, [1, 9]), [1], others(from(0, 16), first)]);
  // The L3's 16; the sibling; the node's other L3; the package's other nodes; the other package.
  t.same(ringsOf('epyc', 0), [
    [...from(1, 7), ...from(129, 7)],
    [128],
    [...from(8, 8), ...from(136, 8)],
    [...from(16, 48), ...from(144, 48)],
    [...from(64, 64), ...from(192, 64)],
  ]);
  t.same(ringsOf('epyc without SMT', 127), [
    ...[from(120, 7), from(112, 8), from(64, 48), from(0, 64)],
  ]);
  t.same(ringsOf('xeon', 0), [
    [...from(1, 19), ...from(41, 19)],
    [40],
    sorted(from(20, 20), from(60, 20)),
  ]);
});

t.test('a ring that is empty for one worker is none, though others have it', async (t) => {
  // A performance core has a sibling and shares its L2 with nobody else; an efficiency
  // core has no sibling and shares its L2 with three.
  t.same(ringsOf('hybrid', 3), [others(from(0, 24), [2, 3]), [2]]);
  t.same(ringsOf('hybrid', 21), [[20, 22, 23], from(0, 20)]);
  t.same(ringsOf('container', 3), [[4], [43], [23]]);
  t.same(ringsOf('container', 23), [[3, 4, 43]]);
  t.same(ringsOf('offline', 13), [
    [4, 6, 7, 12, 14, 15],
    [0, 1, 2, 3],
  ]);
});

t.test(
  'who shares a core with nobody, or everything with somebody, has no second ring',
  async (t) => {
    // Two workers on the two threads of one core, and a core of its own for the third.
    const { nodes, cpus, levels } = machine('dumbledore');
    const core = { nodes, cpus: cpus.filter(({ id }) => id === 0 || id === 8) };
    const kinds = ['core', 'package', 'machine'];
    const alone = [
      { kinds: ['thread'], groups: [[0], [8]] },
      { kinds, groups: [[0, 8]] },
    ].map((level) => ({ ...level, shapes: [] }));
    t.same(ringsFor([0, 8, 0], { ...core, levels: alone }), wholeMachine(3), 'one core is all');
    t.same(ringsFor([0, 8, 1], { nodes, cpus, levels }), [[[2], [1]], [[2], [0]], [[0, 1]]]);
    t.same(ringsFor([0, 8], { nodes, cpus, levels }), [[[1]], [[0]]], 'and nobody else is there');
  },
);

t.test('machines with one cache for all, or nothing known of any, have one ring', async (t) => {
  t.same(ringsOf('altra', 5), [[4], others(from(0, 80), [4, 5])]);
  for (const name of ['graviton', 'virtual machine', 'recombinator'] as const) {
    const ids = idsOf(name);
    t.same(ringsFor(ids, machine(name)), wholeMachine(ids.length), name);
  }
});

t.test('within a group nearer memory comes first', async (t) => {
  // Packages 0 to 3 in a ring: 1 and 3 are next to 0, 2 is opposite.
  t.same(ringsOf('ring', 0), [[1], [2, 3, 6, 7], [4, 5]]);
  t.same(ringsOf('ring', 5), [[4], [2, 3, 6, 7], [0, 1]]);
});

t.test('workers on one CPU are near, but no nearer than those next to them', async (t) => {
  const two = machine('recombinator');
  t.same(ringsFor([0, 1, 0, 1, 0], two), wholeMachine(5), 'on one cache nothing changes');
  // Workers 0 and 4 on CPU 0, 1 on its sibling, 2 in the same package, 3 in the other.
  t.same(ringsFor([0, 8, 1, 4, 0], machine('dumbledore')), [
    [[2], [1, 4], [3]],
    [[2], [0, 4], [3]],
    [[0, 1, 4], [3]],
    [[0, 1, 2, 4]],
    [[2], [0, 1], [3]],
  ]);
  const { cpus, nodes } = machine('recombinator');
  const single = {
    nodes,
    cpus: cpus.slice(0, 1),
    levels: [{ kinds: [], shapes: [], groups: [[0]] }],
  };
  t.same(ringsFor([0, 0, 0], single), wholeMachine(3), 'on a single CPU');
});

t.test('who has no place is in the outermost ring, and has one with everybody', async (t) => {
  t.same(ringsFor([null, null, null], machine('dumbledore')), wholeMachine(3));
  t.same(ringsFor([null, 7], null), wholeMachine(2), 'without a machine');
  t.same(ringsFor([0, null, 8, 4], machine('dumbledore')), [
    [[1, 3], [2]],
    [[0, 2, 3]],
    [[1, 3], [0]],
    [[0, 1, 2]],
  ]);
  // Nobody else is in the other package: the outermost ring has only who has no place.
  t.same(ringsFor([0, 8, 99], machine('dumbledore')), [[[1], [2]], [[0], [2]], [[0, 1]]]);
  t.same(ringsFor([3], machine('dumbledore')), [[]], 'one alone has no rings');
});

t.test('every worker is in exactly one ring of every other one', async (t) => {
  for (const name of Object.keys(MACHINES) as MachineName[]) {
    if (name === 'giant') continue;
    const topology = machine(name);
    const count = topology.cpus.length + 3;
    const workers = [...place(count, spread(topology)), null];
    ringsFor(workers, topology).forEach((rings, worker) => {
      const expected = others(from(0, workers.length), [worker]);
      const found = rings.flat().sort((a, b) => a - b);
      if (found.join() !== expected.join()) t.fail(`${name}: worker ${worker}`);
      if (rings.some((ring) => ring.length === 0)) t.fail(`${name}: an empty ring of ${worker}`);
    });
    t.pass(name);
  }
});

t.test('a CPU has rings of CPUs, of those that the process may use', async (t) => {
  const dumbledore = machine('dumbledore');
  t.same(cpuRings(9, idsOf('dumbledore'), dumbledore), ringsOf('dumbledore', 9));
  // Its sibling is not allowed; of its package only 3 and 10 are.
  t.same(cpuRings(9, [3, 4, 9, 10, 12], dumbledore), [
    [3, 10],
    [4, 12],
  ]);
  t.same(cpuRings(0, [0], dumbledore), [], 'a single one has none');
  t.same(cpuRings(2, [1, 2, 3], null), [[1, 3]], 'without a machine there is one');
  t.same(cpuRings(99, [0, 99, 8], dumbledore), [[0, 8]], 'and for one that nobody knows');
  t.same(cpuRings(0, [0, 8, 99], dumbledore), [[8], [99]], 'which is in the last of the others');
});

t.test('1,024 workers are placed and get their rings in less than a second', async (t) => {
  const topology = machine('giant');
  const before = process.cpuUsage();
  const workers = spread(topology);
  const rings = ringsFor(workers, topology);
  const { user } = process.cpuUsage(before);
  // 14 more with the L3, 1 sibling, 48 more in the package, 15 packages of 64.
  t.ok(rings.every((one) => one.map(({ length }) => length).join() === '14,1,48,960'));
  t.ok(user < 1e6, `${user} µs of CPU time`);
});
