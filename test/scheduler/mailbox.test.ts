import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import { difference } from '../../src/scheduler/counter.js';
import {
  bellRow,
  bellWord,
  bellWords,
  busyWord,
  CAPACITY_MAX,
  ENTRY_WORDS,
  EntryKind,
  entryWord,
  giversFor,
  headWord,
  MAILBOX_ENTRY,
  MAILBOXES,
  mailboxWordsFor,
  ROW_BYTES,
  ROW_WORDS,
  tailWord,
  WORKERS_MAX,
} from '../../src/scheduler/layout.js';
import { type Entry, Mailboxes, type Put, type Take } from '../../src/scheduler/mailbox.js';
import {
  type Edit,
  explore,
  type Grain,
  type Scenario,
  type Stepping,
  settled,
  stepping,
  type Thread,
} from '../support/stepping.js';

const INT32_MAX = 0x7fffffff;

// Tens of thousands of interleavings; a few seconds on an idle machine.
t.setTimeout(120_000);

/** Entry `n` of a giver: every field tells `n`, so that one which is half written shows. */
function entry(n: number): Entry {
  const kind = n % 2 === 0 ? EntryKind.DROP : EntryKind.CONNECTION;
  return { kind, fd: n, listener: -n, generation: 3 * n, boundary: n + 0.5 };
}

function numberOf(found: Entry): number {
  const n = found.fd;
  const expected = JSON.stringify(entry(n));
  if (JSON.stringify(found) !== expected) throw new Error(`torn: ${JSON.stringify(found)}`);
  return n;
}

/** Takes entries into a list of `[giver, number]`. */
function collector(): { readonly taken: [giver: number, n: number][]; readonly take: Take } {
  const taken: [number, number][] = [];
  return { taken, take: (found, giver) => taken.push([giver, numberOf(found)]) };
}

t.test('no two words of the layout overlap, and rows have one writer', async (t) => {
  for (const [workers, capacity] of [
    [1, 2],
    [2, 4],
    [3, 64],
    [31, 2],
    [40, 2],
  ] as const) {
    const seen = new Map<number, string>();
    const writers = new Map<number, string>();
    const add = (word: number, writer: string, name: string) => {
      if (seen.has(word)) t.fail(`${name} is also ${seen.get(word)}`);
      if (word < 0 || word >= mailboxWordsFor(workers, capacity)) t.fail(`${name} is outside`);
      seen.set(word, name);
      const row = Math.floor(word / ROW_WORDS);
      if ((writers.get(row) ?? writer) !== writer) t.fail(`${name} shares a row`);
      writers.set(row, writer);
    };
    t.ok(bellWord(giversFor(workers) - 1) < bellWords(workers), 'a bit for every giver');
    for (const [name, at] of Object.entries(MAILBOXES)) add(at, 'main', name);
    for (let recipient = 0; recipient < workers; recipient++) {
      for (let word = 0; word < bellWords(workers); word++) {
        add(bellRow(workers, recipient) + word, `bell ${recipient}`, `bell ${recipient}`);
      }
      for (let giver = 0; giver < giversFor(workers); giver++) {
        const head = headWord(workers, capacity, giver, recipient);
        const ring = `ring ${giver} to ${recipient}`;
        add(head, `${ring} recipient`, `HEAD of ${ring}`);
        add(tailWord(head), `${ring} giver`, `TAIL of ${ring}`);
        for (let position = 0; position < capacity; position++) {
          const at = entryWord(head, capacity, position);
          const late = (INT32_MAX - capacity + 1 + position) | 0;
          if (entryWord(head, capacity, late) !== at) t.fail('free-running positions wrap');
          if ((at + MAILBOX_ENTRY.BOUNDARY) % 2 !== 0) t.fail('a double needs 8 bytes');
          for (let word = 0; word < ENTRY_WORDS; word++) add(at + word, `${ring} giver`, ring);
        }
      }
    }
  }
});

t.test('impossible sizes, and memory that is not ours, are refused', async (t) => {
  for (const workers of [0, 1.5, Number.NaN, WORKERS_MAX + 1]) {
    t.throws(() => Mailboxes.create(workers, 2, null), RangeError);
  }
  for (const capacity of [0, 1, 3, -2, 2.5, Number.NaN, CAPACITY_MAX * 2]) {
    t.throws(() => Mailboxes.create(1, capacity, null), RangeError);
  }
  t.throws(() => Mailboxes.attach(new Int32Array(new SharedArrayBuffer(4096))), RangeError);
  const boxes = Mailboxes.create(3, 4, misalignmentOf);
  t.equal(misalignmentOf?.(boxes.words, ROW_BYTES) ?? 0, 0, 'rows are aligned in memory');
  t.match(Mailboxes.attach(boxes.words), { workers: 3, capacity: 4, governor: 3, main: 4 });
});

t.test('entries arrive whole, once, in each giver’s order, next to overflow too', async (t) => {
  for (const start of [0, INT32_MAX - 5, -6]) {
    const boxes = Mailboxes.create(2, 4, misalignmentOf, start);
    const writers = [0, boxes.governor, boxes.main].map((giver) => boxes.writer(giver, 1));
    const reader = Mailboxes.attach(boxes.words).reader(1);
    const { taken, take } = collector();
    const expected: [number, number][] = [];
    for (let n = 1; n <= 30; n++) {
      for (const [index, writer] of writers.entries()) {
        if (writer.put(entry(n)) === 'full') t.fail('there is room');
        expected.push([[0, boxes.governor, boxes.main][index] as number, n]);
      }
      if (n % 3 === 0) t.equal(reader.drain(take, 100), 9);
    }
    t.same(
      taken.sort((a, b) => a[0] - b[0] || a[1] - b[1]),
      expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]),
    );
    t.equal(boxes.reader(0).drainAll(take), 0, 'nothing came to another worker');
  }
});

t.test('a full ring refuses and is left as it was', async (t) => {
  for (const start of [0, INT32_MAX - 1]) {
    const boxes = Mailboxes.create(1, 4, misalignmentOf, start);
    const writer = boxes.writer(0, 0);
    for (let n = 1; n <= 4; n++) {
      t.equal(writer.free(), 5 - n);
      writer.put(entry(n));
    }
    const before = [...boxes.words];
    t.equal(writer.free(), 0);
    t.equal(writer.put(entry(99)), 'full');
    t.same([...boxes.words], before);
    const { taken, take } = collector();
    t.equal(boxes.reader(0).drain(take, 1), 1);
    t.equal(writer.free(), 1);
    t.equal(writer.put(entry(5)), 'queued', 'the bell is still rung for the other three');
    boxes.reader(0).drainAll(take);
    t.notOk(boxes.reader(0).rung(), 'nothing is left');
    t.same(
      taken.map(([, n]) => n),
      [1, 2, 3, 4, 5],
    );
  }
});

t.test('only the giver that rings a silent bell has to wake the recipient', async (t) => {
  const boxes = Mailboxes.create(2, 4, misalignmentOf);
  const [a, b] = [boxes.writer(0, 1), boxes.writer(boxes.main, 1)];
  const reader = boxes.reader(1);
  t.notOk(reader.rung());
  t.equal(a.put(entry(1)), 'wake');
  t.ok(reader.rung());
  t.equal(a.put(entry(2)), 'queued');
  t.equal(b.put(entry(1)), 'queued');
  const { take } = collector();
  t.equal(reader.drain(take, 2), 2);
  t.ok(reader.rung(), 'entries remain');
  t.equal(b.put(entry(2)), 'queued');
  t.equal(reader.drain(take, 2), 2);
  if (reader.rung()) t.equal(reader.drain(take, 2), 0, 'a look for nothing at most');
  t.notOk(reader.rung());
  t.equal(b.put(entry(3)), 'wake');
});

t.test('a busy giver does not keep the others’ entries waiting', async (t) => {
  const boxes = Mailboxes.create(2, 4, misalignmentOf);
  const givers = giversFor(2);
  const { taken, take } = collector();
  for (let giver = 0; giver < givers; giver++) {
    for (let n = 1; n <= 4; n++) boxes.writer(giver, 1).put(entry(n));
  }
  const reader = boxes.reader(1);
  for (let i = 0; i < givers; i++) {
    const got = reader.drain(take, 1);
    t.equal(got, 1);
    boxes.writer(0, 1).put(entry(5));
  }
  t.equal(new Set(taken.map(([giver]) => giver)).size, givers, 'one of each');
});

t.test('more givers than a word has bits', async (t) => {
  const workers = 70;
  const boxes = Mailboxes.create(workers, 2, misalignmentOf);
  const { taken, take } = collector();
  const reader = boxes.reader(69);
  for (const giver of [0, 31, 32, 63, 64, boxes.governor, boxes.main]) {
    boxes.writer(giver, 69).put(entry(giver + 1));
  }
  reader.drain(take, 3);
  reader.drain(take, 100);
  t.same(
    taken.map(([giver]) => giver).sort((a, b) => a - b),
    [0, 31, 32, 63, 64, boxes.governor, boxes.main],
  );
  t.notOk(reader.rung());
});

t.test('an entry counts as taken even if what took it throws, and the others stay', async (t) => {
  const boxes = Mailboxes.create(1, 8, misalignmentOf);
  const writer = boxes.writer(0, 0);
  for (let n = 1; n <= 4; n++) writer.put(entry(n));
  const reader = boxes.reader(0);
  const { taken, take } = collector();
  const error = new Error('thrown by the application');
  const faulty: Take = (found, giver) => {
    take(found, giver);
    if (found.fd === 2) throw error;
  };
  t.throws(() => reader.drain(faulty, 100), error);
  t.ok(reader.rung(), 'so that somebody looks again');
  reader.drain(faulty, 100);
  t.same(
    taken.map(([, n]) => n),
    [1, 2, 3, 4],
  );
});

// --- Every interleaving ---------------------------------------------------------------

interface SteppingMailbox {
  Mailboxes: {
    create(
      workers: number,
      capacity: number,
      misalignmentOf: null,
      start: number,
    ): {
      readonly words: Int32Array;
      ringFor(giver: number): Stepping<void>;
      writer(giver: number, recipient: number): { put(entry: Entry): Stepping<Put> };
      reader(recipient: number): {
        rung(): Stepping<boolean>;
        drain(take: Take, max: number): Stepping<number>;
        drainAll(take: Take): Stepping<number>;
      };
    };
  };
}

interface Plan {
  readonly grain?: Grain;
  readonly capacity: number;
  /** How many entries each giver puts. */
  readonly puts: readonly number[];
  /** Most entries that the recipient takes at once. */
  readonly max: number;
  readonly start?: number;
  /** Who may die at any step: main then does its duties. */
  readonly mortal?: 'giver 0' | 'recipient';
  /** How often the governor pauses the recipient, at any step, and takes out what waits. */
  readonly recalls?: number;
}

/** The threads around one recipient, with a latch for its wake-up. */
function post({ Mailboxes }: SteppingMailbox, plan: Plan): Scenario {
  const { capacity, puts, max, start = 0, mortal, recalls = 0 } = plan;
  const boxes = Mailboxes.create(1, capacity, null, start);
  const { words } = boxes;
  const { taken, take } = collector();
  const recalled: number[][] = [];
  let latch = false;
  let dead = false;
  let paused = false;

  const headAt = (giver: number) => headWord(1, capacity, giver, 0);
  const published = (giver: number) => difference(words[tailWord(headAt(giver))] as number, start);
  const hasRoom = (giver: number) =>
    difference(words[tailWord(headAt(giver))] as number, words[headAt(giver)] as number) < capacity;

  const shared = [bellRow(1, 0)];
  for (const giver of puts.keys()) {
    const head = headAt(giver);
    shared.push(head, busyWord(head), tailWord(head));
    for (let i = 0; i < capacity * ENTRY_WORDS; i++) shared.push(entryWord(head, capacity, 0) + i);
  }

  function* giving(giver: number, count: number): Thread {
    const writer = boxes.writer(giver, 0);
    for (let n = 1; n <= count; n++) {
      for (;;) {
        settled(`${n}`);
        const put = yield* writer.put(entry(n));
        if (put === 'wake') {
          yield;
          latch = true;
        }
        if (put !== 'full') break;
        yield () => hasRoom(giver);
      }
    }
  }
  function* taking(afterDeath: boolean): Thread {
    const reader = boxes.reader(0);
    if (afterDeath) yield* reader.drainAll(take);
    let next = 0; // what the reader remembers: whose turn it is
    for (;;) {
      if (yield* reader.rung()) latch = true;
      settled(`${afterDeath} ${next}`);
      yield () => latch;
      latch = false;
      if ((yield* reader.drain(take, max)) === max) next = taken.at(-1)?.[0] ?? 0;
    }
  }
  /** As native/mail.cc does it. */
  function* governor(): Thread {
    for (let left = recalls; left > 0; left--) {
      yield;
      paused = true;
      for (const giver of puts.keys()) {
        const head = headAt(giver);
        yield;
        const tail = words[tailWord(head)] as number;
        let at = words[head] as number;
        if (at !== tail && words[busyWord(head)] !== 0) at = (at + 1) | 0;
        for (; at !== tail; at = (at + 1) | 0) {
          yield;
          const kind = entryWord(head, capacity, at) + MAILBOX_ENTRY.KIND;
          if (words[kind] !== EntryKind.CONNECTION) continue;
          recalled.push([giver, words[kind + 1] as number]);
          words[kind] = EntryKind.NOTHING;
        }
      }
      yield;
      paused = false;
    }
  }
  function* whileRunning(thread: Thread): Thread {
    for (let next = thread.next(); !next.done; next = thread.next()) {
      const { value: condition } = next;
      yield () => !paused && (condition?.() ?? true);
    }
  }
  function* untilDeath(thread: Thread): Thread {
    for (let next = thread.next(); !next.done; next = thread.next()) {
      const { value: condition } = next;
      yield () => !dead && (condition?.() ?? true);
    }
  }
  function* main(): Thread {
    yield;
    dead = true;
    if (mortal === 'giver 0') {
      yield* boxes.ringFor(0);
      latch = true;
    } else {
      yield* boxes.reader(0).drainAll(take);
      yield* taking(true);
    }
  }

  const givers = puts.map((count, giver) => giving(giver, count));
  let recipient = taking(false);
  if (mortal === 'recipient') recipient = untilDeath(recipient);
  if (recalls > 0) recipient = whileRunning(recipient);
  if (mortal === 'giver 0') givers[0] = untilDeath(givers[0] as Thread);
  return {
    threads: [
      ...[...givers, recipient],
      ...(mortal ? [main()] : []),
      ...(recalls > 0 ? [governor()] : []),
    ],
    state() {
      const used = shared.map((at) => words[at]);
      return `${used}|${taken.join(' ')}|${recalled.join(' ')}|${latch}|${dead}|${paused}`;
    },
    end() {
      for (const [giver, count] of puts.entries()) {
        const from = (list: readonly (readonly number[])[]) =>
          list.filter(([who]) => who === giver).map(([, n]) => n as number);
        const got = from(taken);
        const back = from(recalled);
        if (recalls > 0) {
          if (`${got}` !== `${got.toSorted((a, b) => a - b)}`) throw new Error(`order: ${got}`);
          got.push(...back);
          got.sort((a, b) => a - b);
        }
        // The entry that the dead one was taking is seen again, next to itself.
        const repeated = got.filter((n, i) => n === got[i - 1]).length;
        if (repeated > (mortal === 'recipient' ? 1 : 0)) throw new Error(`twice: ${got}`);
        const once = got.filter((n, i) => n !== got[i - 1]);
        const sent = mortal === 'giver 0' && giver === 0 ? published(giver) : count;
        const expected = Array.from({ length: sent }, (_, i) => i + 1);
        if (`${once}` !== `${expected}`) throw new Error(`from ${giver}: ${got} of ${expected}`);
      }
    },
  };
}

const PLANS: Record<string, Plan> = {
  'a ring of two that fills up': { capacity: 2, puts: [4], max: 9 },
  'positions next to overflow': { capacity: 2, puts: [4], max: 9, start: INT32_MAX - 1 },
  'a ring of four': { capacity: 4, puts: [5], max: 3, start: INT32_MAX - 2 },
  'two givers, one entry at a time': { capacity: 2, puts: [2, 1], max: 1, grain: 'atomics' },
  'two givers': { capacity: 2, puts: [2, 1], max: 9, grain: 'atomics' },
  'a giver that dies': { capacity: 2, puts: [2, 1], max: 9, mortal: 'giver 0', grain: 'atomics' },
  'a recipient that is paused': { capacity: 2, puts: [3], max: 9, recalls: 2, grain: 'atomics' },
  'two givers and a pause': { capacity: 2, puts: [2, 1], max: 1, recalls: 1, grain: 'atomics' },
  'a recipient that dies': {
    capacity: 2,
    puts: [2],
    max: 9,
    mortal: 'recipient',
    grain: 'atomics',
  },
};

t.test('in every interleaving each entry arrives whole, once, in order, and wakes', async (t) => {
  for (const [name, plan] of Object.entries(PLANS)) {
    const compiled = stepping<SteppingMailbox>('mailbox', plan.grain ?? 'every access');
    const { states, ends, failure } = explore(() => post(compiled, plan));
    t.equal(failure, null, `${name}: ${states} states, ${ends} ends`);
    t.ok(states > 500 && ends > 0);
  }
});

/** What one might write instead, and which plan finds out. */
const MUTANTS: Record<string, { readonly plan: string; readonly edits: readonly Edit[] }> = {
  'the bell is rung before the entry is published': {
    plan: 'a ring of two that fills up',
    edits: [
      [
        'Atomics.store(words, this.#tail, (tail + 1) | 0);',
        'const before = Atomics.or(words, this.#bell, this.#bit);',
      ],
      [
        "return Atomics.or(words, this.#bell, this.#bit) === 0 ? 'wake' : 'queued';",
        "Atomics.store(words, this.#tail, (tail + 1) | 0); return before === 0 ? 'wake' : 'queued';",
      ],
    ],
  },
  'the entry is published before it is written': {
    plan: 'a ring of four',
    edits: [
      [
        'words[at + MAILBOX_ENTRY.KIND] = entry.kind;',
        'Atomics.store(words, this.#tail, (tail + 1) | 0); words[at + MAILBOX_ENTRY.KIND] = entry.kind;',
      ],
    ],
  },
  'the bell is cleared after the rings were read': {
    plan: 'a ring of two that fills up',
    edits: [
      [
        'Atomics.exchange(this.#words, this.#bell + word, 0)',
        'Atomics.load(this.#words, this.#bell + word)',
      ],
      [
        '} finally {\n      for (let word',
        '} finally {\n      for (let word = 0; word < rung.length; word++) Atomics.store(this.#words, this.#bell + word, 0);\n      for (let word',
      ],
    ],
  },
  'the bell stays silent when entries are left': {
    plan: 'two givers, one entry at a time',
    edits: [['if (left !== 0) Atomics.or', 'if (left === -99) Atomics.or']],
  },
  'a place is used again before it was read': {
    plan: 'a ring of two that fills up',
    edits: [['=== this.#capacity) return', '=== this.#capacity + 1) return']],
  },
  'positions are compared as plain numbers': {
    plan: 'positions next to overflow',
    edits: [
      ['if (difference(tail, head) === this.#capacity)', 'if (tail - head >= this.#capacity)'],
    ],
  },
  'nobody rings for a giver that died': {
    plan: 'a giver that dies',
    edits: [['Atomics.or(this.words, bell,', 'Atomics.or(this.words, bell, 0 &']],
  },
  'a giver wakes only when its own bit was clear and others rang': {
    plan: 'a ring of two that fills up',
    edits: [["=== 0 ? 'wake'", "> 0 ? 'wake'"]],
  },
  'the entry at hand is not kept from the governor': {
    plan: 'a recipient that is paused',
    edits: [['Atomics.store(words, busyWord(headAt), 1);', '']],
  },
  'it is kept from the governor only when it was looked at': {
    plan: 'a recipient that is paused',
    edits: [
      ['Atomics.store(words, busyWord(headAt), 1);', ''],
      [
        'try {\n        if (entry.kind',
        'try {\n        Atomics.store(words, busyWord(headAt), 1);\n        if (entry.kind',
      ],
    ],
  },
  'what was taken back is delivered as well': {
    plan: 'two givers and a pause',
    edits: [['if (entry.kind !== EntryKind.NOTHING) take', 'take']],
  },
  'a reader that takes over believes the bell': {
    plan: 'a recipient that dies',
    edits: [['Number.POSITIVE_INFINITY, true', 'Number.POSITIVE_INFINITY, false']],
  },
};

t.test('the interleavings find each of these mistakes', async (t) => {
  for (const [name, { plan, edits }] of Object.entries(MUTANTS)) {
    const where = PLANS[plan] as Plan;
    const mutant = stepping<SteppingMailbox>('mailbox', where.grain ?? 'every access', edits);
    const { failure, states } = explore(() => post(mutant, where));
    t.not(failure, null, `${name}: ${failure?.error.message} (${states} states)`);
  }
});

// --- Real threads ---------------------------------------------------------------------

const GIVER = `
  const { workerData: { file, random, words, parking, giver, count, seed } } =
    require('node:worker_threads');
  const { Mailboxes } = require(file);
  const { below, seededRandom } = require(random);
  const writer = Mailboxes.attach(words).writer(giver, 0);
  const chance = seededRandom(seed + giver);
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  for (let n = 1; n <= count; ) {
    for (let burst = 1 + below(chance, 8); burst > 0 && n <= count; burst--) {
      const put = writer.put({ kind: 1, fd: n, listener: -n, generation: 3 * n, boundary: n + 0.5 });
      if (put === 'full') {
        Atomics.wait(nobody, 0, 0, 0.05); // lets the recipient have the CPU
        break;
      }
      n++;
      if (put === 'wake') {
        Atomics.add(parking, 0, 1);
        Atomics.notify(parking, 0);
      }
    }
    for (let idle = below(chance, 2_000); idle > 0; idle--);
  }
`;

const RECIPIENT = `
  const { workerData: { file, words, parking, givers, count, max }, parentPort } =
    require('node:worker_threads');
  const reader = require(file).Mailboxes.attach(words).reader(0);
  const last = new Array(givers).fill(0);
  let left = givers * count, parked = 0, wrong = null;
  while (left > 0 && wrong === null) {
    const seen = Atomics.load(parking, 0);
    left -= reader.drain(({ kind, fd, listener, generation, boundary }, giver) => {
      if (fd !== ++last[giver]) wrong = [giver, fd, last[giver]];
      if (kind !== 1 || listener !== -fd || generation !== 3 * fd || boundary !== fd + 0.5) {
        wrong = [kind, fd, listener, generation, boundary];
      }
    }, max);
    if (left > 0 && !reader.rung()) {
      parked++;
      if (Atomics.wait(parking, 0, seen, 20_000) === 'timed-out') wrong = ['asleep', left, last];
    }
  }
  parentPort.postMessage({ left, parked, wrong });
`;

t.test(
  'between real threads nothing is lost, repeated or reordered, nor anybody asleep',
  async (t) => {
    const seed = Number(process.env.GYRE_TEST_SEED ?? Date.now());
    t.comment(`GYRE_TEST_SEED=${seed}`);
    const common = {
      file: require.resolve('../../src/scheduler/mailbox.js'),
      random: require.resolve('../../src/scheduler/random.js'),
    };
    const count = 40_000;
    for (const [capacity, max] of [
      [2, 1],
      [4, 3],
      [64, 1000],
    ] as const) {
      const givers = 3;
      const boxes = Mailboxes.create(1, capacity, misalignmentOf, INT32_MAX - count / 2);
      const parking = new Int32Array(new SharedArrayBuffer(4));
      const shared = { ...common, words: boxes.words, parking, count };
      const run = (code: string, workerData: object) =>
        new Worker(code, { eval: true, workerData, execArgv: [] });
      const recipient = run(RECIPIENT, { ...shared, givers, max });
      const threads = Array.from({ length: givers }, (_, giver) =>
        run(GIVER, { ...shared, giver, seed: seed + capacity }),
      );
      const ends = threads.map((thread) => once(thread, 'exit'));
      const [result] = (await once(recipient, 'message')) as [{ parked: number }];
      t.match(result, { left: 0, wrong: null }, `${capacity}: parked ${result.parked} times`);
      await Promise.all(ends);
      t.equal(
        boxes.reader(0).drainAll(() => t.fail('one too many')),
        0,
      );
    }
  },
);
