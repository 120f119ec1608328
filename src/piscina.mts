export {
  type ParetoBalancerOptions,
  type PinOptions,
  type PoolThread,
  paretoBalancer,
  pinnedWorker,
} from './piscina.js';
