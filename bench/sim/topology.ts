/**
 * Synthetic machines: regular ones, of any number of levels. Pure.
 */
import type { Rings } from '../../src/scheduler/neighbourhood.js';

export interface Topology {
  readonly cpus: number;
  /** What two CPUs at most share, by distance: 0 is the nearest. */
  readonly shared: readonly string[];
  /** By CPU, nearest first. */
  readonly rings: readonly Rings[];
  distance(a: number, b: number): number;
}

/** Names of what CPUs share, for machines of one level, two, three, four. */
const SHARED = [
  ['cache'],
  ['cache', 'machine'],
  ['cache', 'package', 'machine'],
  ['cache', 'node', 'package', 'machine'],
];

/**
 * A machine such as '2x4x8': 2 packages of 4 caches, each shared by 8 cores. Of four
 * numbers the second counts memory nodes in a package; '8' alone is 8 cores and one cache.
 *
 * @throws RangeError if `shape` is none.
 */
export function regular(shape: string): Topology {
  if (!/^[1-9]\d*(x[1-9]\d*){0,3}$/.test(shape)) {
    throw new RangeError(`a shape is up to four numbers, such as 2x4x8, not '${shape}'`);
  }
  const counts = shape.split('x').map(Number).reverse();
  /** CPUs of a group, by level: of a cache, a node, … */
  const sizes = counts.map((_, level) => counts.slice(0, level + 1).reduce((a, b) => a * b));
  const cpus = sizes.at(-1) as number;
  const distance = (a: number, b: number) =>
    sizes.findIndex((size) => Math.floor(a / size) === Math.floor(b / size));
  const rings = Array.from({ length: cpus }, (_, cpu) => {
    const ringsOfCpu: number[][] = sizes.map(() => []);
    for (let other = 0; other < cpus; other++) {
      if (other !== cpu) ringsOfCpu[distance(cpu, other)]?.push(other);
    }
    return ringsOfCpu;
  });
  return { cpus, shared: SHARED[counts.length - 1] as string[], rings, distance };
}
