/** A safepoint: the governor acts for a worker that cannot. */
import type { Sequence } from './sequence.js';

const [CLIENT, VICTIM, WATCHER, GOVERNOR, TAKER] = [0, 1, 2, 3, 4];

export const safepoint: Sequence = {
  title: 'A safepoint: connections are taken from a worker that stands still',
  lanes: [
    { name: 'Client', about: 'another connection', kind: 'client' },
    { name: 'Worker 0', about: 'in a long callback', kind: 'worker' },
    { name: 'Watcher', about: 'native thread', kind: 'governor' },
    { name: 'Governor', about: 'no user code', kind: 'governor' },
    { name: 'Worker 1', about: 'has time', kind: 'worker' },
  ],
  steps: [
    { at: VICTIM, says: ['a handler computes', 'for 50 ms'] },
    { from: CLIENT, to: VICTIM, says: ['a request: it', 'is ready, and waits'] },
    { from: WATCHER, to: VICTIM, says: ['each tick: has', 'it got on?'] },
    { from: WATCHER, to: GOVERNOR, says: ['it is stuck, and', 'something waits'] },
    { at: GOVERNOR, says: ['worker 1 is on', 'the frontier'] },
    { from: GOVERNOR, to: VICTIM, says: ['asks for a pause: SIGURG (tgkill)'] },
    { from: VICTIM, to: GOVERNOR, says: ['its signal handler waits on a futex'] },
    {
      at: GOVERNOR,
      says: ['does the kernel', 'confirm the', 'boundary? dup(2), out', 'of the epoll set'],
    },
    { from: GOVERNOR, to: VICTIM, says: ['goes on, as a rule after microseconds'] },
    { from: GOVERNOR, to: TAKER, says: ['mailbox, bell'] },
    { from: TAKER, to: CLIENT, says: ['the response, while worker 0 still computes'] },
    { from: GOVERNOR, to: VICTIM, says: ['for later: which numbers are no longer its own'] },
    { at: VICTIM, says: ['its handler ends;', 'it drops those'] },
  ],
  spans: [
    { lane: VICTIM, first: 0, last: 5, kind: 'busy', says: 'computes' },
    { lane: VICTIM, first: 6, last: 8, kind: 'paused', says: 'paused' },
    { lane: VICTIM, first: 9, last: 11, kind: 'busy', says: 'computes on' },
    { lane: GOVERNOR, first: 4, last: 9, kind: 'governor', says: 'acts for worker 0' },
    { lane: TAKER, first: 10, last: 10, kind: 'worker', says: '' },
  ],
};
