/**
 * Worker threads without what tap preloads. To be imported by whatever process starts a runtime; it changes
 * that process.
 */
import workerThreads, { type WorkerOptions } from 'node:worker_threads';

// tap preloads modules of its own into the test's process, and threads inherit that:
// on Node 20 every worker would then start a loader thread first, for over a second.
// No test is about that, so workers started here get no options from the command line.
delete process.env.NODE_OPTIONS;
const NodeWorker = workerThreads.Worker;
workerThreads.Worker = class extends NodeWorker {
  constructor(file: string | URL, options: WorkerOptions) {
    super(file, { ...options, execArgv: [] });
  }
};
