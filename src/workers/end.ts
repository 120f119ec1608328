/**
 * What a worker says of its end before it comes: that the application asked for it, and that
 * its heap is nearly full. Worker's thread only.
 */
import { constants, PerformanceObserver, performance } from 'node:perf_hooks';
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';
import workerThreads from 'node:worker_threads';
import type { FromWorker } from '../protocol.js';

/**
 * Tells main that the application calls `process.exit()`, and calls `last` when the thread is
 * about to end: after that, after an uncaught error, or with nothing left to do.
 */
export function followEnd(send: (message: FromWorker) => void, last: () => void): void {
  const { exit } = process;
  process.exit = (...code: Parameters<typeof process.exit>) => {
    send({ kind: 'exiting' });
    return exit.apply(process, code); // to node, no code is something else than undefined
  };
  // Before any listener of the application, and never after it: this is registered first.
  process.on('exit', last);
}

const MB = 2 ** 20;

/** Spaces of the young generation; what is in the others counts against the limit of the old one. */
const YOUNG = new Set(['new_space', 'new_large_object_space']);

/** What is nearly full may still be so after main could do nothing about it. No evidence for more or less. */
const REPEAT_MS = 5_000;

/**
 * Calls `full`, not more often than each 5 s, when after a full collection more than `ratio` of what the old
 * generation may hold is in use: it is its limit at which node ends the thread. V8's `heap_size_limit`
 * counts the young generation in, which alone is up to 192 MB on Node 24, so that a small heap
 * would never seem full.
 */
export function watchHeap(ratio: number, full: (ratio: number) => void): void {
  const {
    maxYoungGenerationSizeMb: young = 0,
    maxOldGenerationSizeMb: old = Number.POSITIVE_INFINITY,
  } = workerThreads.resourceLimits;
  // Flags of V8's go before the limits of the thread, and are seen only in the sum.
  const limit = Math.min(getHeapStatistics().heap_size_limit - young * MB, old * MB);
  let quietUntilMs = 0;
  const observer = new PerformanceObserver((list) => {
    if (performance.now() < quietUntilMs) return;
    const major = list.getEntries().some((entry) => {
      const { kind } = (entry as { detail?: { kind?: number } }).detail ?? {};
      return kind === constants.NODE_PERFORMANCE_GC_MAJOR;
    });
    if (!major) return;
    const used = getHeapSpaceStatistics()
      .filter(({ space_name: name }) => !YOUNG.has(name))
      .reduce((sum, space) => sum + space.space_used_size, 0);
    if (used < ratio * limit) return;
    quietUntilMs = performance.now() + REPEAT_MS;
    full(used / limit);
  });
  observer.observe({ entryTypes: ['gc'] });
}
