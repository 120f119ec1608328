/**
 * What a worker says of its end before it comes: that the application asked for it, and that
 * its heap is nearly full. Worker's thread only.
 */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
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

/** Calls `full` when more than `ratio` of the heap limit is in use after a full collection. */
export function watchHeap(ratio: number, full: (ratio: number) => void): void {
  const observer = new PerformanceObserver((list) => {
    const major = list.getEntries().some((entry) => {
      const { kind } = (entry as { detail?: { kind?: number } }).detail ?? {};
      return kind === constants.NODE_PERFORMANCE_GC_MAJOR;
    });
    if (!major) return;
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    if (used < ratio * limit) return;
    observer.disconnect();
    full(used / limit);
  });
  observer.observe({ entryTypes: ['gc'] });
}
