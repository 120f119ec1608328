/**
 * Which thread of a pool gets the next job. Threads are plain objects here, as Piscina shows them.
 */
import t from 'tap';
import { Balancer, type PoolThread } from '../../src/scheduler/balancer.js';
import { seededRandom } from '../../src/scheduler/random.js';

const thread = (id: number, changes: Partial<PoolThread> = {}): PoolThread => ({
  ...{ id, currentUsage: 0, isRunningAbortableTask: false },
  ...{ terminating: false, destroyed: false },
  ...changes,
});
const balancer = (usageMax = 1, threads = 8, seed = 1) =>
  new Balancer({ threads, usageMax, random: seededRandom(seed), misalignmentOf: null });

t.test('threads that have nothing take turns, whoever has waited longest first', async (t) => {
  const choice = balancer();
  const threads = [thread(1), thread(2), thread(3)];
  const first = threads.map(() => choice.choose(true, threads)?.id);
  t.same(first.toSorted(), [1, 2, 3], 'each gets one');
  for (let round = 0; round < 5; round++) {
    t.same(
      threads.map(() => choice.choose(false, threads)?.id),
      first,
      'and then again, in the same order',
    );
  }
});

t.test('who never got anything is a random choice', async (t) => {
  const threads = [1, 2, 3, 4].map((id) => thread(id));
  const firsts = new Set(
    Array.from({ length: 50 }, (_, seed) => balancer(1, 8, seed).choose(true, threads)?.id),
  );
  t.same([...firsts].sort(), [1, 2, 3, 4]);
});

t.test('nobody gets a second one unless it may have several', async (t) => {
  const busy = [thread(1, { currentUsage: 1 }), thread(2, { currentUsage: 1 })];
  t.equal(balancer(1).choose(false, busy), null);
  t.equal(balancer(2).choose(true, busy), null, 'what may be aborted is alone');
  t.ok(balancer(2).choose(false, busy));
  const full = thread(1, { currentUsage: 2 });
  t.equal(balancer(2).choose(false, [full]), null);
  const alone = thread(2, { currentUsage: Number.POSITIVE_INFINITY, isRunningAbortableTask: true });
  t.equal(balancer(9).choose(false, [alone]), null);
  t.equal(balancer(9).choose(false, []), null);
});

t.test('a job is not put behind another while somebody has none', async (t) => {
  const choice = balancer(4);
  const free = thread(1);
  choice.choose(false, [free]); // so that the others have waited longer
  for (let i = 0; i < 20; i++) {
    const threads = [thread(2, { currentUsage: 1 }), free, thread(3, { currentUsage: 3 })];
    t.equal(choice.choose(false, threads), free);
  }
});

t.test('among those with several, one that is dominated gets nothing', async (t) => {
  const choice = balancer(4);
  const few = thread(1, { currentUsage: 1 });
  const many = thread(2, { currentUsage: 2 });
  choice.choose(false, [many]);
  t.equal(choice.choose(false, [many, few]), few, 'fewer jobs, and has waited longer');
  const chosen = new Set<number | undefined>();
  for (let i = 0; i < 50; i++) chosen.add(choice.choose(false, [many, few])?.id);
  t.same([...chosen].sort(), [1, 2], 'fewer jobs against a longer wait: neither dominates');
});

t.test('threads that end or have ended get nothing, and leave their row', async (t) => {
  const choice = balancer(1, 2);
  const gone = thread(1);
  choice.choose(true, [gone]);
  choice.choose(true, [thread(2)]);
  t.throws(() => choice.choose(true, [thread(3)]), RangeError, 'there are two rows');
  Object.assign(gone, { destroyed: true });
  t.equal(choice.choose(true, [gone]), null);
  t.equal(choice.choose(true, [thread(2, { terminating: true })]), null);
  t.equal(choice.choose(true, [thread(3)])?.id, 3);
  t.equal(choice.board.workers, 3, 'one row is the giver’s');
  t.equal(choice.board.read(2).given, 3);
});
