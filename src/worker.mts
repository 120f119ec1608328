export {
  exposeMetrics,
  hold,
  type MetricsRegistry,
  type RunOptions,
  release,
  run,
  type WorkerSelf,
  worker,
} from './worker.js';
