/**
 * Scheduling groups of every fixture, as a person derives them: CPUs are in one group of a level
 * if they share what the level is named after, directly or through others.
 */
import fc from 'fast-check';
import t from 'tap';
import { type Level, levelsOf } from '../../src/scheduler/groups.js';
import type { MachineName } from '../fixtures/topology/machines.js';
import { from, machine } from '../support/described.js';

/** `kinds: number of groups`, for each level. */
const outline = (levels: readonly Level[]) =>
  levels.map(({ kinds, groups }) => `${kinds.join(' ')}: ${groups.length}`);
/** `number of equal groups × CPUs in each`. */
const shapes = ({ shapes }: Level) => shapes.map(({ count, cpus }) => `${count} x ${cpus}`);
const groups = (name: MachineName, level: number) => machine(name).levels[level]?.groups;

t.test('recombinator: two cores, then their L2, which is all there is', async (t) => {
  t.same(outline(machine('recombinator').levels), ['thread core: 2', 'L2 package machine: 1']);
  t.same(groups('recombinator', 1), [[0, 1]]);
});

t.test('WOPR: pairs share an L2, fours a package, whatever their ids are', async (t) => {
  // Package 0 has, in the order of its cores, CPUs 0, 8, 4, 12, and cores {0,1} and {2,3}
  // share a cache: so {0,8} and {4,12}. The other packages are the same, one further.
  t.same(outline(machine('wopr').levels), ['thread core: 16', 'L2: 8', 'package: 4', 'machine: 1']);
  t.same(groups('wopr', 1), [
    ...[
      [0, 8],
      [1, 9],
      [2, 10],
      [3, 11],
    ],
    ...[
      [4, 12],
      [5, 13],
      [6, 14],
      [7, 15],
    ],
  ]);
  t.same(
    groups('wopr', 2),
    [0, 1, 2, 3].map((first) => from(first, 4, 4)),
  );
  t.same(
    machine('wopr').packages.map(({ id }) => id),
    [0, 2, 4, 6],
  );
});

t.test('dumbledore: threads of a core, cores of a package, packages', async (t) => {
  // The L2 is each core's own and folds into it, as the L3 does into the package.
  t.same(outline(machine('dumbledore').levels), [
    ...['thread: 16', 'core L2: 8', 'L3 package: 2', 'machine: 1'],
  ]);
  t.same(
    groups('dumbledore', 1),
    from(0, 8).map((core) => [core, core + 8]),
  );
  t.same(groups('dumbledore', 2), [
    [0, 1, 2, 3, 8, 9, 10, 11],
    [4, 5, 6, 7, 12, 13, 14, 15],
  ]);
});

t.test('two EPYC 7713 in NPS4: a node is a part of a package and holds two L3s', async (t) => {
  // 128 cores / 8 = 16 L3s, / 16 = 8 nodes, / 64 = 2 packages. Nodes of one package are 12 apart,
  // so that distance is the package over again; 32 joins everything.
  t.same(outline(machine('epyc').levels), [
    ...['thread: 256', 'core L1d L1i L2: 128', 'L3: 16', 'node: 8'],
    ...['die package distance 12: 2', 'distance 32 machine: 1'],
  ]);
  t.same(groups('epyc', 2)?.[1], [...from(8, 8), ...from(136, 8)]);
  t.same(groups('epyc', 3)?.[7], [...from(112, 16), ...from(240, 16)]);
  const [, ...without] = outline(machine('epyc').levels);
  t.same(
    outline(machine('epyc without SMT').levels),
    ['thread core L1d L1i L2: 128', ...without.slice(1)],
    'without second threads the core separates nothing',
  );
});

t.test('hybrid: performance cores have threads, efficiency cores share an L2', async (t) => {
  const { levels } = machine('hybrid');
  t.same(outline(levels), [
    ...['thread: 24', 'core L1d L1i: 16', 'L2 cluster: 10', 'L3 die package node machine: 1'],
  ]);
  // Threads of either kind; 8 cores of two threads beside 8 of one; the former alone with
  // their L2, the latter in fours.
  t.same(levels.map(shapes), [
    ...[['16 x 1', '8 x 1'], ['8 x 2', '8 x 1'], ['8 x 2', '2 x 4'], ['1 x 24']],
  ]);
  t.same(
    levels[2]?.shapes.map(({ first }) => first),
    [0, 8],
  );
});

t.test('two Xeons with SMT', async (t) => {
  t.same(outline(machine('xeon').levels), [
    ...['thread: 80', 'core L1d L1i L2: 40', 'L3 die package node: 2', 'distance 21 machine: 1'],
  ]);
  t.same(groups('xeon', 2)?.[1], [...from(20, 20), ...from(60, 20)]);
});

t.test('Arm servers: what is not there makes no level', async (t) => {
  t.same(outline(machine('altra').levels), [
    ...['thread core L1d L1i L2: 80', 'cluster: 40', 'package node machine: 1'],
  ]);
  t.same(groups('altra', 1)?.[39], [78, 79]);
  t.same(outline(machine('graviton').levels), [
    ...['thread core L1d L1i L2: 64', 'L3 package node machine: 1'],
  ]);
});

t.test('a virtual machine: packages of one CPU separate nothing', async (t) => {
  t.same(outline(machine('virtual machine').levels), ['thread core package: 2', 'node machine: 1']);
});

t.test('in a container only what it may use is in groups', async (t) => {
  // Of the Xeons 3, 4, 23, 43: 43 is the second thread of 3's core, 4 is in the same
  // package, 23 in the other one.
  const { levels } = machine('container');
  t.same(
    levels.map(({ groups }) => groups),
    [[[3], [4], [23], [43]], [[3, 43], [4], [23]], [[3, 4, 43], [23]], [[3, 4, 23, 43]]],
  );
  t.same(levels.map(shapes), [['4 x 1'], ['1 x 2', '2 x 1'], ['1 x 3', '1 x 1'], ['1 x 4']]);
});

t.test('CPUs that are off are in no group', async (t) => {
  // dumbledore without 5 and 8 to 11: package 0 keeps first threads, package 1 loses 5.
  t.same(
    machine('offline')
      .levels.map(({ groups }) => groups)
      .slice(1),
    [
      [[0], [1], [2], [3], [4, 12], [6, 14], [7, 15], [13]],
      [
        [0, 1, 2, 3],
        [4, 6, 7, 12, 13, 14, 15],
      ],
      [[0, 1, 2, 3, 4, 6, 7, 12, 13, 14, 15]],
    ],
  );
});

t.test('nodes in a ring are one group: steps of the same cost connect them all', async (t) => {
  t.same(outline(machine('ring').levels), [
    ...['thread core: 8', 'L3 package node: 4', 'distance 16 machine: 1'],
  ]);
});

t.test('groups nest, each level separates, and the last one is everything', async () => {
  const cpus = fc.uniqueArray(fc.nat(40), { minLength: 1, maxLength: 16 });
  const blocks = fc.array(fc.array(fc.nat(40), { maxLength: 6 }), { maxLength: 6 });
  const relations = fc.array(fc.record({ kind: fc.string(), blocks }), { maxLength: 5 });
  fc.assert(
    fc.property(cpus, relations, (unsorted, relations) => {
      const ids = unsorted.sort((a, b) => a - b);
      const levels = levelsOf(
        ids,
        ids.map((id) => id % 2),
        relations,
      );
      let before: readonly (readonly number[])[] = [];
      for (const { groups, shapes } of levels) {
        if (
          groups
            .flat()
            .sort((a, b) => a - b)
            .join() !== ids.join()
        )
          return false;
        const holds = (part: readonly number[]) =>
          groups.filter((group) => part.every((cpu) => group.includes(cpu))).length === 1;
        if (!before.every(holds)) return false;
        if (before.length > 0 && groups.length >= before.length) return false;
        if (shapes.reduce((sum, { count }) => sum + count, 0) !== groups.length) return false;
        before = groups;
      }
      const kinds = levels.flatMap(({ kinds }) => kinds).length;
      return before.length === 1 && kinds === relations.length + 2;
    }),
  );
});
