/**
 * Whom a worker may give to, nearest first. Pure.
 *
 * A worker's gyres are the scheduling groups of its CPU, from the innermost that holds more
 * than that CPU's core outwards, each without those before it. The other hardware threads of the
 * core come second. Nobody is nearer, but who gives is busy, and two busy threads of a core slow
 * each other down: simulated, with each at 0.6 of its speed, p95 and p99 are 5 to 10% better than
 * with the siblings first, at 17 to 42% load; without any slowdown they are up to 3% worse, or the
 * same (docs/simulation.md, study siblings).
 *
 * Workers on the very same CPU bring no CPU of their own. They are with the threads of the core;
 * where a core has one thread, they are in the innermost gyre: near, but not preferred to those
 * next to them.
 *
 * Groups are closed under equal cost, so a ring of four memory nodes, each near to two and
 * far from the fourth, is one group. What is nearer within a group still comes first: a gyre
 * is divided by the distance of memory nodes.
 */
import { groupsOf } from './groups.js';
import type { Nearness } from './topology.js';

/** For one worker: gyres, that is rings of worker indices, nearest first. It is in none itself. */
export type Rings = readonly (readonly number[])[];

/** One ring for each of `workers` workers: all the others. What no topology is known for. */
export function wholeMachine(workers: number): readonly Rings[] {
  const all = Array.from({ length: workers }, (_, index) => index);
  return all.map((worker) => [all.filter((other) => other !== worker)]);
}

/**
 * The rings of every worker. Each worker is in one ring of every other one.
 *
 * A worker without a place (not pinned, or on a CPU that `machine` does not know) could be
 * anywhere: it has one ring with everybody, and is in the outermost ring of the others, that
 * of the whole machine.
 *
 * 1,024 workers on as many CPUs take some 100 ms, and a million numbers in all.
 *
 * @param cpusOfWorkers the CPU of each worker, or null; several may share one
 * @param siblings where the other threads of a core are: `second`, as above, or `first`, in the
 *   innermost gyre with those next to them, for whom to share caches is all that counts
 */
export function ringsFor(
  cpusOfWorkers: readonly (number | null)[],
  machine: Nearness | null,
  siblings: 'first' | 'second' = 'second',
): readonly Rings[] {
  if (machine === null) return wholeMachine(cpusOfWorkers.length);
  const ringsOf = neighbourhoods(cpusOfWorkers, machine, siblings === 'second');
  return cpusOfWorkers.map((_, worker) => ringsOf(worker));
}

/**
 * Rings of CPUs around CPU `home`, nearest first: each of `cpus` but `home` is in one. Takes n for
 * n CPUs.
 */
export function cpuRings(
  home: number,
  cpus: readonly number[],
  machine: Nearness | null,
): readonly (readonly number[])[] {
  const others = cpus.filter((cpu) => cpu !== home);
  if (machine === null || others.length === 0) return others.length === 0 ? [] : [others];
  // As if there were a worker on each, of which the first is the one that asks.
  const rings = neighbourhoods([home, ...others], machine, true)(0);
  return rings.map((ring) => ring.map((index) => others[index - 1] as number));
}

/** The rings of one worker after another; see {@link ringsFor}. */
function neighbourhoods(
  cpusOfWorkers: readonly (number | null)[],
  machine: Nearness,
  apart: boolean,
): (worker: number) => Rings {
  const { nodes } = machine;
  const nodeOf = new Map(machine.cpus.map(({ id, node }) => [id, node]));
  const levels = groupsOf(machine.levels);
  const top = levels.length - 1;
  /** Its groups are cores; 0 where each core has one thread. */
  const cores = Math.max(
    0,
    machine.levels.findIndex(({ kinds }) => kinds.includes('core')),
  );
  const innermost = Math.min(cores + 1, top);
  const places = cpusOfWorkers.map((cpu) => (cpu !== null && nodeOf.has(cpu) ? cpu : null));
  const all = places.map((_, worker) => worker);
  const placeless = all.filter((worker) => places[worker] === null);

  /** For each level and group its workers. */
  const workersOf = levels.map((groupOf) => {
    const workers = new Map<number, number[]>();
    places.forEach((cpu, worker) => {
      if (cpu === null) return;
      const group = groupOf.get(cpu) as number;
      const present = workers.get(group);
      if (present === undefined) workers.set(group, [worker]);
      else present.push(worker);
    });
    return workers;
  });
  const near = (level: number, cpu: number) =>
    workersOf[level]?.get(levels[level]?.get(cpu) as number) ?? [];

  /** How far the memory of worker `other` is from `cpu`, if that is known. */
  const far = (cpu: number, other: number): number => {
    const from = nodeOf.get(cpu) ?? null;
    const to = nodeOf.get(places[other] as number) ?? null;
    const distance = from === null || to === null ? undefined : nodes[from]?.distances[to];
    return distance ?? Number.MAX_VALUE;
  };
  /** `ring` by distance from `cpu`. */
  const divided = (ring: number[], cpu: number): number[][] => {
    if (nodes.length < 2) return [ring];
    const byDistance = new Map<number, number[]>();
    for (const worker of ring) {
      const distance = far(cpu, worker);
      const equal = byDistance.get(distance);
      if (equal === undefined) byDistance.set(distance, [worker]);
      else equal.push(worker);
    }
    return [...byDistance].sort(([a], [b]) => a - b).map(([, equal]) => equal);
  };

  return (worker) => {
    const cpu = places[worker] ?? null;
    if (cpu === null) return [all.filter((other) => other !== worker)];
    const rings: number[][] = [];
    const siblings =
      apart && cores > 0 && cores < top ? near(cores, cpu).filter((other) => other !== worker) : [];
    let outermost: number[] | undefined;
    let known = 1 + siblings.length; // workers in the rings so far, siblings, and this one
    for (let level = innermost; level <= top; level++) {
      const present = near(level, cpu);
      if (present.length === known) continue;
      const inside = level === innermost && siblings.length === 0 ? null : levels[level - 1];
      const ring = present.filter(
        (other) =>
          other !== worker &&
          (inside === null || inside?.get(places[other] as number) !== inside?.get(cpu)),
      );
      rings.push(...divided(ring, cpu));
      known = present.length;
      if (level === top) outermost = rings.at(-1);
    }
    if (siblings.length > 0) rings.splice(1, 0, siblings);
    if (placeless.length > 0) {
      if (outermost === undefined) rings.push([...placeless]);
      else outermost.push(...placeless);
      outermost?.sort((a, b) => a - b);
    }
    return rings;
  };
}

/**
 * Rings over two slots for each worker: those of worker i are i and i + n, of which one is in use,
 * or for a while both. A worker's other slot has the same CPU and is the last to go to.
 */
export function withTwins(rings: readonly Rings[]): readonly Rings[] {
  const workers = rings.length;
  const slots = rings.map((own) => own.map((ring) => [...ring, ...ring.map((i) => i + workers)]));
  return [
    ...slots.map((own, worker) => [...own, [worker + workers]]),
    ...slots.map((own, worker) => [...own, [worker]]),
  ];
}

/**
 * Rings of `slots` workers, of which those that `rings` does not name are spares. A spare is
 * near to nobody, because it is bound to no CPU: to a worker the spares are one more ring, the
 * last, and to a spare all workers are the first and the other spares the second.
 */
export function withSpares(rings: readonly Rings[], slots: number): readonly Rings[] {
  const workers = rings.map((_, index) => index);
  const spares = Array.from({ length: slots - rings.length }, (_, index) => rings.length + index);
  if (spares.length === 0) return rings;
  return [
    ...rings.map((own) => [...own, spares]),
    ...spares.map((spare) => [workers, spares.filter((other) => other !== spare)]),
  ];
}
