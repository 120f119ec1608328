export { hold, release, type WorkerSelf, worker } from './worker.js';
