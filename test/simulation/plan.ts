/** What a run consists of, by its seed: so that each kind of trouble comes alone and with others. */
import { below, seededRandom } from '../../src/scheduler/random.js';
import type { Wish } from './client.js';
import { PORT, SECOND_PORT } from './program.js';
import type { Plan } from './world.js';

/** Every so many-th seed everything goes wrong, and often. */
export const HARSH_EVERY = 4;

export function planOf(seed: number): Plan {
  const random = seededRandom(seed + 2 ** 40);
  const one = <T>(...of: readonly T[]): T => of[below(random, of.length)] as T;
  /** Of fewer than there are clients. */
  const limits = (): Plan['limits'] => {
    const overload = one('wait', 'refuse');
    const total = one(3, 5);
    return {
      overload,
      maxConnections: one({ total }, { perWorker: 2 }, { total, perWorker: 2 }),
      ...one({}, { maxOutstanding: one({ total: 2 }, { perWorker: 1 }) }),
    };
  };
  if (seed % HARSH_EVERY === 0) {
    return {
      ...{ workers: one(2, 3), maxWorkers: 3, spares: one(0, 1) },
      ...{ descriptors: one(96, 128), clients: 8, steps: 80, ports: [PORT], restarts: 1000 },
      ...{ preempts: 4000, kills: one(100, 400), fails: one(0, 200), operates: one(0, 60) },
      wishes: ['answer', 'answer', 'later', one('burn', 'hang'), 'burn', one('exit', 'throw')],
      limits: one(false, false, true) ? limits() : {},
    };
  }
  const workers = one(1, 2, 2, 3);
  const wishes: Wish[] = ['answer', 'answer', 'answer', 'later'];
  for (const wish of ['burn', 'hang', 'block', 'throw', 'exit', 'hold', 'upgrade'] as const) {
    if (one(true, false, false)) wishes.push(wish);
  }
  return {
    ...{ workers, maxWorkers: one(workers, 3), spares: one(0, 0, 1) },
    ...{ descriptors: one(96, 128), clients: one(4, 8), steps: one(30, 60, 60) },
    ports: one([PORT], [PORT], [PORT, SECOND_PORT]),
    restarts: one(2, 1000, 1000, 1000),
    preempts: one(0, 1000, 4000),
    kills: one(0, 0, 200, 1500),
    fails: one(0, 0, 0, 100, 500),
    operates: one(0, 0, 30, 100),
    wishes,
    limits: one(false, false, true) ? limits() : {},
  };
}
