/**
 * Which worker runs on which CPU. Pure and deterministic.
 *
 * Workers that share nothing spread out, so that each has as much of the machine to itself
 * as there is: first over memory nodes, then packages, cores, threads. Workers that
 * collaborate huddle, so that what they share stays in one cache.
 *
 * The distance of two CPUs is the number of levels at which their groups differ. The sum of all
 * distances among the CPUs taken (their Wiener index) is what spreading makes large and huddling
 * small, one CPU at a time. Among equals the distances of their memory nodes count in the same way.
 */
import { groupsOf } from './groups.js';
import type { Nearness } from './topology.js';

/** `divergent` spreads, `collaborative` huddles. */
export type Placement = 'divergent' | 'collaborative';

/** How many CPUs were taken from each block of a partition of the CPUs. */
class Tally {
  readonly #blockOf: readonly number[];
  readonly #taken: number[];

  /** @param blockOf of each CPU by its position; any integers from -1 */
  constructor(blockOf: readonly number[]) {
    this.#blockOf = blockOf.map((block) => block + 1);
    this.#taken = new Array(Math.max(0, ...this.#blockOf) + 1).fill(0);
  }

  take(at: number): void {
    const block = this.#blockOf[at] as number;
    this.#taken[block] = (this.#taken[block] as number) + 1;
  }

  /** How many were taken from the block of the CPU at this position. */
  near(at: number): number {
    return this.#taken[this.#blockOf[at] as number] as number;
  }
}

/** The sum of memory distances between each node and the CPUs that were taken. */
class Travel {
  readonly #nodeOf: readonly (number | null)[];
  readonly #distances: readonly (readonly number[])[];
  readonly #sums: number[];

  constructor({ cpus, nodes }: Nearness) {
    this.#nodeOf = cpus.map(({ node }) => node);
    this.#distances = nodes.map(({ distances }) => distances);
    this.#sums = new Array(nodes.length).fill(0);
  }

  take(at: number): void {
    const node = this.#nodeOf[at] ?? null;
    if (node === null) return;
    this.#distances.forEach((distances, other) => {
      this.#sums[other] = (this.#sums[other] as number) + (distances[node] as number);
    });
  }

  /** Of the CPU at this position. */
  far(at: number): number {
    return this.#sums[this.#nodeOf[at] ?? -1] ?? 0;
  }
}

/** Tallies of the levels: their sum is large where many CPUs near by were taken. */
function closeness({ cpus, levels }: Nearness): Tally[] {
  return groupsOf(levels).map(
    (groupOf) => new Tally(cpus.map(({ id }) => groupOf.get(id) as number)),
  );
}

/** One criterion: of two positions the one with less is taken first. */
type Cost = (at: number) => number;

interface Taking {
  readonly costs: readonly Cost[];
  /** Told of each that is taken. */
  readonly tallies: readonly { take(at: number): void }[];
  /** The position that is taken first; null: the cheapest. */
  readonly first: number | null;
}

/** Takes `count` of `size` positions, one by one, the cheapest by the first criterion that differs. */
function takeEach(size: number, count: number, { costs, tallies, first }: Taking): number[] {
  const left = new Set(Array.from({ length: size }, (_, at) => at));
  const cheapest = () => {
    let best: number | null = null;
    for (const at of left) {
      if (best === null) best = at;
      for (const cost of costs) {
        const difference = cost(at) - cost(best);
        if (difference === 0) continue;
        if (difference < 0) best = at;
        break;
      }
    }
    return best;
  };
  const order: number[] = [];
  while (order.length < count) {
    const at = order.length === 0 && first !== null ? first : cheapest();
    if (at === null) break;
    left.delete(at);
    order.push(at);
    for (const tally of tallies) tally.take(at);
  }
  return order;
}

/**
 * The `count` first CPUs for workers that share nothing. Each is of the memory node, then
 * package, then core of which fewest CPUs were taken; among equals the one with the
 * largest total distance to all taken; then that with the lowest id.
 */
export function spread(machine: Nearness, count = machine.cpus.length): number[] {
  const { cpus } = machine;
  const levels = closeness(machine);
  const parts = [
    new Tally(cpus.map(({ node }) => node ?? -1)),
    new Tally(cpus.map((cpu) => cpu.package)),
    new Tally(cpus.map(({ core }) => core)),
  ];
  const costs = parts.map(
    (part): Cost =>
      (at) =>
        part.near(at),
  );
  const travel = new Travel(machine);
  costs.push((at) => levels.reduce((sum, level) => sum + level.near(at), 0));
  costs.push((at) => -travel.far(at));
  const tallies = [...parts, ...levels, travel];
  const order = takeEach(cpus.length, count, { costs, tallies, first: null });
  return order.map((at) => cpus[at]?.id as number);
}

/**
 * The `count` first CPUs for workers that collaborate. It begins in the first of the smallest groups
 * that can hold them all; each next CPU is the one with the smallest total
 * distance to all taken; then that with the lowest id.
 */
export function huddle(machine: Nearness, count = machine.cpus.length): number[] {
  const { cpus } = machine;
  const levels = closeness(machine);
  const home = machine.levels
    .flatMap(({ groups }) => groups.find((group) => group.length >= count) ?? [])
    .at(0);
  const first = cpus.findIndex(({ id }) => id === home);
  const travel = new Travel(machine);
  const costs: Cost[] = [
    (at) => -levels.reduce((sum, level) => sum + level.near(at), 0),
    (at) => travel.far(at),
  ];
  const tallies = [...levels, travel];
  const order = takeEach(cpus.length, count, {
    costs,
    tallies,
    first: first === -1 ? null : first,
  });
  return order.map((at) => cpus[at]?.id as number);
}

/**
 * `cpus` in the order in which `count` workers take them. Those that `machine` does not know
 * come last, in their own order; without `machine` that is all of them.
 */
export function arrange(
  placement: Placement,
  cpus: readonly number[],
  machine: Nearness | null,
  count: number,
): number[] {
  if (machine === null) return [...cpus];
  const allowed = new Set(cpus);
  const known = placement === 'divergent' ? spread(machine, count) : huddle(machine, count);
  const order = new Set(known.filter((cpu) => allowed.has(cpu)));
  return [...order, ...cpus.filter((cpu) => !order.has(cpu))];
}

/**
 * CPUs for `workers` workers out of `cpus`, in order, starting over when there are
 * more workers than CPUs.
 */
export function place(workers: number, cpus: readonly number[]): number[] {
  if (cpus.length === 0) throw new RangeError('there is no CPU to place workers on');
  return Array.from({ length: workers }, (_, index) => cpus[index % cpus.length] as number);
}
