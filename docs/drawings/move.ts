/** A round: a worker that can still act gives half of what waits away. */
import type { Sequence } from './sequence.js';

const [CLIENT, GIVER, MEMORY, TAKER] = [0, 1, 2, 3];

export const move: Sequence = {
  title: 'A move: a worker gives half of what waits for it to a neighbour',
  lanes: [
    { name: 'Clients', about: 'keep-alive connections', kind: 'client' },
    { name: 'Worker 0', about: 'has been busy', kind: 'worker' },
    { name: 'Shared memory', about: 'scoreboard, mailboxes', kind: 'shared' },
    { name: 'Worker 1', about: 'has time', kind: 'worker' },
  ],
  steps: [
    { at: GIVER, says: ['one iteration of its', 'loop takes 12 ms'] },
    { from: CLIENT, to: GIVER, says: ['four requests come', 'meanwhile'] },
    { at: GIVER, says: ['before it sleeps: looks into', 'its epoll set, 4 are ready'] },
    { from: GIVER, to: MEMORY, says: ['who has less waiting, and', 'got nothing for longest?'] },
    { at: GIVER, says: ['worker 1; it gets', 'half, that is 2'] },
    {
      from: GIVER,
      to: MEMORY,
      says: ['twice: dup(2), then number', 'and boundary into a mailbox'],
    },
    { at: GIVER, says: ['closes its own number;', 'the connection lives on'] },
    { from: GIVER, to: TAKER, says: ['rings (uv_async_send)'] },
    { from: TAKER, to: MEMORY, says: ['takes them out'] },
    { at: TAKER, says: ["a 'connection' event", 'for each, and node reads', 'what waits there'] },
    { from: TAKER, to: CLIENT, says: ['two responses; the clients have noticed nothing'] },
    { from: GIVER, to: CLIENT, says: ['and the other two', 'from here'] },
  ],
  spans: [
    { lane: GIVER, first: 0, last: 1, kind: 'busy', says: 'busy' },
    { lane: GIVER, first: 2, last: 7, kind: 'worker', says: 'a round' },
    { lane: TAKER, first: 8, last: 10, kind: 'worker', says: 'serves' },
    { lane: GIVER, first: 11, last: 11, kind: 'worker', says: '' },
  ],
};
