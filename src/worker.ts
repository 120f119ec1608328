/**
 * `gyre/worker`: what a server may ask about the worker it runs in.
 *
 * @module
 */
import { getSelf, type WorkerSelf } from './workers/self.js';

export type { WorkerSelf };

/** The worker that this thread is, or null on a thread that gyre did not start. */
export const worker: WorkerSelf | null = getSelf();
