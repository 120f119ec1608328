import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import { GOVERNOR, governorRow, WORKER, workerRow } from '../../src/scheduler/layout.js';
import { Capacity, isLimited, type Limit, NO_LIMIT } from '../../src/scheduler/limits.js';
import { PLACES_MAX } from '../../src/scheduler/places.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';

const INT32_MAX = 0x7fffffff;

/** Two workers, with two rows each, and one spare. */
const ACCEPTING = 4;

function board(serving: readonly number[] = [0, 1]): Scoreboard {
  const made = Scoreboard.create(ACCEPTING + 1, misalignmentOf);
  for (const slot of serving) made.supervise(slot).state('serving');
  return made;
}

function capacity(board: Scoreboard, connections: Partial<Limit>, outstanding = NO_LIMIT) {
  return new Capacity(board, ACCEPTING, {
    connections: { ...NO_LIMIT, ...connections },
    outstanding,
  });
}

t.test('without a limit there is always a place, and it is counted', async (t) => {
  t.notOk(isLimited(NO_LIMIT));
  const rows = board();
  const free = capacity(rows, {});
  t.equal(free.placesMax, PLACES_MAX);
  for (let i = 0; i < 3; i++) t.ok(rows.own(0).enter(free.placesMax));
  t.equal(rows.places('CONNECTIONS'), 3);
  rows.own(0).leave();
  t.equal(free.room(0), PLACES_MAX - 2);
  t.ok(free.answersMore(0));
});

t.test(
  'a total is of all workers, one of each worker is its own, and their sum is a total',
  async (t) => {
    const rows = board();
    const total = capacity(rows, { total: 3 });
    for (let i = 0; i < 3; i++) t.ok(rows.own(i % 2).enter(total.placesMax));
    t.notOk(rows.own(0).enter(total.placesMax));
    t.equal(rows.connections(0), 2, 'and is not counted then');
    t.equal(total.room(0), 0);
    t.ok(rows.own(0).enter(PLACES_MAX));
    t.equal(rows.places('CONNECTIONS'), 4, 'what is there already counts all the same');
    t.equal(total.room(0), 0, 'and not below nothing');

    const each = capacity(board(), { perWorker: 2 });
    t.equal(each.placesMax, 4);
    t.equal(each.room(0), 2);
    const both = capacity(board([0, 1, 2]), { perWorker: 2, total: 100 });
    t.equal(both.placesMax, 4, 'a worker whose next thread starts is one worker');
    const busy = board();
    for (let i = 0; i < 3; i++) busy.own(0).enter(PLACES_MAX);
    const own = capacity(busy, { perWorker: 2 });
    t.equal(own.ownRoom(0), 0, 'with more than its own, which were given to it');
    t.equal(own.ownRoom(1), 2);
  },
);

t.test(
  'what is taken from a worker is not its any more, also across the largest Int32',
  async (t) => {
    for (const start of [0, INT32_MAX - 1]) {
      const rows = board();
      rows.words[workerRow(0) + WORKER.CONNECTIONS] = start;
      const taken = governorRow(0) + GOVERNOR.TAKEN;
      rows.words[taken] = start;
      for (let i = 0; i < 5; i++) rows.own(0).enter(100);
      t.equal(rows.connections(0), 5);
      for (let i = 0; i < 3; i++) {
        rows.words[taken] = ((rows.words[taken] as number) + 1) | 0;
        rows.words[rows.own(1).connectionsIndex] = i + 1;
      }
      t.equal(rows.connections(0), 2);
      rows.supervise(0).buried();
      t.equal(rows.connections(0), 0);
      t.equal(rows.places('CONNECTIONS'), 3, 'those that were taken live on');
      rows.own(0).begin(1);
      t.equal(rows.connections(0), 0);
      rows.supervise(1).buried();
      t.equal(rows.places('CONNECTIONS'), 0);
    }
  },
);

t.test('the place of what a dead worker had in its hand is left to who sees to that', async (t) => {
  const rows = board();
  const own = rows.own(0);
  for (let i = 0; i < 3; i++) own.enter(3);
  rows.words[own.handIndex] = 7;
  rows.supervise(0).buried();
  t.equal(rows.places('CONNECTIONS'), 1);
  t.equal(rows.takeHand(0), 7);
  t.equal(rows.takeHand(0), 0);
  rows.returnPlaces('CONNECTIONS', 1);
  for (const hand of [0, -24]) {
    own.begin(1);
    own.enter(1);
    rows.words[own.handIndex] = hand;
    rows.supervise(0).buried();
    t.equal(rows.places('CONNECTIONS'), 0, 'with nothing in it');
  }
});

t.test('requests have places of their own', async (t) => {
  const rows = board();
  const limited = capacity(rows, {}, { total: 3, perWorker: 2 });
  const begin = (slot: number, force = false) => {
    return rows.own(slot).beginRequest(force ? PLACES_MAX : limited.requestsMax(slot));
  };
  t.ok(begin(0) && begin(0));
  t.notOk(begin(0), 'its own');
  t.notOk(limited.answersMore(0));
  t.equal(limited.room(0), 0, 'no connection that would bring more');
  t.ok(begin(1));
  t.notOk(begin(1), 'all together');
  t.ok(begin(1, true), 'one that is answered in any case');
  t.equal(rows.places('REQUESTS'), 4);
  rows.own(0).endRequests(1);
  t.equal(rows.places('REQUESTS'), 3);
  rows.supervise(1).buried();
  t.equal(rows.places('REQUESTS'), 1);
  t.ok(begin(0));
});

t.test('threads that take and return places at once never have more than there are', async (t) => {
  const [threads, limit, times] = [4, 3, 100_000];
  const rows = Scoreboard.create(threads, misalignmentOf);
  const body = `
    const { workerData: { file, words, index, limit, times } } = require('node:worker_threads');
    const board = require(file).Scoreboard.attach(words);
    const own = board.own(index);
    let refused = 0;
    for (let i = 0; i < times; i++) {
      if (!own.enter(limit)) { refused++; continue; }
      if (board.places('CONNECTIONS') > limit) throw new Error('too many');
      own.accepted();
      own.leave();
    }
    require('node:worker_threads').parentPort.postMessage(refused);
  `;
  const file = require.resolve('../../src/scheduler/scoreboard.js');
  const workers = Array.from({ length: threads }, (_, index) => {
    const workerData = { file, words: rows.words, index, limit, times };
    return new Worker(body, { eval: true, workerData, execArgv: [] });
  });
  const refused = await Promise.all(
    workers.map(async (worker) => (await once(worker, 'message'))[0]),
  );
  const accepted = workers.map((_, index) => rows.read(index).accepted);
  t.equal(rows.places('CONNECTIONS'), 0);
  t.same(
    accepted.map((count, index) => count + refused[index]),
    new Array(threads).fill(times),
  );
});
