/** The text and the object, for every fixture. */
import t from 'tap';
import { identify } from '../src/scheduler/cpuid.js';
import { describeMachine } from '../src/scheduler/machine.js';
import { topologyObject, topologyText } from '../src/topology-report.js';
import { recorded } from './fixtures/topology/leaves.js';
import { MACHINES, type MachineName, treeOf } from './fixtures/topology/machines.js';
import { machine } from './support/described.js';

const PLAN = { placement: 'divergent', cpus: [null] } as const;
const text = (name: MachineName) => topologyText(machine(name), PLAN, null);
/** Lines of the tree. */
const tree = (name: MachineName) => text(name).split('\n\n')[1]?.split('\n');

t.test('every fixture has a text in which every CPU is somewhere, and an object', async (t) => {
  for (const name of Object.keys(MACHINES) as MachineName[]) {
    const lines = tree(name) as string[];
    const listed = lines.flatMap((line) => {
      const [, ids] = /CPUs? ([\d,+ -]+)$/.exec(line) ?? [];
      return (ids?.split(/[,+ ]+/) ?? []).flatMap((range) => {
        const [first = 0, last = first] = range.split('-').map(Number);
        return Array.from({ length: last - first + 1 }, (_, at) => first + at);
      });
    });
    t.same(
      listed.sort((a, b) => a - b),
      machine(name).cpus.map(({ id }) => id),
      name,
    );
    t.ok(Math.max(...lines.map(({ length }) => length)) < 120, name);
    t.ok(lines.length < 50, name);
    t.same(JSON.parse(JSON.stringify(topologyObject(machine(name), PLAN))).version, 1);
  }
});

t.test('packages, nodes and caches that are the same CPUs are one line', async (t) => {
  t.same(tree('dumbledore'), [
    'machine',
    '├─ package 0, L3 8 MB',
    '│  └─ 4 cores, each L2 256 KB, 2 threads: CPUs 0-3 + 8-11',
    '└─ package 1, L3 8 MB',
    '   └─ 4 cores, each L2 256 KB, 2 threads: CPUs 4-7 + 12-15',
  ]);
  t.same(tree('recombinator'), ['machine, package 0, L2 4 MB', '└─ 2 cores: CPUs 0-1']);
  t.same(tree('virtual machine'), [
    'machine, node 0 (32 GB)',
    '└─ 2 cores, each a package of its own: CPUs 0-1',
  ]);
});

t.test('cores that differ are on lines of their own', async (t) => {
  t.same(tree('offline'), [
    'machine',
    '├─ package 0, L3 8 MB',
    '│  └─ 4 cores, each L2 256 KB: CPUs 0-3',
    '└─ package 1, L3 8 MB',
    '   ├─ 3 cores, each L2 256 KB, 2 threads: CPUs 4,6-7 + 12,14-15',
    '   └─ 1 core, L2 256 KB: CPU 13',
  ]);
  t.match(text('offline'), /^11 usable CPUs \(5 offline\), 8 cores, 2 packages, 0 memory nodes\n/);
  t.match(text('container'), /^4 usable CPUs \(80 online\), 3 cores, 2 packages, 2 memory nodes\n/);
});

t.test('a processor names itself, its TLBs, and the caches that the system hides', async (t) => {
  const { files } = MACHINES['virtual machine']();
  const processor = identify(recorded('cascade lake'));
  const topology = describeMachine(treeOf(files), { affinity: null, processor, pageBytes: 4096 });
  const printed = topologyText(topology, { placement: 'collaborative', cpus: [1, 0, 1] }, null);
  for (const line of [
    'Intel(R) Xeon(R) Platinum 8269C CPU @ 2.50GHz  (GenuineIntel, family 6, model 85, stepping 6)',
    '  L3   35.75 MB  11-way  says the processor; the system does not say who shares it',
    '      data         1GB       4 entries     4-way',
    '  L2  unified      4KB, 2MB  1536 entries  6-way',
    '  pages of 4 KB',
    '3 workers, collaborative',
    '  worker 1  CPU 0  0,2',
  ]) {
    t.ok(printed.split('\n').includes(line), line);
  }
  t.match(printed, 'devices may write into caches');
});

t.test('one CPU alone has nobody to give to', async (t) => {
  const tree = { read: () => null, list: () => [] };
  const topology = describeMachine(tree, { affinity: [3], processor: null, pageBytes: null });
  const printed = topologyText(topology, { placement: 'divergent', cpus: [3] }, null);
  t.match(
    printed,
    /^1 usable CPU, 1 core, 1 package, 0 memory nodes\n\nmachine\n└─ 1 core, a package of its own: CPU 3\n/,
  );
  t.match(printed, / {2}worker 0 {2}CPU 3 {2}nobody\n/);
});
