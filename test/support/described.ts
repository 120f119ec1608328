/** Machines of test/fixtures/topology, described as if they were this one. */
import { describeMachine } from '../../src/scheduler/machine.js';
import type { Topology } from '../../src/scheduler/topology.js';
import { MACHINES, type MachineName, treeOf } from '../fixtures/topology/machines.js';

const described = new Map<MachineName, Topology>();

/** The topology of a fixture; described once. */
export function machine(name: MachineName): Topology {
  const known = described.get(name);
  if (known !== undefined) return known;
  const { files, affinity } = MACHINES[name]();
  const topology = describeMachine(treeOf(files), { affinity, processor: null, pageBytes: null });
  described.set(name, topology);
  return topology;
}

/** `count` numbers from `from`, each `step` after the one before. */
export function from(start: number, count: number, step = 1): number[] {
  return Array.from({ length: count }, (_, at) => start + at * step);
}
