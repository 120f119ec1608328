/**
 * Whom workers may give to: the rings that the scheduler makes, and what might be instead. Pure.
 */
import { type Rings, wholeMachine } from '../../src/scheduler/neighbourhood.js';
import type { Topology } from './topology.js';

/** The scheduler's rings without the CPU's own siblings, which are put somewhere else. */
function aside(
  { rings, places, siblings }: Topology,
  put: (rings: Rings, own: readonly number[]) => Rings,
): Rings[] {
  const workerOn = new Map(places.map((cpu, worker) => [cpu, worker]));
  return rings.map((ringsOfWorker, worker) => {
    const own = (siblings[places[worker] as number] ?? []).flatMap(
      (cpu) => workerOn.get(cpu) ?? [],
    );
    const others = ringsOfWorker.map((ring) => ring.filter((other) => !own.includes(other)));
    const rest = others.filter((ring) => ring.length > 0);
    return own.length === 0 ? ringsOfWorker : put(rest, own);
  });
}

export const RINGS = {
  /** As the scheduler makes them: siblings second. */
  near: ({ rings }) => rings,
  /** One ring. */
  anyone: ({ rings }) => wholeMachine(rings.length),
  'sibling-first': (topology) => aside(topology, (rest, own) => [own, ...rest]),
  'sibling-within': (topology) =>
    aside(topology, ([nearest = [], ...rest], own) => [[...nearest, ...own], ...rest]),
  'sibling-last': (topology) => aside(topology, (rest, own) => [...rest, own]),
} as const satisfies Record<string, (topology: Topology) => readonly Rings[]>;

export type RingsName = keyof typeof RINGS;
