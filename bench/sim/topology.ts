/**
 * The machines that are simulated: those of test/fixtures/topology, and regular ones of any size.
 * Pure. Both are described as `src/scheduler/topology.ts` describes a machine, and then the
 * scheduler's own code places the workers and makes their rings.
 */
import { groupsOf, levelsOf } from '../../src/scheduler/groups.js';
import { type Rings, ringsFor } from '../../src/scheduler/neighbourhood.js';
import { arrange } from '../../src/scheduler/placement.js';
import type { Topology as Described } from '../../src/scheduler/topology.js';
import { MACHINES, type MachineName } from '../../test/fixtures/topology/machines.js';
import { machine } from '../../test/support/described.js';

/** What two CPUs at most share, nearest first. */
export const DISTANCES = ['core', 'cache', 'node', 'package', 'machine'] as const;

/** A machine with a worker on each CPU. CPUs are named by their position, not by their id. */
export interface Topology {
  readonly cpus: number;
  /** The CPU of each worker. */
  readonly places: readonly number[];
  /** By CPU: the others of its core. */
  readonly siblings: readonly (readonly number[])[];
  /** By CPU: whether it is an efficiency core. */
  readonly efficient: readonly boolean[];
  /** By worker, as the scheduler makes them. */
  readonly rings: readonly Rings[];
  /** Workers so that those which are near to each other adjoin. */
  readonly order: readonly number[];
  /** Position in DISTANCES of what the CPUs of two workers share. */
  distance(a: number, b: number): number;
}

type Machine = Pick<Described, 'cpus' | 'nodes' | 'levels' | 'types'> & {
  readonly caches: readonly { readonly cpus: readonly number[] }[];
};

/** CPUs of a machine; gyre has as many workers at most. */
const CPUS_MAX = 1024;

/** What `shape` means, as if it had been read from sysfs. See {@link topologyOf}. */
function regular(shape: string): Machine {
  const match = /^([1-9]\d*(?:x[1-9]\d*){0,3})(t[1-9])?$/.exec(shape);
  if (match === null) {
    throw new RangeError(
      `a machine is up to four numbers, such as 2x4x8 or 2x4x8t2, or one of ` +
        `${MACHINE_NAMES.join(', ')}; not '${shape}'`,
    );
  }
  const counts = (match[1] as string).split('x').map(Number);
  const threads = Number(match[2]?.slice(1) ?? 1);
  const [inCache = 1, caches = 1, ...outer] = counts.reverse();
  const [nodes, packages] = outer.length === 2 ? (outer as [number, number]) : [1, outer[0] ?? 1];
  const cores = inCache * caches * nodes * packages;
  if (cores * threads > CPUS_MAX) throw new RangeError(`'${shape}' is more than ${CPUS_MAX} CPUs`);
  const inNode = inCache * caches;
  const inPackage = inNode * nodes;
  // As Linux numbers them: all first threads, then all second ones.
  const ids = Array.from({ length: cores * threads }, (_, id) => id);
  /** Blocks of `size` cores that are next to each other. */
  const sharing = (size: number) => {
    const blocks: number[][] = Array.from({ length: cores / size }, () => []);
    for (const id of ids) blocks[Math.floor((id % cores) / size)]?.push(id);
    return blocks;
  };
  const parts = { core: sharing(1), L3: sharing(inCache), node: sharing(inNode) };
  const sockets = sharing(inPackage);
  const count = nodes * packages;
  const near = (a: number, b: number) =>
    Math.floor(a / nodes) === Math.floor(b / nodes) ? 12 : 32;
  return {
    cpus: ids.map((id) => {
      const core = id % cores;
      const node = Math.floor(core / inNode);
      const socket = Math.floor(core / inPackage);
      return { ...{ id, core, node, package: socket, type: 0 }, cluster: null, die: null };
    }),
    nodes: parts.node.map((cpus, id) => ({
      ...{ id, cpus, memoryBytes: null, hugePages: [] },
      distances: Array.from({ length: count }, (_, other) => (other === id ? 10 : near(id, other))),
    })),
    types: [],
    caches: parts.L3.map((cpus) => ({ cpus })),
    levels: levelsOf(
      ids,
      ids.map(() => 0),
      [
        ...Object.entries(parts).map(([kind, cpus]) => ({ kind, blocks: cpus })),
        { kind: 'package', blocks: sockets },
      ],
    ),
  };
}

/** Fixtures by the names that the command line knows them by. */
const FIXTURES = new Map(
  (Object.keys(MACHINES) as MachineName[]).map((name) => [name.replaceAll(' ', '-'), name]),
);
export const MACHINE_NAMES: readonly string[] = [...FIXTURES.keys()];

const known = new Map<string, Topology>();

/**
 * A machine by its name: a fixture, such as 'epyc', or a shape, such as '2x4x8': 2 packages of 4
 * caches, each shared by 8 cores. Of four numbers the second counts memory nodes in a package, and
 * '8' alone is 8 cores and one cache. 't2' at the end says that a core has two threads.
 *
 * @throws RangeError if `name` is neither.
 */
export function topologyOf(name: string): Topology {
  const seen = known.get(name);
  if (seen !== undefined) return seen;
  const fixture = FIXTURES.get(name);
  const topology = placed(fixture === undefined ? regular(name) : machine(fixture));
  known.set(name, topology);
  return topology;
}

function placed(described: Machine): Topology {
  const { cpus, levels, types, caches } = described;
  const ids = cpus.map(({ id }) => id);
  const at = new Map(ids.map((id, position) => [id, position]));
  const cpusOfWorkers = arrange('divergent', ids, described, ids.length);
  const places = cpusOfWorkers.map((id) => at.get(id) as number);
  /** By position: caches. */
  const cachesOf = cpus.map(() => new Set<number>());
  caches.forEach((cache, key) => {
    for (const id of cache.cpus) cachesOf[at.get(id) as number]?.add(key);
  });
  const between = (a: number, b: number): number => {
    const [one, other] = [cpus[a], cpus[b]];
    if (one?.core === other?.core) return 0;
    for (const key of cachesOf[a] as Set<number>) if (cachesOf[b]?.has(key)) return 1;
    if (one?.node !== null && one?.node === other?.node) return 2;
    return one?.package === other?.package ? 3 : 4;
  };
  // By the outermost group first: the last level has all, the first has each CPU by itself.
  const groups = groupsOf(levels).reverse();
  const order = cpusOfWorkers.map((_, worker) => worker);
  order.sort((a, b) => {
    const [one, other] = [cpusOfWorkers[a] as number, cpusOfWorkers[b] as number];
    for (const group of groups) {
      const difference = (group.get(one) as number) - (group.get(other) as number);
      if (difference !== 0) return difference;
    }
    return 0;
  });
  return {
    cpus: cpus.length,
    places,
    siblings: cpus.map(({ core }, self) =>
      cpus.flatMap((other, position) => (other.core === core && position !== self ? position : [])),
    ),
    efficient: cpus.map(({ type }) => types[type]?.kind === 'efficiency'),
    rings: ringsFor(cpusOfWorkers, described),
    order,
    distance: (a, b) => between(places[a] as number, places[b] as number),
  };
}
