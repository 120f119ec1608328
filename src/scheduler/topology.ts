/**
 * A machine, as far as this process may use it: plain data, which can be sent to another thread or written as JSON.
 * Types, and one name. Any thread. machine.ts makes one out of sysfs; docs/topology.md describes the same as JSON.
 */
import type { Processor } from './cpuid.js';
import type { Level } from './groups.js';
import type { Midr } from './midr.js';

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

/** What CPUs' nearness to each other follows from: all that placing and rings need to know of a machine. */
export type Nearness = Pick<Topology, 'cpus' | 'nodes' | 'levels'>;

/** What caches of one level and type are called: `L1d`, `L3`. */
export function cacheName({ level, type }: Pick<Cache, 'level' | 'type'>): string {
  return `L${level}${type === 'unified' ? '' : type[0]}`;
}
