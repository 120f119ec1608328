import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import { difference } from '../../src/scheduler/counter.js';
import {
  BLOCK,
  GOVERNOR,
  gaveWord,
  givenWord,
  governorRow,
  iterationsRow,
  NEWCOMERS,
  NEWCOMERS_MAX,
  newcomersRow,
  PAUSE_BUCKETS,
  PLACES,
  placesRow,
  ROW_BYTES,
  ROW_WORDS,
  requestsRow,
  SUPERVISOR,
  supervisorRow,
  TIME_BUCKETS,
  takenWord,
  WORD_BYTES,
  WORKER,
  WORKER_STATES,
  WORKERS_MAX,
  wordsFor,
  workerRow,
} from '../../src/scheduler/layout.js';
import { PLACES_MAX } from '../../src/scheduler/places.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';
import { addCounts } from '../../src/scheduler/worker-row.js';

const INT32_MAX = 0x7fffffff;
const NO_TIMES = { sumNs: 0, byUs: new Array(TIME_BUCKETS).fill(0) };

/** Every word of the layout for `workers` workers, with who writes it. */
function* allWords(workers: number): Generator<{ word: number; writer: string; name: string }> {
  for (const [name, at] of Object.entries(BLOCK)) yield { word: at, writer: 'main', name };
  for (const [name, at] of Object.entries(PLACES)) {
    yield { word: placesRow() + at, writer: `everybody, ${name}`, name: `places ${name}` };
  }
  for (let index = 0; index < workers; index++) {
    for (const [name, at] of Object.entries(SUPERVISOR)) {
      yield { word: supervisorRow(index) + at, writer: 'main', name: `${name} ${index}` };
    }
    for (const [name, at] of Object.entries(WORKER)) {
      yield { word: workerRow(index) + at, writer: `worker ${index}`, name: `${name} ${index}` };
    }
    for (const [name, at] of Object.entries(GOVERNOR)) {
      yield { word: governorRow(index) + at, writer: 'governor', name: `${name} ${index}` };
    }
    for (let word = 0; word < ROW_WORDS; word++) {
      yield {
        ...{ word: newcomersRow(index) + word, writer: `worker ${index}` },
        name: `NEWCOMERS ${index} ${word}`,
      };
      yield {
        ...{ word: iterationsRow(index) + word, writer: `worker ${index}` },
        name: `ITERATIONS ${index} ${word}`,
      };
      yield {
        ...{ word: requestsRow(index) + word, writer: `worker ${index}` },
        name: `REQUESTS ${index} ${word}`,
      };
    }
    for (let bucket = 1; bucket < PAUSE_BUCKETS; bucket++) {
      yield {
        ...{ word: governorRow(index) + GOVERNOR.PAUSES_BY_US + bucket, writer: 'governor' },
        name: `PAUSES_BY_US ${index} ${bucket}`,
      };
    }
    for (let to = 0; to < workers; to++) {
      const pair = `${index} to ${to}`;
      const writer = `worker ${index}`;
      yield { word: gaveWord(workers, index, to), writer, name: `GAVE ${pair}` };
      yield { word: givenWord(workers, index, to), writer, name: `GIVEN ${pair}` };
      yield { word: takenWord(workers, index, to), writer: 'governor', name: `TAKEN ${pair}` };
    }
  }
}

t.test('no two words of the layout overlap, and all fit', async (t) => {
  for (const workers of [1, 2, 3, 31, 32, 33, 100]) {
    const seen = new Map<number, string>();
    for (const { word, name } of allWords(workers)) {
      if (seen.has(word)) t.fail(`${name} is also ${seen.get(word)}`);
      if (word < 0 || word >= wordsFor(workers)) t.fail(`${name} is outside`);
      seen.set(word, name);
    }
    t.pass(`${seen.size} words of ${workers} workers`);
  }
});

t.test('words of different writers are never in the same row', async (t) => {
  for (const workers of [1, 2, 33]) {
    const writers = new Map<number, string>();
    for (const { word, writer, name } of allWords(workers)) {
      const row = Math.floor(word / ROW_WORDS);
      const other = writers.get(row) ?? writer;
      if (other !== writer) t.fail(`${name}, written by ${writer}, shares a row with ${other}`);
      writers.set(row, writer);
    }
    t.pass(`${writers.size} rows of ${workers} workers`);
  }
});

t.test('rows begin on multiples of their size in the address space', async (t) => {
  t.equal(ROW_BYTES, ROW_WORDS * WORD_BYTES);
  for (let i = 0; i < 20; i++) {
    const board = Scoreboard.create(1 + i, misalignmentOf);
    t.equal(misalignmentOf?.(board.words, ROW_BYTES) ?? 0, 0);
  }
  t.doesNotThrow(() => Scoreboard.create(1, null), 'without the helper it starts where it starts');
});

t.test('a new board says that no worker has started', async (t) => {
  const board = Scoreboard.create(3, misalignmentOf);
  t.equal(board.workers, 3);
  t.same(board.read(2), {
    ...{ index: 2, state: 'empty', cpu: null, tid: null, rings: 0, widened: 0, narrowed: 0 },
    ...{ loops: 0, heartbeatMs: 0, connections: 0, accepted: 0, received: 0, held: 0 },
    ...{ outstanding: 0, rounds: 0, given: 0, messages: 0, armed: false },
    ...{ rescued: 0, pauses: 0, pauseUs: 0, mismatches: 0, failures: 0, refused: 0 },
    ...{ inFlight: 0, shed: 0, accepting: 'accepts' },
    pausesByUs: new Array(PAUSE_BUCKETS).fill(0),
    ...{ events: 0, iterations: NO_TIMES, requests: 0, requestTimes: NO_TIMES },
  });
  t.equal(board.peer(2), 0);
  t.equal(board.receives(2), false);
});

t.test('what each writer writes is what readers read, and only in its own row', async (t) => {
  const board = Scoreboard.create(3, misalignmentOf);
  const supervisor = board.supervise(1);
  const own = board.own(1);
  for (const state of WORKER_STATES) {
    supervisor.state(state);
    t.equal(board.read(1).state, state);
  }
  supervisor.cpu(7);
  own.begin(4242);
  for (let i = 0; i < 5; i++) own.accepted();
  for (let i = 0; i < 5; i++) own.enter(5);
  own.leave();
  t.match(board.read(1), { cpu: 7, tid: 4242, accepted: 5, connections: 4 });
  supervisor.cpu(0);
  t.equal(board.read(1).cpu, 0, 'CPU 0 is a CPU');
  supervisor.cpu(null);
  t.equal(board.read(1).cpu, null);
  t.match(board.read(0), { state: 'empty', accepted: 0 });
  t.match(board.read(2), { state: 'empty', accepted: 0 });
  own.begin(4243);
  t.match(board.read(1), { tid: 4243, accepted: 5, connections: 0 }, 'its successor has none');
});

t.test('a worker is given something while it serves and its loop can be woken', async (t) => {
  const board = Scoreboard.create(2, misalignmentOf);
  const supervisor = board.supervise(1);
  supervisor.peer(77);
  t.equal(board.peer(1), 77);
  for (const state of WORKER_STATES) {
    supervisor.state(state);
    t.equal(board.receives(1), state === 'serving', state);
  }
  supervisor.state('serving');
  supervisor.peer(0);
  t.equal(board.receives(1), false);
});

t.test('rounds are counted from the giving', async (t) => {
  const board = Scoreboard.create(3, misalignmentOf);
  const own = board.own(0);
  own.round();
  own.gave(2, 5);
  for (let i = 0; i < 4; i++) own.round();
  t.equal(own.roundsSinceGave(2), 4);
  t.equal(own.roundsSinceGave(1), 5, 'never: since the first');
  t.match(board.read(0), { rounds: 5, given: 5 });
  board.words[workerRow(0) + WORKER.ROUNDS] = INT32_MAX;
  own.gave(1, 1);
  own.round();
  t.equal(own.roundsSinceGave(1), 1, 'across the largest Int32');
});

t.test('a row of newcomers has the last descriptors that were opened', async (t) => {
  const board = Scoreboard.create(2, misalignmentOf);
  const own = board.own(1);
  const row = newcomersRow(1);
  const fds = () => [...board.words.subarray(row + NEWCOMERS.FDS, row + ROW_WORDS)];
  for (let fd = 100; fd < 103; fd++) own.opened(fd);
  t.equal(board.words[row + NEWCOMERS.OPENED], 3);
  t.same(fds().slice(0, 4), [100, 101, 102, 0]);
  board.words[row + NEWCOMERS.OPENED] = INT32_MAX;
  for (let fd = 200; fd < 200 + NEWCOMERS_MAX; fd++) own.opened(fd);
  const kept = fds().filter((fd) => fd >= 200);
  t.ok(kept.length >= NEWCOMERS_MAX - 1, 'across the largest Int32 at most one is lost');
  t.equal(difference(board.words[row] as number, INT32_MAX), NEWCOMERS_MAX);
});

t.test('pauses are counted by how long they were', async (t) => {
  const board = Scoreboard.create(1, misalignmentOf);
  const governor = board.governor(0);
  for (const us of [0, 0.4, 7.9, 8, 15.9, 16, 131_000, 131_072, 1e9])
    governor.paused(0, { taken: 1, mismatches: 0, failures: 0, us });
  const { pauses, rescued, pausesByUs } = board.read(0);
  t.same({ pauses, rescued }, { pauses: 9, rescued: 9 });
  const expected = new Array(PAUSE_BUCKETS).fill(0);
  expected[0] = 3;
  expected[1] = 2;
  expected[2] = 1;
  expected[PAUSE_BUCKETS - 2] = 1;
  expected[PAUSE_BUCKETS - 1] = 2;
  t.same(pausesByUs, expected);
});

t.test('what went to whom is counted by who made the move', async (t) => {
  const board = Scoreboard.create(40, misalignmentOf);
  const own = board.own(1);
  own.round();
  own.gave(39, 3);
  own.gave(39, 2);
  own.gave(0, 1);
  board.governor(1).paused(39, { taken: 7, mismatches: 0, failures: 0, us: 10 });
  board.governor(1).paused(2, { taken: 0, mismatches: 0, failures: 0, us: 10 });
  t.same([board.given(1, 39), board.given(1, 0), board.given(1, 2)], [5, 1, 0]);
  t.same([board.taken(1, 39), board.taken(1, 2)], [7, 0]);
  t.same([board.given(39, 1), board.taken(39, 1)], [0, 0], 'not the other way round');
  t.match(board.read(1), { given: 6, rescued: 7 });
});

t.test('the CPUs that a worker got, and how often that changed, is in its row', async (t) => {
  const board = Scoreboard.create(2, misalignmentOf);
  t.equal(board.cpu(1), null);
  board.supervise(1).cpu(0);
  t.equal(board.cpu(1), 0);
  const governor = board.governor(1);
  governor.rings(2);
  for (const wider of [true, true, true, false]) governor.pinned(wider);
  t.match(board.read(1), { cpu: 0, rings: 2, widened: 3, narrowed: 1 });
  board.governor(0).pinned(true);
  const both = addCounts(board.read(1), board.read(0));
  t.match(both, { rings: 2, widened: 4, narrowed: 1 }, 'those of both threads are the worker’s');
});

t.test('requests are counted, and those that were timed by how long they took', async (t) => {
  const board = Scoreboard.create(2, misalignmentOf);
  const [one, other] = [board.requestTimes(0), board.requestTimes(1)];
  for (const ms of [0, 0.0009, 0.001, 0.0019, 0.002, 67_000, 67_109, 1e12]) one.took(ms);
  for (let i = 0; i < 20; i++) one.count();
  const { requests, requestTimes } = board.read(0);
  t.equal(requests, 20);
  const expected = new Array(TIME_BUCKETS).fill(0);
  expected[0] = 2; // less than 1 µs
  expected[1] = 2; // less than 2 µs
  expected[2] = 1;
  expected[TIME_BUCKETS - 2] = 1; // up to 67 s
  expected[TIME_BUCKETS - 1] = 2;
  t.same(requestTimes.byUs, expected);
  t.ok(Math.abs(requestTimes.sumNs / 1e6 - (1e12 + 134_109)) < 1);
  t.same(board.read(1).requestTimes, NO_TIMES, 'in its own row');
  other.took(0.5);
  other.count();
  const sum = addCounts(board.read(0), board.read(1));
  t.equal(sum.requests, 21);
  t.equal(sum.requestTimes.byUs[9], 1, 'a worker has what all its threads counted');
});

t.test('a counter goes on past the largest Int32, and differences stay right', async (t) => {
  const board = Scoreboard.create(1, misalignmentOf);
  const own = board.own(0);
  const word = workerRow(0) + WORKER.ACCEPTED;
  board.words[word] = INT32_MAX - 2;
  const before = board.words[word] as number;
  const readings: number[] = [];
  for (let i = 0; i < 6; i++) {
    own.accepted();
    readings.push(board.read(0).accepted);
  }
  t.same(
    readings,
    [1, 2, 3, 4, 5, 6].map((i) => INT32_MAX - 2 + i),
    'read as unsigned',
  );
  t.equal(difference(board.words[word] as number, before), 6);
  board.words[word] = -1; // one before unsigned overflow
  own.accepted();
  t.equal(board.read(0).accepted, 0);
  t.equal(difference(0, -1), 1);
  t.equal(difference(-2147483648, INT32_MAX), 1);
  t.equal(difference(INT32_MAX, -2147483648), -1);
});

t.test('a board that is not ours, or of an impossible size, is refused', async (t) => {
  t.throws(() => Scoreboard.attach(new Int32Array(new SharedArrayBuffer(1024))), RangeError);
  for (const workers of [0, -1, 1.5, Number.NaN, WORKERS_MAX + 1]) {
    t.throws(() => Scoreboard.create(workers, misalignmentOf), RangeError);
  }
  t.doesNotThrow(() => Scoreboard.create(WORKERS_MAX, misalignmentOf));
});

t.test('no count is lost when every row is written at once from its own thread', async (t) => {
  const workers = 4;
  const times = 200_000;
  const board = Scoreboard.create(workers, misalignmentOf);
  const body = `
    const { workerData: { file, words, index, times } } = require('node:worker_threads');
    const own = require(file).Scoreboard.attach(words).own(index);
    for (let i = 0; i < times; i++) { own.accepted(); if (i % 2) own.enter(${PLACES_MAX}); }
  `;
  const file = require.resolve('../../src/scheduler/scoreboard.js');
  const threads = Array.from({ length: workers }, (_, index) => {
    const workerData = { file, words: board.words, index, times };
    return once(new Worker(body, { eval: true, workerData, execArgv: [] }), 'exit');
  });
  await Promise.all(threads);
  for (let index = 0; index < workers; index++) {
    t.match(board.read(index), { accepted: times, connections: times / 2 });
  }
});
