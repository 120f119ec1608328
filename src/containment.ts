/**
 * A machine as boxes within boxes: what `gyre topology` prints and draws. Pure. The boxes are the
 * scheduling groups; each says what it is: the parts of the machine that it, and no box inside
 * of it, holds whole.
 */
import { cacheName, type Topology } from './scheduler/topology.js';

export interface Box {
  /** Parts that it is: `package 0`, `L3 32 MB`, from the largest to the smallest. May be none. */
  readonly labels: readonly string[];
  /** Ids, ascending. */
  readonly cpus: readonly number[];
  /** Cores in it. */
  readonly cores: number;
  /** None for a single CPU. */
  readonly children: readonly Box[];
}

type Building = Omit<Box, 'labels' | 'children'> & { labels: string[]; children: Building[] };

/** `1536` is `1.5 KB`. Powers of 1,024, no more than two decimals. */
export function showBytes(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(2))} ${units[unit]}`;
}

/** Ids as the kernel writes them: `0-3,8`. */
export function showIds(ids: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const id of [...ids].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && id === last[1] + 1) last[1] = id;
    else ranges.push([id, id]);
  }
  return ranges
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(',');
}

/** Every part with its label, those that are named first first. */
function labelledParts(topology: Topology): { label: string; cpus: readonly number[] }[] {
  const { packages, dies, nodes, clusters, caches, cores } = topology;
  const named = (name: string, id: number | null) => (id === null ? name : `${name} ${id}`);
  const size = (bytes: number | null) => (bytes === null ? '' : ` ${showBytes(bytes)}`);
  return [
    ...packages.map(({ id, cpus }) => ({ label: named('package', id), cpus })),
    // A package's only die goes without saying.
    ...(dies.length > packages.length
      ? dies.map(({ id, cpus }) => ({ label: named('die', id), cpus }))
      : []),
    ...nodes.map(({ id, memoryBytes, cpus }) => ({
      label: `node ${id}${memoryBytes === null ? '' : ` (${showBytes(memoryBytes)})`}`,
      cpus,
    })),
    ...clusters.map(({ id, cpus }) => ({ label: named('cluster', id), cpus })),
    ...caches
      .map((cache) => ({ ...cache, label: `${cacheName(cache)}${size(cache.sizeBytes)}` }))
      .sort((a, b) => b.level - a.level),
    ...cores.map(({ id, cpus }) => ({ label: named('core', id), cpus })),
  ].filter(({ cpus }) => cpus.length > 0);
}

/** The whole machine. */
export function containment(topology: Topology): Box {
  const { levels, cpus } = topology;
  const coreOf = new Map(cpus.map(({ id, core }) => [id, core]));
  const coresIn = (group: readonly number[]) => new Set(group.map((cpu) => coreOf.get(cpu))).size;
  /** The box that holds each CPU, as far as they are built; from L0 up. */
  let inside = new Map<number, Building>();
  let boxes: Building[] = [];
  for (const { groups } of levels) {
    boxes = groups.map((group): Building => {
      const children = [...new Set(group.flatMap((cpu) => inside.get(cpu) ?? []))];
      const [only] = children;
      if (children.length === 1 && only !== undefined) return only;
      return { labels: [], cpus: group, cores: coresIn(group), children };
    });
    inside = new Map(boxes.flatMap((box) => box.cpus.map((cpu) => [cpu, box] as const)));
  }
  const root = boxes[0] as Building;
  for (const part of labelledParts(topology)) {
    let box: Building = root;
    for (;;) {
      const inner = box.children.find(({ cpus }) => cpus.includes(part.cpus[0] as number));
      const holds = inner !== undefined && part.cpus.every((cpu) => inner.cpus.includes(cpu));
      if (!holds) break;
      box = inner;
    }
    box.labels.push(part.label);
  }
  return root;
}

/** What a box of one core is, without its number. */
export function coreText(core: Box): string {
  const all = [...core.labels, ...new Set(core.children.flatMap(({ labels }) => labels))];
  const own = all
    .filter((label) => !/^(core|cluster)\b/.test(label))
    .map((label) => label.replace(/^(package|die|node)( \d+)?/, 'a $1 of its own'));
  const threads = core.cpus.length > 1 ? [`${core.cpus.length} threads`] : [];
  return [...own, ...threads].join(', ');
}
