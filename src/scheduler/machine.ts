/**
 * What a machine consists of, derived from the text of Linux's sysfs. Pure; any thread: whoever asks brings
 * a {@link Tree} that reads, so that a captured or invented machine is a tree like any
 * other. The same text gives the same {@link Topology}.
 *
 * Nothing in the tree is trusted and nothing in it is needed. A file that is missing, empty or
 * nonsense is a fact that is not known: a CPU without a core is a core by itself, CPUs without
 * a package are in one package, a sharing set that only one of its CPUs names still holds
 * for all of them. Only a machine without any CPU is an error.
 */
import { GyreError } from '../errors.js';
import type { Processor } from './cpuid.js';
import { levelsOf, type Relation } from './groups.js';
import { midrIn } from './midr.js';
import { Partition } from './partition.js';
import {
  CPU,
  CPUS_MAX,
  idList,
  integer,
  NODE,
  NODES_MAX,
  SysfsText,
  sizeBytes,
  type Tree,
} from './sysfs-text.js';
import {
  type Cache,
  type CacheType,
  type Cpu,
  type CpuType,
  cacheName,
  type HugePages,
  type MemoryNode,
  type Part,
  type Topology,
} from './topology.js';

/** What is known of the machine besides its tree. */
interface Circumstances {
  /** CPUs that the process may run on (sched_getaffinity(2)), or null: all. */
  readonly affinity: readonly number[] | null;
  /** What CPUID says, or null. */
  readonly processor: Processor | null;
  /** Size of a page of memory in bytes, or null. */
  readonly pageBytes: number | null;
}

/**
 * A CPU whose capacity or frequency is below this share of the largest is an efficiency core, where
 * the kernel does not say so itself. There is no evidence for this very figure: it shall
 * be less than what turbo makes of equal cores, and more than any little one has.
 */
const EFFICIENT_BELOW = 0.8;

/** CPUs that run. Where no list says so, those that have a directory and are not off. */
function onlineCpus(sysfs: SysfsText): readonly number[] {
  const listed = sysfs.cpus(`${CPU}/online`) ?? [];
  if (listed.length > 0) return listed;
  return sysfs
    .numbered(CPU, 'cpu', CPUS_MAX)
    .filter((id) => sysfs.integer(`${CPU}/cpu${id}/online`, 0, 1) !== 0);
}

/**
 * Which of `ids` belong together, when each names those that belong to it. Who was named by
 * another one is not asked: that spares most of the reading.
 */
function together(
  ids: readonly number[],
  named: (id: number) => readonly number[] | null,
): number[][] {
  const indexOf = new Map(ids.map((id, index) => [id, index]));
  const partition = new Partition(ids.length);
  const known = new Set<number>();
  ids.forEach((id, index) => {
    if (known.has(id)) return;
    for (const other of named(id) ?? []) {
      partition.join(index, indexOf.get(other) ?? index);
      known.add(other);
    }
  });
  return partition.blocks().map((block) => block.map((index) => ids[index] as number));
}

/** How CPUs say that they share a part. */
interface Sharing {
  /** Files below `topology` that name those who do; the first that is there counts. */
  readonly lists: readonly string[];
  /** The file with the kernel's number of the part. */
  readonly idFile: string;
  /** Equal for those who do, where no list says so. */
  key(cpu: number): string;
}

/**
 * Cores, packages and the like: CPUs that name each other in the first of `lists` that is
 * there, and otherwise those of which `key` is equal.
 */
function partsOf(
  sysfs: SysfsText,
  cpus: readonly number[],
  { lists, idFile, key }: Sharing,
): Part[] {
  const firstWith = new Map<string, number>();
  const blocks = together(cpus, (cpu) => {
    for (const list of lists) {
      const named = sysfs.cpus(`${CPU}/cpu${cpu}/topology/${list}`);
      if (named?.includes(cpu)) return named;
    }
    const same = key(cpu);
    if (!firstWith.has(same)) firstWith.set(same, cpu);
    return [firstWith.get(same) as number];
  });
  return blocks.map((block) => ({ id: sysfs.partId(block[0] as number, idFile), cpus: block }));
}

function coresOf(sysfs: SysfsText, cpus: readonly number[]): Part[] {
  const key = (cpu: number) => {
    const core = sysfs.partId(cpu, 'core_id');
    if (core === null) return `CPU ${cpu}`;
    return `${sysfs.partId(cpu, 'physical_package_id')} ${sysfs.partId(cpu, 'die_id')} ${core}`;
  };
  const lists = ['core_cpus_list', 'thread_siblings_list'];
  return partsOf(sysfs, cpus, { lists, idFile: 'core_id', key });
}

function packagesOf(sysfs: SysfsText, cpus: readonly number[]): Part[] {
  const lists = ['package_cpus_list', 'core_siblings_list'];
  const idFile = 'physical_package_id';
  const key = (cpu: number) => String(sysfs.partId(cpu, idFile));
  return partsOf(sysfs, cpus, { lists, idFile, key });
}

/** Clusters or dies: only where the kernel numbers them. Some kernels write -1 in 16 bits. */
function numberedParts(sysfs: SysfsText, cpus: readonly number[], name: 'cluster' | 'die'): Part[] {
  const idOf = (cpu: number) => sysfs.partId(cpu, `${name}_id`);
  const known = cpus.filter((cpu) => ![null, 65_535].includes(idOf(cpu)));
  const key = (cpu: number) => `${sysfs.partId(cpu, 'physical_package_id')} ${idOf(cpu)}`;
  return partsOf(sysfs, known, { lists: [`${name}_cpus_list`], idFile: `${name}_id`, key });
}

/** For each CPU the position of the part that holds it. */
function positions(parts: readonly { cpus: readonly number[] }[]): Map<number, number> {
  return new Map(parts.flatMap(({ cpus }, at) => cpus.map((cpu) => [cpu, at] as const)));
}

const CACHE_TYPES: readonly CacheType[] = ['data', 'instruction', 'unified'];

/** Every cache, nearest first; those that share a level and type, by their lowest CPU. */
function cachesOf(sysfs: SysfsText, cpus: readonly number[]): Cache[] {
  const usable = new Set(cpus);
  /** For each level and type: where each CPU's cache is described. */
  const kinds = new Map<string, { level: number; type: CacheType; dirs: Map<number, string> }>();
  /** `CPU index` that another CPU with the same index named: not read again. */
  const known = new Set<string>();
  for (const cpu of cpus) {
    // Real CPUs have 3 to 6 of them.
    for (const index of sysfs.numbered(`${CPU}/cpu${cpu}/cache`, 'index', 32)) {
      if (known.has(`${cpu} ${index}`)) continue;
      const dir = `${CPU}/cpu${cpu}/cache/index${index}`;
      const level = sysfs.integer(`${dir}/level`, 1, 9);
      const word = sysfs.text(`${dir}/type`)?.toLowerCase();
      const type = CACHE_TYPES.find((one) => one === word);
      if (level === null || type === undefined) continue;
      const key = `${level} ${CACHE_TYPES.indexOf(type)}`;
      const kind = kinds.get(key) ?? { level, type, dirs: new Map() };
      kinds.set(key, kind);
      const named = sysfs.cpus(`${dir}/shared_cpu_list`);
      for (const other of named?.includes(cpu) ? named : [cpu]) {
        if (!usable.has(other)) continue;
        known.add(`${other} ${index}`);
        if (!kind.dirs.has(other)) kind.dirs.set(other, dir);
      }
    }
  }
  return [...kinds]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, { level, type, dirs }]) => {
      const caches = new Map<string, number[]>();
      for (const [cpu, dir] of [...dirs].sort(([a], [b]) => a - b)) {
        const sharing = caches.get(dir);
        if (sharing === undefined) caches.set(dir, [cpu]);
        else sharing.push(cpu);
      }
      return [...caches].map(([dir, sharing]): Cache => {
        const count = (file: string, min: number) =>
          sysfs.integer(`${dir}/${file}`, min, 2 ** 31 - 1);
        return {
          level,
          type,
          sizeBytes: sizeBytes(sysfs.text(`${dir}/size`)),
          lineBytes: count('coherency_line_size', 1),
          ways: count('ways_of_associativity', 0),
          sets: count('number_of_sets', 1),
          cpus: sharing,
        };
      });
    });
}

/** Pools of huge pages in `dir`, smallest pages first. */
function hugePagesOf(sysfs: SysfsText, dir: string): HugePages[] {
  const pools = sysfs.list(dir).flatMap((name) => {
    const found = /^hugepages-(\d{1,12})kB$/.exec(name);
    if (found === null) return [];
    const pages = (file: string) =>
      sysfs.integer(`${dir}/${name}/${file}`, 0, Number.MAX_SAFE_INTEGER);
    const sizeBytes = Number(found[1]) * 1024;
    return [{ sizeBytes, total: pages('nr_hugepages'), free: pages('free_hugepages') }];
  });
  return pools.sort((a, b) => a.sizeBytes - b.sizeBytes);
}

/** What the kernel assumes where firmware says nothing (include/linux/topology.h). */
const LOCAL_DISTANCE = 10;
const REMOTE_DISTANCE = 20;

function nodesOf(sysfs: SysfsText, usable: readonly number[]): MemoryNode[] {
  const listed = idList(sysfs.text(`${NODE}/online`), NODES_MAX) ?? [];
  const ids = listed.length > 0 ? listed : sysfs.numbered(NODE, 'node', NODES_MAX);
  const taken = new Set<number>();
  return ids.map((id, at): MemoryNode => {
    const dir = `${NODE}/node${id}`;
    const inside = new Set(sysfs.cpus(`${dir}/cpulist`) ?? []);
    const cpus = usable.filter((cpu) => inside.has(cpu) && !taken.has(cpu));
    for (const cpu of cpus) taken.add(cpu);
    const kB = /^Node \d+ MemTotal:\s+(\d{1,12}) kB$/m.exec(sysfs.text(`${dir}/meminfo`) ?? '');
    // One for each online node, in the order of their ids.
    const row = sysfs.text(`${dir}/distance`)?.split(/\s+/) ?? [];
    const distances = ids.map((_, other) => {
      const known = row.length === ids.length ? integer(row[other] ?? null, 1, 255) : null;
      return known ?? (other === at ? LOCAL_DISTANCE : REMOTE_DISTANCE);
    });
    return {
      id,
      cpus,
      memoryBytes: kB === null ? null : Number(kB[1]) * 1024,
      distances,
      hugePages: hugePagesOf(sysfs, `${dir}/hugepages`),
    };
  });
}

/** Groups equal CPUs; those of the lowest CPU first. */
function typesOf(sysfs: SysfsText, cpus: readonly number[], caches: readonly Cache[]): CpuType[] {
  // Intel's hybrid processors have one counter unit for each kind of core.
  const unit = (name: string) => new Set(sysfs.cpus(`devices/${name}/cpus`) ?? []);
  const performance = unit('cpu_core');
  const efficiency = new Set([...unit('cpu_atom'), ...unit('cpu_lowpower')]);
  const facts = cpus.map((cpu) => {
    const frequency = (file: string) =>
      sysfs.integer(`${CPU}/cpu${cpu}/cpufreq/${file}`, 1, 2 ** 31 - 1);
    return {
      capacity: sysfs.integer(`${CPU}/cpu${cpu}/cpu_capacity`, 1, 1024),
      minKHz: frequency('cpuinfo_min_freq'),
      maxKHz: frequency('cpuinfo_max_freq'),
      baseKHz: frequency('base_frequency'),
      midr: midrIn(sysfs.text(`${CPU}/cpu${cpu}/regs/identification/midr_el1`)),
    };
  });
  const largest = (of: 'capacity' | 'maxKHz') =>
    facts.reduce((most, fact) => Math.max(most, fact[of] ?? 0), 0);
  const most = { capacity: largest('capacity'), maxKHz: largest('maxKHz') };
  const small = facts.map((fact) =>
    (['capacity', 'maxKHz'] as const).some((of) => {
      const value = fact[of];
      return value !== null && value < EFFICIENT_BELOW * most[of];
    }),
  );
  const mixed = small.includes(true);
  const kindOf = (cpu: number, at: number): CpuType['kind'] => {
    if (performance.has(cpu) && efficiency.size > 0) return 'performance';
    if (efficiency.has(cpu)) return 'efficiency';
    return mixed ? (small[at] ? 'efficiency' : 'performance') : null;
  };

  const cachesAt = new Map<number, string[]>(cpus.map((cpu) => [cpu, []]));
  for (const cache of caches) {
    const { cpus: sharing, ...geometry } = cache;
    const text = JSON.stringify(geometry);
    for (const cpu of sharing) cachesAt.get(cpu)?.push(text);
  }
  const types = new Map<string, CpuType & { cpus: number[] }>();
  cpus.forEach((cpu, at) => {
    const fact = { kind: kindOf(cpu, at), ...(facts[at] as (typeof facts)[number]) };
    const key = JSON.stringify([fact, cachesAt.get(cpu)]);
    const equal = types.get(key);
    if (equal !== undefined) equal.cpus.push(cpu);
    else types.set(key, { ...fact, cpus: [cpu] });
  });
  return [...types.values()];
}

/** Nodes that are connected by steps of at most some distance, for each that connects more. */
function distanceRelations(nodes: readonly MemoryNode[]): Relation[] {
  const pairs = new Map<number, [number, number][]>();
  nodes.forEach(({ distances }, from) => {
    for (let to = 0; to < from; to++) {
      const back = nodes[to]?.distances[from] as number;
      const distance = Math.min(distances[to] as number, back);
      const equal = pairs.get(distance);
      if (equal === undefined) pairs.set(distance, [[from, to]]);
      else equal.push([from, to]);
    }
  });
  const partition = new Partition(nodes.length);
  return [...pairs]
    .sort(([a], [b]) => a - b)
    .flatMap(([distance, equal]) => {
      const before = partition.count;
      for (const [from, to] of equal) partition.join(from, to);
      if (partition.count === before) return [];
      const blocks = partition
        .blocks()
        .map((block) => block.flatMap((at) => nodes[at]?.cpus ?? []));
      return [{ kind: `distance ${distance}`, blocks }];
    });
}

/**
 * The machine that `tree` describes, as far as `circumstances` let this process use it.
 *
 * @throws GyreError `ERR_GYRE_TOPOLOGY` if there is no CPU.
 */
export function describeMachine(tree: Tree, circumstances: Circumstances): Topology {
  const { affinity, processor, pageBytes } = circumstances;
  const sysfs = new SysfsText(tree);
  const online = onlineCpus(sysfs);
  const allowed = new Set(affinity ?? online);
  const both = online.filter((cpu) => allowed.has(cpu));
  // Of two contradicting answers of the kernel, the mask is the one that holds.
  const ids = both.length > 0 ? both : [...allowed].sort((a, b) => a - b);
  if (ids.length === 0) {
    throw new GyreError('ERR_GYRE_TOPOLOGY', 'no CPU is described: is this the root of a sysfs?');
  }

  const cores = coresOf(sysfs, ids);
  const clusters = numberedParts(sysfs, ids, 'cluster');
  const dies = numberedParts(sysfs, ids, 'die');
  const packages = packagesOf(sysfs, ids);
  const caches = cachesOf(sysfs, ids);
  const nodes = nodesOf(sysfs, ids);
  const types = typesOf(sysfs, ids, caches);

  const at = {
    core: positions(cores),
    cluster: positions(clusters),
    die: positions(dies),
    package: positions(packages),
    node: positions(nodes),
    type: positions(types),
  };
  const cpus = ids.map(
    (id): Cpu => ({
      id,
      core: at.core.get(id) as number,
      cluster: at.cluster.get(id) ?? null,
      die: at.die.get(id) ?? null,
      package: at.package.get(id) as number,
      node: at.node.get(id) ?? null,
      type: at.type.get(id) as number,
    }),
  );
  const blocks = (parts: readonly { cpus: readonly number[] }[]) => parts.map((part) => part.cpus);
  const levels = levelsOf(
    ids,
    cpus.map(({ type }) => type),
    [
      { kind: 'core', blocks: blocks(cores) },
      ...[...new Set(caches.map(cacheName))].map((kind) => ({
        kind,
        blocks: blocks(caches.filter((cache) => cacheName(cache) === kind)),
      })),
      { kind: 'cluster', blocks: blocks(clusters) },
      { kind: 'die', blocks: blocks(dies) },
      { kind: 'package', blocks: blocks(packages) },
      { kind: 'node', blocks: blocks(nodes) },
      ...distanceRelations(nodes),
    ].filter((relation) => relation.blocks.length > 0),
  );
  const chosen = /\[(\w+)\]/.exec(sysfs.text('kernel/mm/transparent_hugepage/enabled') ?? '');
  return {
    possible: sysfs.cpus(`${CPU}/possible`) ?? online,
    present: sysfs.cpus(`${CPU}/present`) ?? online,
    online,
    cpus,
    cores,
    clusters,
    dies,
    packages,
    caches,
    nodes,
    types,
    pageBytes,
    hugePages: hugePagesOf(sysfs, 'kernel/mm/hugepages'),
    transparentHugePages: chosen?.[1] ?? null,
    processor,
    levels,
  };
}
