/**
 * What a machine consists of, derived from the text of Linux's sysfs. Pure: whoever asks brings
 * a {@link Tree} that reads, so that a captured or invented machine is a tree like any
 * other. The same text gives the same {@link Topology}, which is plain data: it can be sent
 * to another thread or written as JSON.
 *
 * Nothing in the tree is trusted and nothing in it is needed. A file that is missing, empty or
 * nonsense is a fact that is not known: a CPU without a core is a core by itself, CPUs without
 * a package are in one package, a sharing set that only one of its CPUs names still holds
 * for all of them. Only a machine without any CPU is an error.
 *
 * Source: the kernel's Documentation/ABI/{stable,testing}/sysfs-devices-system-cpu, sysfs-devices-node
 * and admin-guide/cputopology.rst.
 */
import { GyreError } from '../errors.js';
import type { Processor } from './cpuid.js';
import { type Level, levelsOf, type Relation } from './groups.js';
import { Partition } from './partition.js';

/** Where the text comes from. Paths are relative to sysfs's root; neither method throws. */
export interface Tree {
  /** The text of a file, or null if it cannot be read. */
  read(path: string): string | null;
  /** Names in a directory; none if it cannot be read. */
  list(path: string): readonly string[];
}

/** What is known of the machine besides its tree. */
export interface Circumstances {
  /** CPUs that the process may run on (sched_getaffinity(2)), or null: all. */
  readonly affinity: readonly number[] | null;
  /** What CPUID says, or null. */
  readonly processor: Processor | null;
  /** Size of a page of memory in bytes, or null. */
  readonly pageBytes: number | null;
}

/** One usable hardware thread. Parts are given by their position in the topology's lists. */
export interface Cpu {
  /** The kernel's number of it. */
  readonly id: number;
  /** Position among {@link Topology.cores}. */
  readonly core: number;
  /** Position among {@link Topology.clusters}, or null. */
  readonly cluster: number | null;
  /** Position among {@link Topology.dies}, or null. */
  readonly die: number | null;
  /** Position among {@link Topology.packages}. */
  readonly package: number;
  /** Position among {@link Topology.nodes}, or null. */
  readonly node: number | null;
  /** Position among {@link Topology.types}. */
  readonly type: number;
}

/** A core, cluster, die or package. */
export interface Part {
  /** The kernel's number of it, which need not be unique across packages; null if it has none. */
  readonly id: number | null;
  /** Ids of the usable CPUs in it. */
  readonly cpus: readonly number[];
}

/** What a cache holds. */
export type CacheType = 'data' | 'instruction' | 'unified';

/** A cache of some CPUs. */
export interface Cache {
  /** 1 is nearest to the core. */
  readonly level: number;
  /** What it holds. */
  readonly type: CacheType;
  /** Null if unknown, as are the next three. */
  readonly sizeBytes: number | null;
  /** Bytes of a line. */
  readonly lineBytes: number | null;
  /** Lines in a set; 0 where any line may be anywhere. */
  readonly ways: number | null;
  /** Sets of lines. */
  readonly sets: number | null;
  /** Ids of the usable CPUs that share it. */
  readonly cpus: readonly number[];
}

/** A pool of huge pages. */
export interface HugePages {
  /** Of one page. */
  readonly sizeBytes: number;
  /** Pages in the pool. */
  readonly total: number | null;
  /** Pages of it that nobody uses. */
  readonly free: number | null;
}

/** A memory node. */
export interface MemoryNode {
  /** The kernel's number of it. */
  readonly id: number;
  /** Ids of the usable CPUs in it; none for memory alone. */
  readonly cpus: readonly number[];
  /** Null if unknown. */
  readonly memoryBytes: number | null;
  /** Distance of each node in {@link Topology.nodes}, in their order; 10 is local (ACPI SLIT). */
  readonly distances: readonly number[];
  /** Its pools. */
  readonly hugePages: readonly HugePages[];
}

/** CPUs that are equal: in kind, capacity, frequencies, identity and caches. */
export interface CpuType {
  /** Null where all CPUs are alike or nothing tells. */
  readonly kind: 'performance' | 'efficiency' | null;
  /** Relative to the largest of all CPUs, which has 1,024; null if unknown. */
  readonly capacity: number | null;
  /** Null if unknown, as are the next two. */
  readonly minKHz: number | null;
  /** With turbo. */
  readonly maxKHz: number | null;
  /** Without turbo. */
  readonly baseKHz: number | null;
  /** Identity of an Arm core, or null. */
  readonly midr: Midr | null;
  /** Ids of the usable CPUs of this type. */
  readonly cpus: readonly number[];
}

/** Arm's Main ID Register. */
export interface Midr {
  /** 8 bits. */
  readonly implementer: number;
  /** 4 bits. */
  readonly variant: number;
  /** 12 bits. */
  readonly part: number;
  /** 4 bits. */
  readonly revision: number;
  /** Who made it and what it is, where this file knows. */
  readonly name: string | null;
}

/** A machine, as far as this process may use it. */
export interface Topology {
  /** CPU ids that the kernel could ever have. These three have usable CPUs and others. */
  readonly possible: readonly number[];
  /** CPU ids that are there. */
  readonly present: readonly number[];
  /** CPU ids that run. */
  readonly online: readonly number[];
  /** Usable: online and in the inherited affinity mask. Ascending; at least one. */
  readonly cpus: readonly Cpu[];
  /** Of the usable CPUs, as are the next five. */
  readonly cores: readonly Part[];
  /** Groups of cores below the die; none where the system tells of none. */
  readonly clusters: readonly Part[];
  /** None where the system tells of none. */
  readonly dies: readonly Part[];
  /** At least one. */
  readonly packages: readonly Part[];
  /** Nearest to the core first. */
  readonly caches: readonly Cache[];
  /** Memory nodes, also those without CPUs. */
  readonly nodes: readonly MemoryNode[];
  /** Equal CPUs are one type. */
  readonly types: readonly CpuType[];
  /** Size of a page of memory; null if unknown. */
  readonly pageBytes: number | null;
  /** Pools of huge pages of the whole machine. */
  readonly hugePages: readonly HugePages[];
  /** `always`, `madvise` or `never`; null if unknown. */
  readonly transparentHugePages: string | null;
  /** x86: what the CPU that was asked says of itself; else null. */
  readonly processor: Processor | null;
  /** Scheduling groups, from single CPUs to the whole machine. */
  readonly levels: readonly Level[];
}

/** Most CPUs and memory nodes that Linux can be built for (x86 MAXSMP; NODES_SHIFT 10). */
export const CPUS_MAX = 8192;
const NODES_MAX = 1024;

const CPU = 'devices/system/cpu';
const NODE = 'devices/system/node';

/**
 * A CPU whose capacity or frequency is below this share of the largest is an efficiency core, where
 * the kernel does not say so itself. There is no evidence for this very figure: it shall
 * be less than what turbo makes of equal cores, and more than any little one has.
 */
const EFFICIENT_BELOW = 0.8;

/** A whole number in [min, max] and nothing else; or null. */
function integer(text: string | null, min: number, max: number): number | null {
  const found = text !== null && /^\s*(-?\d{1,15})\s*$/.exec(text);
  const value = found ? Number(found[1]) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

/**
 * Ids from 0 to `end` - 1 in the kernel's list format (`0-3,8`); null if malformed. The kernel's are
 * ascending, and to insist on that bounds what a long line can cost.
 */
export function idList(text: string | null, end: number): number[] | null {
  if (text === null) return null;
  const ids: number[] = [];
  const trimmed = text.trim();
  let next = 0;
  for (const range of trimmed === '' ? [] : trimmed.split(',')) {
    const found = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
    if (found === null) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (first < next || last < first) return null;
    next = last + 1;
    for (let id = first; id <= last && id < end; id++) ids.push(id);
  }
  return ids;
}

/** A size as sysfs writes it, `32K`. */
function sizeBytes(text: string | null): number | null {
  const found = text !== null && /^\s*(\d{1,9})\s*([KMG]?)B?\s*$/i.exec(text);
  if (!found) return null;
  const power = ['', 'K', 'M', 'G'].indexOf(found[2]?.toUpperCase() ?? '');
  return Number(found[1]) * 1024 ** power;
}

/** The tree, read as the kinds of text that sysfs has. */
class Sysfs {
  readonly #tree: Tree;
  /** Most CPUs name the same few sets. */
  readonly #lists = new Map<string, number[] | null>();

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** A file's text without the white space around it, or null. */
  text(path: string): string | null {
    return this.#tree.read(path)?.trim() ?? null;
  }

  integer(path: string, min: number, max: number): number | null {
    return integer(this.#tree.read(path), min, max);
  }

  /** CPU ids. */
  cpus(path: string): readonly number[] | null {
    const text = this.text(path);
    if (text === null) return null;
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    const ids = idList(text, CPUS_MAX);
    this.#lists.set(text, ids);
    return ids;
  }

  list(dir: string): readonly string[] {
    return this.#tree.list(dir);
  }

  /** Numbers from 0 to `end` - 1 of the names in `dir` that are `prefix` and a number. */
  numbered(dir: string, prefix: string, end: number): number[] {
    const ids = this.list(dir).flatMap((name) => {
      if (!name.startsWith(prefix)) return [];
      return integer(name.slice(prefix.length), 0, end - 1) ?? [];
    });
    return [...new Set(ids)].sort((a, b) => a - b);
  }

  /** A number from a CPU's `topology` directory; what has none is -1 or missing. */
  partId(cpu: number, file: string): number | null {
    return this.integer(`${CPU}/cpu${cpu}/topology/${file}`, 0, 2 ** 31 - 1);
  }
}

/** CPUs that run. Where no list says so, those that have a directory and are not off. */
function onlineCpus(sysfs: Sysfs): readonly number[] {
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

/**
 * Cores, packages and the like: CPUs that name each other in the first of `lists` that is
 * there, and otherwise those of which `key` is equal.
 */
function partsOf(
  sysfs: Sysfs,
  cpus: readonly number[],
  lists: readonly string[],
  idFile: string,
  key: (cpu: number) => string,
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

function coresOf(sysfs: Sysfs, cpus: readonly number[]): Part[] {
  return partsOf(sysfs, cpus, ['core_cpus_list', 'thread_siblings_list'], 'core_id', (cpu) => {
    const core = sysfs.partId(cpu, 'core_id');
    if (core === null) return `CPU ${cpu}`;
    return `${sysfs.partId(cpu, 'physical_package_id')} ${sysfs.partId(cpu, 'die_id')} ${core}`;
  });
}

function packagesOf(sysfs: Sysfs, cpus: readonly number[]): Part[] {
  const lists = ['package_cpus_list', 'core_siblings_list'];
  return partsOf(sysfs, cpus, lists, 'physical_package_id', (cpu) =>
    String(sysfs.partId(cpu, 'physical_package_id')),
  );
}

/** Clusters or dies: only where the kernel numbers them. Some kernels write -1 in 16 bits. */
function numberedParts(sysfs: Sysfs, cpus: readonly number[], name: 'cluster' | 'die'): Part[] {
  const idOf = (cpu: number) => sysfs.partId(cpu, `${name}_id`);
  const known = cpus.filter((cpu) => ![null, 65_535].includes(idOf(cpu)));
  const key = (cpu: number) => `${sysfs.partId(cpu, 'physical_package_id')} ${idOf(cpu)}`;
  return partsOf(sysfs, known, [`${name}_cpus_list`], `${name}_id`, key);
}

/** For each CPU the position of the part that holds it. */
function positions(parts: readonly { cpus: readonly number[] }[]): Map<number, number> {
  return new Map(parts.flatMap(({ cpus }, at) => cpus.map((cpu) => [cpu, at] as const)));
}

const CACHE_TYPES: readonly CacheType[] = ['data', 'instruction', 'unified'];

/** Every cache, nearest first; those that share a level and type, by their lowest CPU. */
function cachesOf(sysfs: Sysfs, cpus: readonly number[]): Cache[] {
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

/** What caches of one level and type are called: `L1d`, `L3`. */
export function cacheName({ level, type }: Pick<Cache, 'level' | 'type'>): string {
  return `L${level}${type === 'unified' ? '' : type[0]}`;
}

/** Pools of huge pages in `dir`, smallest pages first. */
function hugePagesOf(sysfs: Sysfs, dir: string): HugePages[] {
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

function nodesOf(sysfs: Sysfs, usable: readonly number[]): MemoryNode[] {
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

/** Arm's own implementer codes and those of servers (Arm DDI 0487, MIDR_EL1). */
const IMPLEMENTERS: Readonly<Record<number, string>> = Object.freeze({
  65: 'Arm',
  66: 'Broadcom',
  67: 'Cavium',
  70: 'Fujitsu',
  72: 'HiSilicon',
  78: 'NVIDIA',
  80: 'APM',
  81: 'Qualcomm',
  97: 'Apple',
  109: 'Microsoft',
  192: 'Ampere',
});

/** Parts of Arm itself that servers have (the technical reference manuals' MIDR_EL1). */
const ARM_PARTS: Readonly<Record<number, string>> = Object.freeze({
  3336: 'Cortex-A72',
  3340: 'Neoverse N1',
  3392: 'Neoverse V1',
  3401: 'Neoverse N2',
  3407: 'Neoverse V2',
});

function midrOf(sysfs: Sysfs, cpu: number): Midr | null {
  const text = sysfs.text(`${CPU}/cpu${cpu}/regs/identification/midr_el1`);
  if (text === null || !/^0x[0-9a-f]{1,16}$/i.test(text)) return null;
  const value = Number(BigInt(text) & 0xffff_ffffn);
  const implementer = value >>> 24;
  const part = (value >>> 4) & 0xfff;
  const maker = IMPLEMENTERS[implementer];
  const model = (implementer === 65 ? ARM_PARTS[part] : undefined) ?? `part 0x${part.toString(16)}`;
  return {
    implementer,
    variant: (value >>> 20) & 0xf,
    part,
    revision: value & 0xf,
    name: maker === undefined ? null : `${maker} ${model}`,
  };
}

/** Groups equal CPUs; those of the lowest CPU first. */
function typesOf(sysfs: Sysfs, cpus: readonly number[], caches: readonly Cache[]): CpuType[] {
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
      midr: midrOf(sysfs, cpu),
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
  const sysfs = new Sysfs(tree);
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
