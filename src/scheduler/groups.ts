/**
 * Scheduling groups: which CPUs are equally near to each other. Pure.
 *
 * Anything that CPUs share (a core, a cache, a package, a memory node) is a
 * {@link Relation}. A {@link Level} is the closure under all relations up to one of them:
 * two CPUs are in the same group if a chain of CPUs connects them, each sharing with
 * the next something that is no more expensive. L0 has each CPU by itself, the last level
 * has all of them in one group, and there are as many in between as the machine has:
 * a relation that joins nothing anew is folded into the level below it.
 *
 * What is finer comes first, by the number of its blocks, not by its name: a memory node may be a
 * part of a package or hold several. Closing over relations one after another makes groups
 * that nest, even where relations cross, as they do in descriptions that are wrong.
 *
 * Takes n × (relations + levels) for n CPUs.
 */
import { Partition } from './partition.js';

/** One thing that CPUs share. */
export interface Relation {
  /** What is shared: `core`, `L3`, `package`, … */
  readonly kind: string;
  /** CPU ids that share one of it. Who is in no block shares it with nobody. */
  readonly blocks: readonly (readonly number[])[];
}

/** Groups of a level that look the same: as many subgroups of the same shapes, of equal CPUs. */
export interface Shape {
  /** How many groups have it. */
  readonly count: number;
  /** CPUs in each of them. */
  readonly cpus: number;
  /** Position of the first of them among the level's groups. */
  readonly first: number;
}

/** One level of scheduling groups. */
export interface Level {
  /** What CPUs of one group share, and those of different groups do not: at least one. */
  readonly kinds: readonly string[];
  /** CPU ids, ascending; groups by their lowest id. They nest in those of the next level. */
  readonly groups: readonly (readonly number[])[];
  /** Isomorphic groups, counted. */
  readonly shapes: readonly Shape[];
}

/** Gives equal keys the same small number. */
class Names {
  readonly #numbers = new Map<string, number>();

  number(key: string): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.#numbers.size);
    return this.#numbers.size - 1;
  }
}

/** Counts equal `shapes`, which are parallel to `groups`. */
function counted(shapes: readonly number[], groups: readonly (readonly number[])[]): Shape[] {
  const counts = new Map<number, { count: number; cpus: number; first: number }>();
  shapes.forEach((shape, group) => {
    const seen = counts.get(shape);
    if (seen !== undefined) seen.count += 1;
    else counts.set(shape, { count: 1, cpus: groups[group]?.length ?? 0, first: group });
  });
  return [...counts.values()];
}

/**
 * The levels of a machine.
 *
 * @param cpus ids, ascending, without repeats
 * @param types of each of them: equal CPUs have the same number
 * @param relations those that rank equal are taken in this order. Other CPUs in them are ignored.
 */
export function levelsOf(
  cpus: readonly number[],
  types: readonly number[],
  relations: readonly Relation[],
): Level[] {
  const indexOf = new Map(cpus.map((cpu, index) => [cpu, index]));
  const ranked = [...relations, { kind: 'machine', blocks: [cpus] }].map(({ kind, blocks }) => {
    const indices = blocks.map((block) => block.flatMap((cpu) => indexOf.get(cpu) ?? []));
    const joins = indices.reduce((sum, block) => sum + Math.max(0, block.length - 1), 0);
    return { kind, indices, joins };
  });
  ranked.sort((a, b) => a.joins - b.joins);

  const partition = new Partition(cpus.length);
  const names = new Names();
  const levels: { kinds: string[]; groups: number[][]; shapes: Shape[] }[] = [];
  /** Number of the shape of each CPU's group at the level below. */
  const shapeOf = types.map((type) => names.number(`type ${type}`));
  const addLevel = (kind: string) => {
    const blocks = partition.blocks();
    const below = new Map<number, number>(); // first CPU of each subgroup, and its shape
    for (const group of levels.at(-1)?.groups ?? cpus.map((cpu) => [cpu])) {
      const first = indexOf.get(group[0] as number) as number;
      below.set(first, shapeOf[first] as number);
    }
    const shapes = blocks.map((block) => {
      const parts = block.flatMap((index) => below.get(index) ?? []).sort((a, b) => a - b);
      return names.number(parts.join());
    });
    const groups = blocks.map((block) => block.map((index) => cpus[index] as number));
    blocks.forEach((block, at) => {
      for (const index of block) shapeOf[index] = shapes[at] as number;
    });
    levels.push({ kinds: [kind], groups, shapes: counted(shapes, groups) });
  };

  addLevel('thread');
  for (const { kind, indices } of ranked) {
    const before = partition.count;
    for (const [first, ...rest] of indices) {
      for (const other of rest) partition.join(first as number, other);
    }
    if (partition.count === before) levels.at(-1)?.kinds.push(kind);
    else addLevel(kind);
  }
  return levels;
}

/** For each level, the position of every CPU's group. */
export function groupsOf(levels: readonly Level[]): ReadonlyMap<number, number>[] {
  return levels.map(
    ({ groups }) => new Map(groups.flatMap((group, at) => group.map((cpu) => [cpu, at] as const))),
  );
}
