export { type WorkerSelf, worker } from './worker.js';
