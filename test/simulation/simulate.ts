/** One seed, one run. */
import { STOP_GRACE_MS } from './invariants.js';
import { planOf } from './plan.js';
import { TERMINATE_MS } from './program.js';
import { Sources } from './realm.js';
import type { Edit } from './source.js';
import { SHARED_SURROUNDINGS, World } from './world.js';

/** Rings of four entries, so that they are full at times; and nobody is waited for for long. */
const SMALL: readonly Edit[] = [
  { file: 'runtime/moving', from: 'RING_CAPACITY_MAX = 4_096', to: 'RING_CAPACITY_MAX = 4' },
  {
    file: 'runtime/worker-thread',
    from: 'STOP_GRACE_MS = 1_000',
    to: `STOP_GRACE_MS = ${STOP_GRACE_MS}`,
  },
  {
    file: 'runtime/worker-thread',
    from: 'TERMINATE_MS = 5_000',
    to: `TERMINATE_MS = ${TERMINATE_MS}`,
  },
];

export interface Outcome {
  /** Of everything that happened. */
  readonly hash: number;
  readonly failure: Error | null;
  readonly trace: readonly string[] | null;
  readonly steps: number;
  readonly answered: number;
}

/** All edits of the product with mistakes `edits`. */
export function withSmall(edits: readonly Edit[]): readonly Edit[] {
  return [...SMALL, ...edits];
}

/** The product as it is, or with mistakes. */
export function sourcesWith(edits: readonly Edit[]): Sources {
  return new Sources(withSmall(edits), SHARED_SURROUNDINGS);
}

const asItIs = sourcesWith([]);

export function simulate(seed: number, sources = asItIs, traces = false): Outcome {
  const world = new World(seed, planOf(seed), sources, traces);
  let failure: Error | null = null;
  try {
    world.run();
  } catch (error) {
    failure = error as Error;
    world.log(`failed: ${failure.message}`);
  }
  const { hash, trace, steps, answered } = world;
  return { hash, failure, trace, steps, answered };
}
