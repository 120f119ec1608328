/** What is derived from a tree: fixtures whose facts are known, trees that lack files, and garbage. */
import fc from 'fast-check';
import t from 'tap';
import { describeMachine } from '../../src/scheduler/machine.js';
import { ringsFor } from '../../src/scheduler/neighbourhood.js';
import { spread } from '../../src/scheduler/placement.js';
import { idList } from '../../src/scheduler/sysfs-text.js';
import { type Cache, cacheName, type Topology } from '../../src/scheduler/topology.js';
import { type Files, MACHINES, treeOf } from '../fixtures/topology/machines.js';
import { from, machine } from '../support/described.js';

const CPU = 'devices/system/cpu';

function describe(files: Files, affinity: readonly number[] | null = null): Topology {
  return describeMachine(treeOf(files), { affinity, processor: null, pageBytes: null });
}
/** The fixture without the files that match, and with others. */
function changed(name: keyof typeof MACHINES, without: RegExp, files: Files = {}): Topology {
  const kept = Object.entries(MACHINES[name]().files).filter(([file]) => !without.test(file));
  return describe({ ...Object.fromEntries(kept), ...files }, MACHINES[name]().affinity);
}
const groupsOf = ({ levels }: Topology) => levels.map(({ groups }) => groups);
const ids = ({ cpus }: Topology) => cpus.map(({ id }) => id);
/** `name size in KB: how many`, in order. */
const caches = (topology: Topology) => {
  const counts = new Map<string, number>();
  for (const cache of topology.caches) {
    const name = `${cacheName(cache)} ${(cache.sizeBytes ?? 0) / 1024}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${name}: ${count}`);
};

t.test('every part of a machine is counted and says which CPUs it has', async (t) => {
  const epyc = machine('epyc');
  const count = (topology: Topology) => [
    ...[topology.cpus.length, topology.cores.length, topology.clusters.length],
    ...[topology.dies.length, topology.packages.length, topology.nodes.length],
  ];
  t.same(count(epyc), [256, 128, 0, 2, 2, 8]);
  t.same(caches(epyc), ['L1d 32: 128', 'L1i 32: 128', 'L2 512: 128', 'L3 32768: 16']);
  t.same(epyc.cpus[200], {
    id: 200,
    core: 72,
    cluster: null,
    die: 1,
    package: 1,
    node: 4,
    type: 0,
  });
  t.same(epyc.cores[72], { id: 8, cpus: [72, 200] });
  t.same(epyc.nodes[4], {
    ...{ id: 4, cpus: [...from(64, 16), ...from(192, 16)], memoryBytes: 32 * 2 ** 30 },
    ...{ distances: [32, 32, 32, 32, 10, 12, 12, 12], hugePages: [] },
  });
  t.same(count(machine('wopr')), [16, 16, 0, 0, 4, 0]);
  t.same(caches(machine('wopr')), ['L2 4096: 8']);
  t.same(count(machine('altra')), [80, 80, 40, 0, 1, 1]);
  t.same(count(machine('virtual machine')), [2, 2, 0, 0, 2, 1]);
  t.same(machine('xeon').cores[19], { id: 28, cpus: [19, 59] });
});

t.test('a cache is described whole', async (t) => {
  const l3 = machine('hybrid').caches.at(-1) as Cache;
  t.same(l3, {
    ...{ level: 3, type: 'unified', sizeBytes: 30 * 2 ** 20, lineBytes: 64, ways: 12, sets: 40960 },
    cpus: from(0, 24),
  });
  t.same(caches(machine('hybrid')), [
    ...['L1d 48: 8', 'L1d 32: 8', 'L1i 32: 8', 'L1i 64: 8'],
    ...['L2 1280: 8', 'L2 2048: 2', 'L3 30720: 1'],
  ]);
});

t.test('equal CPUs are one type', async (t) => {
  for (const name of ['epyc', 'wopr', 'container', 'graviton'] as const) {
    t.same(
      machine(name).types.map(({ cpus }) => cpus),
      [ids(machine(name))],
      name,
    );
    t.equal(machine(name).types[0]?.kind, null, 'of no particular kind');
  }
  t.match(machine('hybrid').types, [
    {
      kind: 'performance',
      cpus: from(0, 16),
      minKHz: 800_000,
      maxKHz: 5_100_000,
      baseKHz: 3_200_000,
    },
    { kind: 'efficiency', cpus: from(16, 8), maxKHz: 3_900_000 },
  ]);
  t.match(machine('altra').types, [
    {
      ...{ capacity: 1024, minKHz: 1_000_000, maxKHz: 3_000_000, baseKHz: null },
      midr: { implementer: 0x41, variant: 3, part: 0xd0c, revision: 1, name: 'Arm Neoverse N1' },
    },
  ]);
  t.equal(machine('graviton').types[0]?.midr?.name, 'Arm Neoverse V1');
});

t.test('without lists of kinds, capacity or frequency tells efficiency cores', async (t) => {
  const kinds = (topology: Topology) => topology.types.map(({ kind, cpus }) => [kind, cpus.length]);
  const expected = [
    ['performance', 16],
    ['efficiency', 8],
  ];
  t.same(kinds(changed('hybrid', /cpu_(core|atom)/)), expected, 'by frequency: 3.9 of 5.1 GHz');
  const capacities = Object.fromEntries(
    from(0, 24).map((cpu) => [`${CPU}/cpu${cpu}/cpu_capacity`, cpu < 16 ? '1024\n' : '623\n']),
  );
  t.same(kinds(changed('hybrid', /cpu_(core|atom)|cpufreq/, capacities)), expected);
  // A favoured core turbos higher. It is not equal, but of the same kind.
  const favoured = { [`${CPU}/cpu5/cpufreq/cpuinfo_max_freq`]: '3100000\n' };
  t.same(kinds(changed('altra', /^$/, favoured)), [
    [null, 79],
    [null, 1],
  ]);
});

t.test('usable is what is online and in the mask', async (t) => {
  t.same(ids(machine('container')), [3, 4, 23, 43]);
  t.match(machine('offline'), {
    ...{ possible: from(0, 16), present: from(0, 16) },
    online: [0, 1, 2, 3, 4, 6, 7, 12, 13, 14, 15],
  });
  const { files } = MACHINES.offline();
  t.same(ids(describe(files, [4, 5, 6])), [4, 6], '5 is off');
  t.same(ids(describe(files, [5])), [5], 'the mask says that it runs, so it does');
  t.same(
    ids(changed('offline', /cpu\/(online|possible|present)$/)),
    [...[0, 1, 2, 3, 4, 6, 7, 12, 13, 14, 15]],
    'without a list each CPU says so itself',
  );
  t.throws(() => describe({}), { code: 'ERR_GYRE_TOPOLOGY' });
  t.same(ids(describe({}, [7, 2])), [2, 7], 'a mask alone is enough');
});

t.test('older names of files do as well, and so do ids without sets', async (t) => {
  const expected = groupsOf(machine('dumbledore'));
  const renamed = Object.fromEntries(
    Object.entries(MACHINES.dumbledore().files).map(([file, text]) => [
      file
        .replace('core_cpus_list', 'thread_siblings_list')
        .replace('package_cpus', 'core_siblings'),
      text,
    ]),
  );
  t.same(groupsOf(describe(renamed)), expected);
  t.same(groupsOf(changed('dumbledore', /(core|package)_cpus_list/)), expected);
  t.same(groupsOf(changed('dumbledore', /cpu[0-7]\/topology\/.*list/)), expected, 'half of them');
});

t.test('whatever is missing is unknown, and the rest stands', async (t) => {
  const cases: [string, Topology, number[][][]][] = [
    [
      'caches',
      changed('wopr', /\/cache\//),
      [
        ...[
          from(0, 16).map((cpu) => [cpu]),
          [0, 1, 2, 3].map((first) => from(first, 4, 4)),
          [from(0, 16)],
        ],
      ],
    ],
    ['topology', changed('virtual machine', /\/topology\//), [[[0], [1]], [[0, 1]]]],
    [
      'all but the CPUs',
      changed('wopr', /topology|cache/),
      [from(0, 16).map((cpu) => [cpu]), [from(0, 16)]],
    ],
    ['nodes', changed('xeon', /system\/node/), groupsOf(machine('xeon')) as number[][][]],
    ['a list of nodes', changed('xeon', /node\/online/), groupsOf(machine('xeon')) as number[][][]],
    ['sharing sets', changed('recombinator', /shared_cpu_list/), [[[0], [1]], [[0, 1]]]],
  ];
  for (const [what, topology, groups] of cases)
    t.same(groupsOf(topology), groups, `without ${what}`);
  const nowhere = changed('xeon', /system\/node/);
  t.same(nowhere.nodes, []);
  t.ok(nowhere.cpus.every(({ node }) => node === null));
  const numberless = changed('hybrid', /size|sets|ways|line_size/);
  t.match(numberless.caches[0], { sizeBytes: null, lineBytes: null, ways: null, sets: null });
  t.same(groupsOf(numberless), groupsOf(machine('hybrid')));
  t.same(
    changed('xeon', /distance/).nodes.map(({ distances }) => distances),
    [
      [10, 20],
      [20, 10],
    ],
    "the kernel's own defaults",
  );
  const unset = Object.fromEntries(
    from(0, 2).map((cpu) => [`${CPU}/cpu${cpu}/topology/physical_package_id`, '-1\n']),
  );
  const unpacked = changed('virtual machine', /package/, unset);
  t.same(unpacked.packages, [{ id: null, cpus: [0, 1] }], 'no package is one for all');
});

t.test('nodes have huge pages, and may have ids with gaps or no CPUs', async (t) => {
  const files = MACHINES.recombinator().files;
  const node = 'devices/system/node';
  const pools = (dir: string, kB: number, total: string): Files => ({
    [`${dir}/hugepages-${kB}kB/nr_hugepages`]: total,
    [`${dir}/hugepages-${kB}kB/free_hugepages`]: '3\n',
  });
  const topology = describe({
    ...files,
    [`${node}/online`]: '2,5\n',
    [`${node}/node2/cpulist`]: '0-1\n',
    [`${node}/node2/distance`]: '10 17\n',
    [`${node}/node5/cpulist`]: '\n',
    [`${node}/node5/distance`]: '17 10\n',
    [`${node}/node5/meminfo`]: 'Node 5 MemTotal:  1024 kB\nNode 5 MemFree:  12 kB\n',
    ...pools(`${node}/node2/hugepages`, 2048, '4\n'),
    ...pools('kernel/mm/hugepages', 1_048_576, 'none'),
    ...pools('kernel/mm/hugepages', 2048, '8\n'),
    'kernel/mm/transparent_hugepage/enabled': 'always [madvise] never\n',
  });
  t.same(topology.nodes, [
    {
      ...{ id: 2, cpus: [0, 1], memoryBytes: null, distances: [10, 17] },
      hugePages: [{ sizeBytes: 2 ** 21, total: 4, free: 3 }],
    },
    { id: 5, cpus: [], memoryBytes: 2 ** 20, distances: [17, 10], hugePages: [] },
  ]);
  t.same(topology.hugePages, [
    { sizeBytes: 2 ** 21, total: 8, free: 3 },
    { sizeBytes: 2 ** 30, total: null, free: 3 },
  ]);
  t.equal(topology.transparentHugePages, 'madvise');
  t.same(groupsOf(topology), groupsOf(machine('recombinator')), 'memory alone groups no CPUs');
});

t.test('lists of ids are read as the kernel writes them, and nothing else is', async (t) => {
  t.same(idList('0-2,7\n', 8), [0, 1, 2, 7]);
  t.same(idList('\n', 8), []);
  t.same(idList('6-999999999', 8), [6, 7], 'no further than there can be any');
  for (const wrong of [
    '5,1',
    '1,1',
    '0-3,2',
    '3-1',
    'a',
    '-1',
    '0-',
    '0--1',
    '0 1',
    '0,,1',
    '1.5',
    '\ufffd',
    '9999999999',
  ]) {
    t.equal(idList(wrong, 8), null, wrong);
  }
});

t.test('a topology is plain data', async (t) => {
  const topology = machine('hybrid');
  t.same(structuredClone(topology), topology);
  t.same(JSON.parse(JSON.stringify(topology)), topology);
});

t.test('garbage never throws anything but a coded error, and never hangs', async (t) => {
  const file = fc.oneof(
    ...[
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('', '\n', '\0', '\ufffd\ufffd'),
    ],
    ...[fc.integer().map(String), fc.double().map(String), fc.bigInt().map(String)],
    fc.constantFrom(
      '0-8191\n',
      '0-99999999',
      '4294967295',
      '-1\n',
      '1e9',
      '0x10',
      '0-3,5-7',
      '1,2,',
    ),
    fc.array(fc.nat(20), { maxLength: 20 }).map((list) => list.join()),
    fc.constantFrom(
      'x'.repeat(65_536),
      '0,'.repeat(32_768),
      '0-8191,'.repeat(9_000),
      '1 '.repeat(32_768),
    ),
    fc.constantFrom('Data', 'Unified', '32K', '-32K', '99999999999999K', '0K'),
  );
  const names = [...new Set(['dumbledore', 'xeon', 'hybrid'] as const)];
  const mutation = fc.record({
    name: fc.constantFrom(...names),
    // Which files are replaced, and by what, or cut after how many characters.
    picks: fc.array(fc.tuple(fc.nat(), fc.oneof(file, fc.nat(12))), {
      minLength: 1,
      maxLength: 40,
    }),
    affinity: fc.option(fc.uniqueArray(fc.nat(30), { maxLength: 10 })),
    // All files of one name, as a broken kernel would have it.
    everywhere: fc.option(fc.tuple(fc.nat(), file)),
  });
  const trees = Object.fromEntries(names.map((name) => [name, MACHINES[name]().files]));
  let described = 0;
  fc.assert(
    fc.property(mutation, ({ name, picks, affinity, everywhere }) => {
      const files = { ...(trees[name] as Files) };
      const paths = Object.keys(files);
      const at = (pick: number) => paths[pick % paths.length] as string;
      for (const [pick, text] of picks) {
        const path = at(pick);
        files[path] = typeof text === 'string' ? text : (files[path] as string).slice(0, text);
      }
      if (everywhere !== null) {
        const last = at(everywhere[0]).split('/').at(-1) as string;
        for (const path of paths) if (path.endsWith(`/${last}`)) files[path] = everywhere[1];
      }
      let topology: Topology;
      try {
        topology = describe(files, affinity);
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_GYRE_TOPOLOGY';
      }
      described += 1;
      // Whatever it is, it is consistent: who uses it needs no checks.
      const all = ids(topology);
      const workers = spread(topology, 64);
      const rings = ringsFor(workers, topology);
      return (
        topology.levels.every(({ groups }) => groups.flat().length === all.length) &&
        topology.levels.at(-1)?.groups.length === 1 &&
        new Set(workers).size === Math.min(64, all.length) &&
        rings.every((one) => one.flat().length === workers.length - 1) &&
        topology.caches.every(
          ({ cpus }) => cpus.length > 0 && cpus.every((cpu) => all.includes(cpu)),
        ) &&
        JSON.stringify(topology).length > 0
      );
    }),
    { numRuns: 200 },
  );
  t.ok(described > 0, 'some of them are machines');
});

t.test('a tree of nothing but garbage is described as far as it goes', async (t) => {
  // Every path exists, in every directory are the same names, and every file says the same.
  for (const text of ['0-8191', '1', '', '\ufffd', '-1', '65535']) {
    const names = [
      'cpu0',
      'cpu1',
      'cpu8191',
      'cpu99999',
      'index0',
      'index1',
      'node0',
      'node7',
      'hugepages-2048kB',
    ];
    const tree = { read: () => text, list: () => names };
    const before = process.cpuUsage();
    const topology = describeMachine(tree, { affinity: null, processor: null, pageBytes: null });
    t.equal(topology.levels.at(-1)?.groups.length, 1, JSON.stringify(text));
    const { user } = process.cpuUsage(before);
    t.ok(user < 10e6, `${user} µs of CPU time`);
  }
});
