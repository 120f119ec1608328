export {
  exposeMetrics,
  hold,
  type MetricsRegistry,
  release,
  type WorkerSelf,
  worker,
} from './worker.js';
