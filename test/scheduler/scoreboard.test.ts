import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import {
  difference,
  GOVERNOR,
  gaveWord,
  governorRow,
  HEADER,
  ROW_BYTES,
  ROW_WORDS,
  SUPERVISOR,
  supervisorRow,
  WORD_BYTES,
  WORKER,
  WORKER_STATES,
  WORKERS_MAX,
  wordsFor,
  workerRow,
} from '../../src/scheduler/layout.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';

const INT32_MAX = 0x7fffffff;

/** Every word of the layout for `workers` workers, with who writes it. */
function* allWords(workers: number): Generator<{ word: number; writer: string; name: string }> {
  for (const [name, at] of Object.entries(HEADER)) yield { word: at, writer: 'main', name };
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
    for (let to = 0; to < workers; to++) {
      const word = gaveWord(workers, index, to);
      yield { word, writer: `worker ${index}`, name: `GAVE ${index} to ${to}` };
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
    ...{ index: 2, state: 'empty', cpu: null, tid: null },
    ...{ loops: 0, heartbeatMs: 0, connections: 0, accepted: 0, received: 0 },
    ...{ rescued: 0, pauses: 0, pauseUs: 0, mismatches: 0, failures: 0, refused: 0 },
  });
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
  own.closed();
  t.match(board.read(1), { cpu: 7, tid: 4242, accepted: 5, connections: 4 });
  supervisor.cpu(0);
  t.equal(board.read(1).cpu, 0, 'CPU 0 is a CPU');
  supervisor.cpu(null);
  t.equal(board.read(1).cpu, null);
  t.match(board.read(0), { state: 'empty', accepted: 0 });
  t.match(board.read(2), { state: 'empty', accepted: 0 });
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
    for (let i = 0; i < times; i++) { own.accepted(); if (i % 2) own.closed(); }
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
