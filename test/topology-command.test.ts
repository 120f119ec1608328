/** `gyre topology` as its user meets it: a process, its output, its exit code. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { topology } from '../src/index.js';
import { affinity, cpuid } from '../src/native.js';
import type { Topology } from '../src/scheduler/topology.js';
import { MACHINES, type MachineName, writeTree } from './fixtures/topology/machines.js';
import { CLI, ROOT } from './support/app.js';
import { machine } from './support/described.js';
import { gyre } from './support/running.js';

/** A fixture's sysfs on the disk. One for each test. */
function tree(t: Test, name: MachineName): string {
  const dir = t.testdir();
  writeTree(dir, MACHINES[name]().files);
  return dir;
}

async function run(t: Test, ...args: string[]) {
  const command = gyre(t, ['topology', ...args]);
  const { code } = await command.ended();
  return { code, stdout: command.stdout, stderr: command.stderr };
}

async function json(t: Test, ...args: string[]) {
  const { code, stdout, stderr } = await run(t, '--json', ...args);
  t.equal(code, 0, stderr);
  return JSON.parse(stdout) as Topology & {
    version: number;
    placement: string;
    workers: { index: number; cpu: number; rings: number[][] }[];
  };
}

t.test('a machine is printed as a tree of what shares what', async (t) => {
  const dir = tree(t, 'hybrid');
  const { code, stdout, stderr } = await run(t, '--sysfs', dir);
  t.equal(code, 0);
  t.equal(stderr, '');
  const expected = [
    '24 usable CPUs, 16 cores, 1 package, 1 memory node, 2 types of CPU',
    '',
    'machine, package 0, node 0 (32 GB), L3 30 MB',
    '├─ 8 cores, each L2 1.25 MB, L1d 48 KB, L1i 32 KB, 2 threads: CPUs 0,2,4,6,8,10,12,14 + 1,3,5,7,9,11,13,15',
    '├─ cluster 64, L2 2 MB',
    '│  └─ 4 cores, each L1d 32 KB, L1i 64 KB: CPUs 16-19',
    '└─ cluster 72, L2 2 MB',
    '   └─ 4 cores, each L1d 32 KB, L1i 64 KB: CPUs 20-23',
  ];
  t.same(stdout.split('\n').slice(0, expected.length), expected);
  for (const line of [
    '  performance, 0.8 GHz to 5.1 GHz, base 3.2 GHz  CPUs 0-15',
    '  L2   1.25 MB  10-way  2048 sets   64-byte lines  for 2 CPUs   × 8',
    '  node 0  32 GB  CPUs 0-23  distances 10',
    '  L2  8 × 2 CPUs, 2 × 4 CPUs  L2, cluster',
    '24 workers, divergent',
    '  worker 1   CPU 2   0,2-16,18-23 | 17',
  ]) {
    t.ok(stdout.split('\n').includes(line), line);
  }
});

t.test(
  'what is alike is not printed forty times, and workers of one CPU can be asked for',
  async (t) => {
    const { stdout } = await run(t, '--sysfs', tree(t, 'altra'), '--workers', '81', '--cpu', '0');
    t.match(stdout, '├─ cluster 0\n│  └─ 2 cores, each L2 1 MB, L1d 64 KB, L1i 64 KB: CPUs 0-1\n');
    t.match(stdout, '└─ and 39 more like it: CPUs 2-79\n');
    t.match(
      stdout,
      /81 workers, divergent\n.*\n {2}worker 0 {3}CPU 0 {2}40,80 \| .*\n {2}worker 80 {2}CPU 0 {2}0,40 \| /,
    );
    t.match(stdout, /^Arm Neoverse N1\n80 usable CPUs, 80 cores/);
  },
);

t.test('JSON is the topology, with a version, and where workers go', async (t) => {
  for (const name of ['offline', 'virtual machine', 'ring'] as const) {
    const { version, placement, workers, ...described } = await json(t, '--sysfs', tree(t, name));
    t.same([version, placement, workers.length], [1, 'divergent', described.cpus.length], name);
    t.same(described, machine(name), name);
  }
});

t.test('JSON has the fields that are documented, and no others', async (t) => {
  const text = readFileSync(path.join(ROOT, 'docs', 'topology.md'), 'utf8');
  // Of each table row the names in its first cell: `a`, `a[].b`, `.c` (which goes on from the one before).
  const documented = new Set<string>();
  for (const [, cell = ''] of text.matchAll(/^\| (`.*?) \|/gm)) {
    let parent = '';
    for (const [, name = ''] of cell.matchAll(/`([^`]+)`/g)) {
      const full = name.startsWith('.') ? parent + name : name;
      parent = full.slice(0, Math.max(0, full.lastIndexOf('.')));
      documented.add(full);
    }
  }
  const found = new Set<string>();
  const parts = new Set([
    'cores',
    'clusters',
    'dies',
    'packages',
    'hugePages',
    'workers',
    'midr',
    'tlbs',
    'shapes',
  ]);
  const collect = (value: unknown, at: string): void => {
    const [name = ''] = at
      .split(/[.[\]]+/)
      .filter(Boolean)
      .slice(-1);
    if (Array.isArray(value)) {
      if (!parts.has(name)) for (const item of value) collect(item, `${at}[]`);
    } else if (typeof value === 'object' && value !== null && !parts.has(name)) {
      for (const [key, inner] of Object.entries(value)) {
        const path = at === '' ? key : `${at}.${key}`;
        if (at !== 'processor.caches[]') found.add(path);
        collect(inner, path);
      }
    }
  };
  collect(await json(t), '');
  for (const name of ['processor', 'types[].midr']) found.add(name);
  const missing = [...found].filter((name) => !documented.has(name));
  t.same(missing, [], 'documented');
  const extra = [...documented].filter(
    (name) => !found.has(name) && !name.startsWith('processor.'),
  );
  t.same(extra, [], 'there');
});

t.test('workers are placed as asked', async (t) => {
  const dir = tree(t, 'dumbledore');
  const cpus = async (...flags: string[]) =>
    (await json(t, '--sysfs', dir, ...flags)).workers.map(({ cpu }) => cpu);
  t.same(await cpus('--workers', '3'), [0, 4, 1]);
  t.same(await cpus('--workers', '3', '--placement', 'collaborative'), [0, 8, 1]);
  t.equal((await cpus('--workers', 'auto')).length, 16);
  const { workers } = await json(t, '--sysfs', dir, '--workers', '4');
  t.same(workers[0], { index: 0, cpu: 0, rings: [[2], [1, 3]] });
});

t.test('the floor plan is a file, or stdout', async (t) => {
  const dir = tree(t, 'epyc without SMT');
  const file = path.join(dir, 'plan.svg');
  const quiet = await run(t, '--sysfs', dir, '--svg', file, '--cpu', '17');
  t.same(quiet, { code: 0, stdout: '', stderr: '' });
  const svg = readFileSync(file, 'utf8');
  t.match(svg, /^<svg .*<\/svg>\n$/s);
  t.match(svg, 'gyre 1: 7 CPUs: 16,18-23');
  const piped = await run(t, '--sysfs', dir, '--svg', '-', '--cpu', '17');
  t.equal(piped.stdout, svg);
  const both = await run(t, '--sysfs', dir, '--svg', file, '--json');
  t.equal(JSON.parse(both.stdout).cpus.length, 128);
});

t.test('a wrong flag, and a directory that is no sysfs, are named and exit with 2', async (t) => {
  const dir = tree(t, 'recombinator');
  const wrong: [string[], RegExp][] = [
    [['--cpu', 'x'], /--cpu.*number from 0 to 8191/],
    [['--cpu', '-1'], /--cpu/],
    [['--cpu', '2', '--sysfs', dir], /ERR_GYRE_CPUS: --cpu 2 is not one of the usable CPUs/],
    [['--cpu'], /argument missing/],
    [['--workers', '0'], /--workers.*number from 1 to 1024 or 'auto'/],
    [['--workers', '1025'], /--workers/],
    [['--workers', 'inline'], /--workers/],
    [['--placement', 'near'], /--placement.*divergent, collaborative/],
    [['--sysfs', path.join(dir, 'nowhere')], /ERR_GYRE_TOPOLOGY/],
    [['--sysfs', '/dev/null'], /ERR_GYRE_TOPOLOGY/],
    [['--sysfs', ''], /ERR_GYRE_TOPOLOGY/],
    [['--svg', path.join(dir, 'nowhere', 'x.svg')], /ENOENT/],
    [['--svg', '-', '--json'], /both/],
    [['--colour'], /unknown option/],
    [['extra'], /too many arguments/],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = await run(t, ...args);
    t.equal(code, 2, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, message);
    t.notMatch(stderr, /^\s+at /m, 'no stack');
  }
});

t.test('a directory may hold anything: nothing is waited for', async (t) => {
  const cpu = 'devices/system/cpu';
  const dir = tree(t, 'recombinator');
  const fifo = path.join(dir, cpu, 'cpu0/topology/core_id');
  spawnSync('rm', [fifo]);
  t.equal(spawnSync('mkfifo', [fifo]).status, 0);
  spawnSync('rm', [path.join(dir, cpu, 'cpu1/topology/core_id')]);
  mkdirSync(path.join(dir, cpu, 'cpu1/topology/core_id'));
  writeFileSync(
    path.join(dir, cpu, 'cpu1/topology/physical_package_id'),
    Buffer.alloc(1 << 20, 0xff),
  );
  const { cores, packages } = await json(t, '--sysfs', dir);
  t.same(cores, [
    { id: null, cpus: [0] },
    { id: null, cpus: [1] },
  ]);
  t.same(packages, [{ id: 0, cpus: [0, 1] }]);
});

t.test('who stops reading stops it, without an error', async (t) => {
  const dir = tree(t, 'epyc without SMT');
  const script = 'set -o pipefail; "$@" | head -c 1';
  const args = [process.execPath, CLI, 'topology', '--json', '--sysfs', dir];
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', ...args], {
    encoding: 'utf8',
  });
  t.same({ status, stdout, stderr }, { status: 0, stdout: '{', stderr: '' });
});

t.test('topology() is this machine, or a copied one', async (t) => {
  t.same(
    topology().cpus.map(({ id }) => id),
    affinity(),
  );
  t.same(topology(tree(t, 'wopr')), machine('wopr'));
  t.throws(() => topology('/dev/null'), { code: 'ERR_GYRE_TOPOLOGY' });
  for (const wrong of [null, 1, '', 'a\0', {}]) {
    t.throws(() => topology(wrong as string), { code: 'ERR_GYRE_OPTION_INVALID' });
  }
});

/** What a command prints, or why it cannot. */
function output(command: string, ...args: string[]): { text: string; skip: string | false } {
  const { error, status, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error !== undefined) return { text: '', skip: `${command}: ${error.message}` };
  return { text: stdout, skip: status === 0 ? false : `${command} exits with ${status}` };
}

const TASKSET = output('taskset', '--version');
t.test('under taskset only the CPUs that are left count', { skip: TASKSET.skip }, async (t) => {
  const last = affinity().at(-1) as number;
  const command = ['-c', `${last}`, process.execPath, CLI, 'topology', '--json'];
  const found = JSON.parse(output('taskset', ...command).text);
  t.same(
    found.cpus.map(({ id }: { id: number }) => id),
    [last],
  );
  t.same(found.workers, [{ index: 0, cpu: last, rings: [] }]);
  t.ok(found.caches.every(({ cpus }: { cpus: number[] }) => cpus.join() === `${last}`));
  const bare = JSON.parse(output('env', 'GYRE_NATIVE=none', 'taskset', ...command).text);
  t.same([bare.cpus, bare.levels], [found.cpus, found.levels], 'also without the helper');
  t.equal(bare.processor, null);
});

const lscpu = output('lscpu', '-J');
t.test('it agrees with lscpu', { skip: lscpu.skip }, async (t) => {
  const found = await json(t);
  type Field = { field: string; data: string; children?: Field[] };
  const fields = new Map<string, string>();
  const collect = (list: Field[]): void => {
    for (const { field, data, children = [] } of list) {
      fields.set(field.replace(/:$/, ''), data);
      collect(children);
    }
  };
  collect(JSON.parse(lscpu.text).lscpu);
  const says = (name: string, value: unknown) => {
    const said = fields.get(name);
    if (said !== undefined && said !== '-') t.equal(String(value), said, name);
  };
  const { processor, cpus, cores, packages, nodes } = found;
  says('CPU(s)', found.online.length);
  if (processor !== null) {
    says('Vendor ID', processor.vendor);
    says('Model name', processor.brand);
    says('CPU family', processor.family);
    says('Model', processor.model);
    says('Stepping', processor.stepping);
    // Every flag whose place we know is one that Linux shows, and no other.
    const flags = new Set(fields.get('Flags')?.split(' '));
    t.same(
      processor.features.filter((flag) => !flags.has(flag)),
      [],
      'flags',
    );
  }
  says('NUMA node(s)', nodes.length);
  for (const node of nodes) says(`NUMA node${node.id} CPU(s)`, node.cpus.join());
  // It counts the whole machine, also in a cpuset.
  if (cpus.length === found.online.length) {
    says('Socket(s)', packages.length);
    says('Thread(s) per core', cpus.length / cores.length);
    says('Core(s) per socket', cores.length / packages.length);
  }

  type Row = Record<string, string | number>;
  const rows = (...args: string[]) =>
    Object.values(JSON.parse(output('lscpu', '-J', ...args).text))[0] as Row[];
  const each = rows('-e=CPU,CORE,SOCKET,NODE');
  const compared = each.filter(({ cpu }) => cpus.some(({ id }) => id === Number(cpu)));
  t.same(
    compared.map(({ cpu, core, socket, node }) => [cpu, core, socket, node].map(Number)),
    cpus.map((cpu) => [cpu.id, cpu.core, cpu.package, cpu.node ?? 0]),
    'its parts of each CPU',
  );
  const caches = rows('-C=NAME,ONE-SIZE,WAYS,LEVEL,SETS,COHERENCY-SIZE', '-B');
  for (const cache of caches) {
    const name = String(cache.name);
    const mine = found.caches.find(({ level, type }) => {
      return name === `L${level}${type === 'unified' ? '' : type[0]}`;
    });
    t.same(
      [mine?.sizeBytes, mine?.ways, mine?.level, mine?.sets, mine?.lineBytes],
      [cache['one-size'], cache.ways, cache.level, cache.sets, cache['coherency-size']].map(Number),
      name,
    );
  }
});

const lstopo = output('lstopo-no-graphics', '--of', 'xml', '--no-io');
t.test('it agrees with lstopo', { skip: lstopo.skip }, async (t) => {
  // Memory may come and go on a virtual machine while this runs: ask until both saw the same.
  const memory = (text: string) =>
    [...text.matchAll(/local_memory="(\d+)"/g)].map(([, bytes]) => Number(bytes));
  let found = await json(t);
  let { text } = lstopo;
  for (let tries = 0; tries < 10; tries++) {
    if (String(memory(text)) === String(found.nodes.map((node) => node.memoryBytes))) break;
    text = output('lstopo-no-graphics', '--of', 'xml', '--no-io').text;
    found = await json(t);
  }
  t.same(
    memory(text),
    found.nodes.map((node) => node.memoryBytes),
    'memory of each node',
  );
  const objects = [...text.matchAll(/<object ([^>]*)>/g)].map(([, attributes = '']) => {
    return Object.fromEntries(
      [...attributes.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]),
    );
  });
  const of = (type: string) => objects.filter((object) => object.type === type);
  t.same(
    of('PU')
      .map(({ os_index }) => Number(os_index))
      .sort((a, b) => a - b),
    found.cpus.map(({ id }) => id),
  );
  for (const [type, parts] of [
    ['Core', found.cores],
    ['Package', found.packages],
    ['NUMANode', found.nodes],
  ] as const) {
    const theirs = of(type).map(({ os_index }) =>
      os_index === undefined ? null : Number(os_index),
    );
    t.same(theirs.sort(), parts.map(({ id }) => id).sort(), type);
  }
  // hwloc writes sets as hexadecimal words, the highest first.
  const bits = (set: string) => {
    const value = set.split(',').reduce((sum, word) => (sum << 32n) | BigInt(word || 0), 0n);
    return found.cpus.map(({ id }) => id).filter((id) => (value >> BigInt(id)) & 1n);
  };
  const describe = (level: unknown, size: unknown, line: unknown, ways: unknown, cpus: unknown) =>
    `L${level}: ${size} bytes, lines of ${line}, ${ways}-way, CPUs ${cpus}`;
  const theirs = objects
    .filter(({ cache_size, cache_type }) => cache_size !== undefined && cache_type !== undefined)
    .map((cache) =>
      describe(
        cache.depth,
        cache.cache_size,
        cache.cache_linesize,
        cache.cache_associativity,
        bits(cache.cpuset as string),
      ),
    );
  const ours = found.caches.map((cache) =>
    describe(cache.level, cache.sizeBytes, cache.lineBytes, cache.ways || -1, cache.cpus),
  );
  t.same(ours.sort(), theirs.sort(), 'caches');
  const pages = [...text.matchAll(/<page_type size="(\d+)"/g)].map(([, size]) => Number(size));
  t.ok(pages.includes(found.pageBytes as number), 'size of a page');
  t.same(
    new Set(pages.filter((size) => size !== found.pageBytes)),
    new Set(found.hugePages.map((pool) => pool.sizeBytes)),
  );
});

const raw = output('cpuid', '-1', '-r');
t.test(
  'it agrees with cpuid',
  { skip: raw.skip || (cpuid(0, 0) === null && 'no x86') },
  async (t) => {
    // Leaves that differ from CPU to CPU: ids in the local APIC, and what the last CPU did.
    const local = new Set([0x1, 0xb, 0xd, 0x1f, 0x8000_001e]);
    let compared = 0;
    for (const [, leaf = '', subleaf = '', ...hex] of raw.text.matchAll(
      /0x([0-9a-f]{8}) 0x([0-9a-f]{2}): eax=0x(\w+) ebx=0x(\w+) ecx=0x(\w+) edx=0x(\w+)/g,
    )) {
      const [number, sub] = [Number.parseInt(leaf, 16), Number.parseInt(subleaf, 16)];
      if (local.has(number)) continue;
      t.same(
        cpuid(number, sub),
        hex.map((word) => Number.parseInt(word, 16)),
        `${leaf}.${subleaf}`,
      );
      compared += 1;
    }
    t.ok(compared > 10, `${compared} leaves`);

    const { processor } = await json(t);
    const { text } = output('cpuid', '-1');
    const field = (pattern: RegExp) => pattern.exec(text)?.[1];
    t.equal(processor?.vendor, field(/vendor_id = "(.*)"/));
    t.equal(processor?.brand, field(/^ *brand = "(.*?)\s*"/m));
    t.equal(processor?.family, Number(field(/\(family synth\)\s*= 0x\w+ \((\d+)\)/)));
    t.equal(processor?.model, Number(field(/\(model synth\)\s*= 0x\w+ \((\d+)\)/)));
    t.equal(processor?.stepping, Number(field(/stepping id\s*= 0x\w+ \((\d+)\)/)));
    t.equal(String(processor?.directCacheAccess), field(/direct cache access\s*= (\w+)/));
    // Where TLBs are decoded one by one: `L2 TLB/cache information: 4K pages & L2 TLB (…)`.
    const sections = text.matchAll(
      /L([12]) TLB(?:\/cache)? information: (\S+) pages.*\n\s+instruction # entries\s+= 0x\w+ \((\d+)\)\n.*\n\s+data # entries\s+= 0x\w+ \((\d+)\)/g,
    );
    const bytes = new Map([
      ['4K', 4096],
      ['2M/4M', 2 ** 21],
      ['1G', 2 ** 30],
    ]);
    for (const [, level, pages = '', instruction, data] of sections) {
      for (const [type, entries] of [
        ['instruction', instruction],
        ['data', data],
      ] as const) {
        const mine = processor?.tlbs.find((tlb) => {
          return (
            tlb.level === Number(level) &&
            tlb.type === type &&
            tlb.pagesBytes[0] === bytes.get(pages)
          );
        });
        t.equal(mine?.entries ?? 0, Number(entries), `L${level} ${type} TLB for ${pages}`);
      }
    }
  },
);
