export { hold, type RunOptions, release, run, type WorkerSelf, worker } from './worker.js';
