/** One request's life, and when its connection may move. */
import type { Sequence } from './sequence.js';

const [CLIENT, KERNEL, WORKER, SERVER] = [0, 1, 2, 3];

export const request: Sequence = {
  title: 'The life of a request: when its connection may move, and when it stays',
  lanes: [
    { name: 'Client', about: 'knows nothing of gyre', kind: 'client' },
    { name: 'Kernel', about: "the worker's own socket", kind: 'kernel' },
    { name: 'Worker', about: 'gyre beside the application', kind: 'worker' },
    { name: 'Your server', about: 'unchanged', kind: 'worker' },
  ],
  steps: [
    { from: CLIENT, to: KERNEL, says: ['connects'] },
    { at: KERNEL, says: ['waits in the accept', 'queue'] },
    { from: KERNEL, to: WORKER, says: ['something waits'] },
    { at: WORKER, says: ['is there room?', 'then accept4(2)'] },
    { from: WORKER, to: SERVER, says: ["'connection'"] },
    { from: CLIENT, to: KERNEL, says: ['request'] },
    { from: KERNEL, to: WORKER, says: ['readable'] },
    { at: WORKER, says: ['first byte of a message:', 'noted by the parser'] },
    { from: WORKER, to: SERVER, says: ["'request'"] },
    { from: SERVER, to: CLIENT, says: ['response'] },
    {
      at: WORKER,
      says: ['answered, read whole,', 'nothing left to write:', 'the boundary is noted'],
    },
    { at: KERNEL, says: ['confirms it before', 'any move'] },
    { from: CLIENT, to: KERNEL, says: ['next request'] },
    { from: KERNEL, to: WORKER, says: ['readable, here or', 'wherever it has moved'] },
  ],
  spans: [
    { lane: KERNEL, first: 1, last: 1, kind: 'moves', says: 'moves' },
    { lane: WORKER, first: 3, last: 6, kind: 'moves', says: 'unread: moves' },
    { lane: WORKER, first: 7, last: 9, kind: 'stays', says: 'stays' },
    { lane: WORKER, first: 10, last: 13, kind: 'moves', says: 'between two: moves' },
  ],
};
