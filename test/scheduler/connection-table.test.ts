import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import {
  type Connection,
  ConnectionTable,
  type Giving,
} from '../../src/scheduler/connection-table.js';
import {
  CONNECTION,
  CONNECTION_WORDS,
  DESCRIPTORS_MAX,
  ROW_BYTES,
  ConnectionState as State,
} from '../../src/scheduler/layout.js';
import {
  type Edit,
  explore,
  noticed,
  type Scenario,
  type Stepping,
  settled,
  stepping,
  type Thread,
} from '../support/stepping.js';

const INT32_MAX = 0x7fffffff;
const NOBODYS = { worker: null, state: State.UNTRACKED, listener: 0, generation: 0, boundary: 0 };

// Tens of thousands of interleavings; a few seconds on an idle machine.
t.setTimeout(120_000);

t.test('an entry says what its owner said last', async (t) => {
  const table = ConnectionTable.create(64, misalignmentOf);
  const other = ConnectionTable.attach(table.words);
  t.same(other.read(9), NOBODYS, 'a new table knows no connection');
  t.equal(table.open(9, 0, 3, 0, State.FRESH), 1);
  t.same(other.read(9), { worker: 0, state: State.FRESH, listener: 3, generation: 1, boundary: 0 });
  table.begin(9);
  t.equal(other.read(9).state, State.IN_MESSAGE);
  table.between(9, 2 ** 40 + 0.5);
  t.match(other.read(9), { state: State.BETWEEN, boundary: 2 ** 40 + 0.5 });
  table.close(9);
  t.match(other.read(9), { worker: null, state: State.UNTRACKED });
  t.equal(table.open(9, 5, 3, 70, State.BETWEEN), 2, 'another connection, another generation');
  t.match(other.read(9), { worker: 5, state: State.BETWEEN, boundary: 70 });
  t.same([other.read(8), other.read(10)], [NOBODYS, NOBODYS], 'the neighbours are untouched');
});

t.test('what is held stays held until it is released', async (t) => {
  const table = ConnectionTable.create(64, misalignmentOf);
  table.open(1, 0, 0, 0, State.FRESH);
  t.equal(table.hold(1), true);
  table.begin(1);
  table.between(1, 10);
  t.equal(table.read(1).state, State.HELD);
  t.equal(table.release(1, 20), true);
  t.match(table.read(1), { state: State.BETWEEN, boundary: 20 });
});

t.test('what was taken can only be closed', async (t) => {
  const table = ConnectionTable.create(64, misalignmentOf);
  table.open(1, 0, 0, 0, State.FRESH);
  table.words[CONNECTION_WORDS + CONNECTION.STATE] = State.TAKEN;
  t.equal(table.hold(1), false);
  t.equal(table.release(1, 5), false);
  t.equal(table.read(1).state, State.TAKEN);
  table.close(1);
  t.equal(table.read(1).state, State.UNTRACKED);
});

t.test('a descriptor is in transit from being sent until it is adopted', async (t) => {
  const table = ConnectionTable.create(64, misalignmentOf);
  const generation = table.send(4, 2, 30);
  t.match(table.read(4), { worker: null, state: State.IN_TRANSIT, listener: 2, boundary: 30 });
  t.ok(table.isInTransit(4, generation));
  t.notOk(table.isInTransit(4, generation - 1), 'an older note about the number is void');
  const [count, hand] = [0, 1];
  const words = Int32Array.of(6, 0);
  table.adopt(4, words, count, hand);
  t.notOk(table.isInTransit(4, generation));
  t.same([...words], [7, 4], 'it is counted, and in the hand of whoever took it');
  table.open(4, 1, 2, 30, State.BETWEEN);
  table.close(4);
  const again = table.send(4, 2, 30);
  t.notOk(table.isInTransit(4, generation));
  table.close(4);
  t.notOk(table.isInTransit(4, again), 'whoever took it does not want it tracked');
});

t.test('a worker that ended owns nothing, the others what they had', async (t) => {
  const table = ConnectionTable.create(64, misalignmentOf);
  for (let fd = 0; fd < 64; fd++) table.open(fd, fd % 3, 0, 0, State.FRESH);
  table.forget(1);
  for (let fd = 0; fd < 64; fd++) {
    const { worker, state } = table.read(fd);
    if (fd % 3 === 1) t.equal(worker, null);
    else if (worker !== fd % 3 || state !== State.FRESH) t.fail(`${fd}: ${worker} ${state}`);
  }
});

t.test('descriptors past the table are not tracked, nor is a closed socket’s', async (t) => {
  const table = ConnectionTable.create(8, misalignmentOf);
  const before = [...table.words];
  for (const fd of [8, 9, 1_000_000, INT32_MAX, -1]) {
    t.equal(table.open(fd, 0, 0, 0, State.FRESH), 0);
    table.begin(fd);
    table.between(fd, 1);
    t.equal(table.hold(fd), true, 'it stays anyway');
    table.release(fd, 1);
    table.close(fd);
    t.same(table.read(fd), NOBODYS);
    t.notOk(table.isInTransit(fd, 0));
  }
  t.same([...table.words], before);
});

t.test('a table is as large as it can be and starts on a row', async (t) => {
  t.equal(ConnectionTable.create(1024, null).descriptorsMax, 1024);
  for (const limit of [DESCRIPTORS_MAX + 1, 2 ** 31, Number.POSITIVE_INFINITY]) {
    t.equal(ConnectionTable.create(limit, misalignmentOf).descriptorsMax, DESCRIPTORS_MAX);
  }
  for (const limit of [0, -1, Number.NaN]) {
    t.throws(() => ConnectionTable.create(limit, misalignmentOf), RangeError);
  }
  const { words } = ConnectionTable.create(8, misalignmentOf);
  t.equal(misalignmentOf?.(words, ROW_BYTES) ?? 0, 0);
  t.equal((CONNECTION.BOUNDARY * 4) % 8, 0, 'a double needs 8 bytes');
  t.equal((CONNECTION_WORDS * 4) % 8, 0);
});

t.test('generations go on past the largest Int32', async (t) => {
  const table = ConnectionTable.create(8, misalignmentOf);
  table.words[CONNECTION.GENERATION] = INT32_MAX;
  const generation = table.open(0, 0, 0, 0, State.FRESH);
  t.equal(generation, -INT32_MAX - 1);
  t.equal(table.read(0).generation, generation);
});

// --- Every interleaving ---------------------------------------------------------------

interface SteppingTable {
  ConnectionTable: {
    create(
      descriptorsMax: number,
      misalignmentOf: null,
    ): {
      readonly words: Int32Array;
      open(fd: number, worker: number, listener: number, b: number, s: State): Stepping<number>;
      send(fd: number, listener: number, boundary: number): Stepping<number>;
      isInTransit(fd: number, generation: number): Stepping<boolean>;
      begin(fd: number): Stepping<void>;
      between(fd: number, boundary: number): Stepping<void>;
      hold(fd: number): Stepping<boolean>;
      release(fd: number, boundary: number): Stepping<boolean>;
      tryGive(fd: number): Stepping<Giving | null>;
      keep(fd: number, state: State): Stepping<void>;
      close(fd: number): Stepping<void>;
      read(fd: number): Stepping<Connection>;
    };
  };
}

/** A connection as it really is. */
interface Truth {
  readonly name: string;
  consumed: number;
  inMessage: boolean;
  held: boolean;
  moved: boolean;
}

function truth(name: string): Truth {
  return { name, consumed: 0, inMessage: false, held: false, moved: false };
}

/** What the governor puts in place of a connection that it took. Nobody ever writes to it. */
const PLUG = truth('plug');

/** What a scenario leaves out, to see that it is needed. */
interface Omissions {
  /** The governor believes the table. */
  readonly kernelCheck?: false;
  /** A DROP is obeyed whatever has become of the number. */
  readonly generationCheck?: false;
  /** close(2) comes before close() in the table. */
  readonly closeFirst?: false;
  /** Main believes that what nobody owns is in transit. */
  readonly transitCheck?: false;
}

/**
 * The governor pauses a worker between any two of its steps and takes what it can: on
 * the table, the kernel and the pause as native/ does it, in one step, since the
 * owner stands still.
 */
class World {
  readonly table: ReturnType<SteppingTable['ConnectionTable']['create']>;
  /** What each descriptor number refers to; null: nothing. */
  readonly kernel: (Truth | null)[] = [null, null];
  readonly omitted: Omissions;
  paused = -1;
  /** DROPs that each worker has got. */
  readonly drops: { fd: number; generation: number }[][] = [[], []];
  governing = true;

  constructor({ ConnectionTable }: SteppingTable, omitted: Omissions) {
    this.table = ConnectionTable.create(2, null);
    this.omitted = omitted;
  }

  #word(fd: number, word: number): number {
    return this.table.words[fd * CONNECTION_WORDS + word] as number;
  }

  #boundary(fd: number): number {
    const { words } = this.table;
    const at = words.byteOffset + (fd * CONNECTION_WORDS + CONNECTION.BOUNDARY) * 4;
    return new Float64Array(words.buffer, at, 1)[0] as number;
  }

  #take(victim: number, fd: number): { fd: number; generation: number } | null {
    const state = this.#word(fd, CONNECTION.STATE);
    if (this.#word(fd, CONNECTION.OWNER) !== victim + 1) return null;
    if (state !== State.FRESH && state !== State.BETWEEN) return null;
    const socket = this.kernel[fd] ?? null;
    const checks = this.omitted.kernelCheck ?? true;
    if (checks && socket?.consumed !== this.#boundary(fd)) {
      this.table.words[fd * CONNECTION_WORDS + CONNECTION.STATE] = State.IN_MESSAGE;
      return null;
    }
    if (socket === null || socket === PLUG) throw new Error('took what is no connection');
    if (socket.inMessage) throw new Error(`took ${socket.name} in a message`);
    if (socket.held) throw new Error(`took ${socket.name}, which is held`);
    if (socket.moved) throw new Error(`took ${socket.name} twice`);
    if (!socket.name.startsWith(`${victim}`)) throw new Error(`${socket.name} is not ${victim}'s`);
    socket.moved = true;
    this.kernel[fd] = PLUG;
    this.table.words[fd * CONNECTION_WORDS + CONNECTION.STATE] = State.TAKEN;
    return { fd, generation: this.#word(fd, CONNECTION.GENERATION) };
  }

  *governor(victims: readonly number[]): Thread {
    for (const victim of victims) {
      yield;
      this.paused = victim;
      const drop = this.#take(victim, 0);
      yield;
      this.paused = -1;
      if (drop === null) continue;
      yield;
      this.drops[victim]?.push(drop);
    }
    this.governing = false;
  }

  /** A worker's thread: it stands still while it is paused. */
  *worker(index: number, thread: Thread): Thread {
    for (let next = thread.next(); !next.done; next = thread.next()) {
      const { value: condition } = next;
      yield () => this.paused !== index && (condition?.() ?? true);
    }
  }

  *closeNumber(fd: number): Generator<undefined, void> {
    if (this.omitted.closeFirst === false) {
      this.kernel[fd] = null;
      yield* this.table.close(fd);
      return;
    }
    yield* this.table.close(fd);
    yield;
    this.kernel[fd] = null;
  }

  /** One message, from its first byte to the end of its response, if there is any to read. */
  *message(fd: number, socket: Truth): Generator<undefined, void> {
    yield;
    if (noticed(this.kernel[fd] !== socket)) return; // EAGAIN
    socket.consumed += 10;
    socket.inMessage = true;
    yield* this.table.begin(fd);
    yield;
    socket.inMessage = false;
    yield* this.table.between(fd, socket.consumed);
  }

  *obey(worker: number, fd: number, generation: number): Generator<undefined, void> {
    const drops = this.drops[worker] ?? [];
    while (noticed(drops.length > 0)) {
      const drop = drops.shift();
      if (drop === undefined) break;
      noticed(drop.generation);
      const checks = this.omitted.generationCheck ?? true;
      if (checks && drop.generation !== generation) continue;
      if (this.kernel[fd] !== PLUG) throw new Error('dropped what was not taken');
      yield* this.closeNumber(fd);
    }
  }

  /** Worker 0 with descriptor 0, which the governor wants twice. */
  againstGovernor(owner: Thread): Scenario {
    return this.scenario([this.worker(0, owner), this.governor([0, 0])], () => {
      if (this.kernel[0] === PLUG) throw new Error('nobody dropped what was taken');
    });
  }

  scenario(threads: readonly Thread[], end: () => void): Scenario {
    return {
      threads,
      state: () => JSON.stringify([[...this.table.words], this.kernel, this.drops, this.paused]),
      end,
    };
  }
}

type Setup = (compiled: SteppingTable, omitted: Omissions) => Scenario;

/** One worker serves a connection, holds it, releases it and closes it; its number is used again. */
const oneOwner: Setup = (compiled, omitted) => {
  const world = new World(compiled, omitted);
  const { table, kernel } = world;
  function* owner(): Thread {
    const first = truth('0 first');
    yield;
    kernel[0] = first;
    const generation = yield* table.open(0, 0, 0, 0, State.FRESH);
    yield* world.message(0, first);
    if (yield* table.hold(0)) {
      first.held = true;
      yield* world.message(0, first);
      yield;
      first.held = false;
    }
    yield* table.release(0, first.consumed);
    yield* world.obey(0, 0, generation);
    if (noticed(kernel[0] !== null)) yield* world.closeNumber(0);
    settled(JSON.stringify(first));
    const second = truth('0 second');
    yield;
    kernel[0] = second;
    const next = yield* table.open(0, 0, 0, 0, State.FRESH);
    yield () => !world.governing;
    yield* world.obey(0, 0, next);
  }
  return world.againstGovernor(owner());
};

/** The application releases a connection just when it is taken, before any byte was read. */
const releases: Setup = (compiled, omitted) => {
  const world = new World(compiled, omitted);
  const { table, kernel } = world;
  function* owner(): Thread {
    const only = truth('0 only');
    kernel[0] = only;
    const generation = yield* table.open(0, 0, 0, 0, State.FRESH);
    yield* table.release(0, 0);
    yield () => !world.governing;
    yield* world.obey(0, 0, generation);
  }
  return world.againstGovernor(owner());
};

/** Its owner gives a connection away, just when it may be taken. */
const gives: Setup = (compiled, omitted) => {
  const world = new World(compiled, omitted);
  const { table, kernel } = world;
  function* owner(): Thread {
    const only = truth('0 only');
    kernel[0] = only;
    const generation = yield* table.open(0, 0, 0, 0, State.FRESH);
    yield* world.message(0, only);
    const giving = yield* table.tryGive(0);
    if (giving !== null) {
      yield;
      if (noticed(kernel[0]) === PLUG) throw new Error('gave what was taken');
      if (giving.boundary !== only.consumed) throw new Error(`at ${giving.boundary}`);
      if (only.moved) throw new Error('gave what was taken');
      only.moved = true; // a duplicate is in a mailbox
      yield* world.closeNumber(0);
    }
    yield () => !world.governing;
    yield* world.obey(0, 0, generation);
  }
  return world.againstGovernor(owner());
};

/** What nobody was told of was read: then it is offered and kept, or only held. */
const unnoticed = (offered: boolean): Setup => {
  return (compiled, omitted) => {
    const world = new World(compiled, omitted);
    const { table, kernel } = world;
    function* owner(): Thread {
      const only = truth('0 only');
      kernel[0] = only;
      const generation = yield* table.open(0, 0, 0, 0, State.FRESH);
      yield;
      if (noticed(kernel[0]) === only) only.consumed += 10;
      if (offered && (yield* table.tryGive(0)) !== null) {
        yield* table.keep(0, State.IN_MESSAGE);
        yield* world.message(0, only);
      }
      if (yield* table.hold(0)) only.held = true;
      else if (noticed(kernel[0]) !== PLUG) throw new Error('neither held nor taken');
      yield () => !world.governing;
      yield* world.obey(0, 0, generation);
    }
    return world.againstGovernor(owner());
  };
};
const keeps = unnoticed(true);
const holds = unnoticed(false);

/** One worker closes a connection, and another gets its number. */
const twoOwners: Setup = (compiled, omitted) => {
  const world = new World(compiled, omitted);
  const { table, kernel } = world;
  const theirs = truth('1 theirs');
  function* before(): Thread {
    const ours = truth('0 ours');
    kernel[0] = ours;
    const generation = yield* table.open(0, 0, 0, 0, State.FRESH);
    yield* world.obey(0, 0, generation);
    if (noticed(kernel[0] !== null)) yield* world.closeNumber(0);
    yield () => !world.governing;
    world.drops[0]?.splice(0); // there is no wrapper any more
  }
  function* after(): Thread {
    yield () => kernel[0] === null;
    kernel[0] = theirs;
    const generation = yield* table.open(0, 1, 0, 0, State.FRESH);
    yield* world.message(0, theirs);
    yield () => !world.governing;
    yield* world.obey(1, 0, generation);
  }
  // `after` may only begin once `before` has opened: number 0 is free until then.
  kernel[0] = PLUG;
  const threads = [world.worker(0, before()), world.worker(1, after()), world.governor([0, 1])];
  return world.scenario(threads, () => {
    if (theirs.moved) return;
    const { words } = table;
    const [owner, state] = [words[CONNECTION.OWNER], words[CONNECTION.STATE]];
    if (owner !== 2 || state !== State.BETWEEN) throw new Error(`${owner} ${state}`);
  });
};

/** The worker that adopts a connection dies at any step, and somebody else gets the number. */
const adoption: Setup = (compiled, omitted) => {
  const world = new World(compiled, omitted);
  const { table, kernel } = world;
  const sent = truth('sent');
  let dead = false;
  let handle = false; // the thread's end closes what has one
  let consumed = false; // the entry
  let entry = 0;
  let sending = true;
  function* adopting(): Thread {
    yield () => !sending && !dead;
    yield* table.open(0, 1, 0, 0, State.BETWEEN);
    yield;
    handle = true;
    yield;
    consumed = true;
  }
  function* mortal(thread: Thread): Thread {
    for (let next = thread.next(); !next.done; next = thread.next()) {
      const { value: condition } = next;
      yield () => !dead && (condition?.() ?? true);
    }
  }
  function* main(): Thread {
    kernel[0] = sent;
    entry = yield* table.send(0, 0, 0);
    sending = false;
    yield;
    dead = true;
    if (noticed(handle)) kernel[0] = null;
    yield;
    if (noticed(consumed)) return;
    const deliver =
      omitted.transitCheck === false
        ? (yield* table.read(0)).worker !== 1
        : yield* table.isInTransit(0, entry);
    if (!deliver) return;
    if (kernel[0] !== sent) throw new Error('delivered somebody else’s connection');
    if (handle) throw new Error('delivered what was adopted');
  }
  function* other(): Thread {
    yield () => kernel[0] === null && !sending;
    kernel[0] = truth('other');
    yield* table.open(0, 0, 0, 0, State.FRESH);
  }
  const { state, ...scenario } = world.scenario([mortal(adopting()), main(), other()], () => {});
  return { ...scenario, state: () => `${state()} ${[dead, handle, consumed, entry, sending]}` };
};

const SETUPS = { oneOwner, releases, gives, keeps, holds, twoOwners, adoption };

t.test('wherever the governor pauses its owner, what it takes is whole and free', async (t) => {
  const compiled = stepping<SteppingTable>('connection-table', 'every access');
  for (const [name, setup] of Object.entries(SETUPS)) {
    const { states, ends, failure } = explore(() => setup(compiled, {}));
    t.equal(failure, null, `${name}: ${states} states, ${ends} ends`);
    t.ok(states > 50 && ends > 1);
  }
});

const NO_BEGIN: Edit = ['this.words[at] = ConnectionState.IN_MESSAGE;', ';'];

t.test('a hook that never comes makes a connection stay, and nothing else', async (t) => {
  const compiled = stepping<SteppingTable>('connection-table', 'every access', [NO_BEGIN]);
  for (const [name, setup] of Object.entries({ oneOwner, twoOwners })) {
    const { states, failure } = explore(() => setup(compiled, {}));
    t.equal(failure, null, `${name}: ${states} states`);
  }
});

const MUTANTS: Record<string, { setup: Setup; edits?: readonly Edit[]; omitted?: Omissions }> = {
  'the governor does not ask the kernel': { setup: oneOwner, omitted: { kernelCheck: false } },
  'a DROP is obeyed whatever its generation': {
    setup: oneOwner,
    omitted: { generationCheck: false },
  },
  'the number is closed before the entry': { setup: twoOwners, omitted: { closeFirst: false } },
  'an entry seen again is delivered unless its taker owns the number': {
    setup: adoption,
    omitted: { transitCheck: false },
  },
  'the generation does not change': {
    setup: oneOwner,
    edits: [
      [
        'words[at + CONNECTION.GENERATION] as number) + 1',
        'words[at + CONNECTION.GENERATION] as number) + 0',
      ],
    ],
  },
  'between() ends a hold': {
    setup: oneOwner,
    edits: [['if (this.words[at + CONNECTION.STATE] === ConnectionState.HELD) return;', '']],
  },
  'begin() ends a hold': {
    setup: oneOwner,
    edits: [['if (this.words[at] !== ConnectionState.HELD) this', 'this']],
  },
  'hold() and release() store without comparing': {
    setup: releases,
    edits: [
      [
        'if (Atomics.compareExchange(this.words, at, from, to) === from) return true;',
        'Atomics.store(this.words, at, to); return true;',
      ],
    ],
  },
  'hold() tries only once': { setup: holds, edits: [['tries < 2', 'tries < 1']] },
  'what is being given away is not marked': {
    setup: gives,
    edits: [
      [
        'Atomics.compareExchange(this.words, at + CONNECTION.STATE, state, giving) !== state',
        'giving === 99',
      ],
    ],
  },
};

t.test('the interleavings find each of these mistakes', async (t) => {
  for (const [name, { setup, edits = [], omitted = {} }] of Object.entries(MUTANTS)) {
    const mutant = stepping<SteppingTable>('connection-table', 'every access', edits);
    const { failure, states } = explore(() => setup(mutant, omitted));
    t.not(failure, null, `${name}: ${failure?.error.message} (${states} states)`);
  }
});
