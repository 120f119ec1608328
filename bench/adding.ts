/**
 * How long an addition takes in threads that add at the same time: all begin before any is
 * measured, and each goes on until all have been.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, type Worker } from 'node:worker_threads';

/** Between two looks at the flag: enough to make them free, few enough to stop soon. */
export const BATCH = 10_000;
const WARMUP_MS = 100;

const WARMING = 0;
const MEASURING = 1;
const STOPPED = 2;

/** In a worker thread: adds until told to stop; posts ns per addition while measuring. */
export function addUntilStopped(batch: () => void, flag: Int32Array): void {
  parentPort?.postMessage('running');
  while (Atomics.load(flag, 0) === WARMING) batch();
  let additions = 0;
  const startedAt = performance.now();
  while (Atomics.load(flag, 0) === MEASURING) {
    batch();
    additions += BATCH;
  }
  parentPort?.postMessage(((performance.now() - startedAt) * 1e6) / additions);
}

/** Mean ns per addition of `threads`, which have just been started with `flag`, a word of 0. */
export async function measureAdding(
  threads: readonly Worker[],
  flag: Int32Array,
  ms: number,
): Promise<number> {
  await Promise.all(threads.map((thread) => once(thread, 'message')));
  await sleep(WARMUP_MS);
  Atomics.store(flag, 0, MEASURING);
  await sleep(ms);
  const results = Promise.all(threads.map((thread) => once(thread, 'message')));
  Atomics.store(flag, 0, STOPPED);
  const nanoseconds = (await results).map(([value]) => value as number);
  return nanoseconds.reduce((sum, value) => sum + value, 0) / nanoseconds.length;
}
