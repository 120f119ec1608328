/**
 * What must hold at every step of a run, and at its end. Each throws a {@link Violation}.
 *
 * The ownership of a connection is looked at from the kernel's side: whoever has a descriptor of it
 * is a hand. Between two steps each connection is in exactly one hand: a handle of a thread, an
 * entry of a mailbox, a message to main, or main itself, which tries again after a while.
 */
import type { Runtime } from '../../src/index.js';
import type { GovernorInit, WorkerInit } from '../../src/protocol.js';
import { ConnectionTable } from '../../src/scheduler/connection-table.js';
import {
  EntryKind,
  entryWord,
  giversFor,
  headWord,
  MAILBOX_ENTRY,
  MAILBOXES,
  tailWord,
} from '../../src/scheduler/layout.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';
import type { Connection } from './client.js';
import { type Call, type Stream, Violation } from './kernel.js';
import type { Thread } from './thread.js';
import type { World } from './world.js';

/** How soon main offers again what nobody has room for: RETRY_MS in src/runtime/moving.ts. */
const RETRY_MS = 10;
/** Before it terminates a thread that was told to stop. */
export const STOP_GRACE_MS = 100;

/** A connection on its way: an entry of a mailbox, or of a message to main. */
interface Moving {
  readonly fd: number;
  readonly generation: number;
}

/** Whether no code of `thread` ran any more when it ended. */
function wasCutShort(thread: Thread | null): boolean {
  return thread?.end === 'terminated' || thread?.end === 'out of memory';
}

export class Invariants {
  readonly #world: World;
  #words: Int32Array<SharedArrayBuffer> | null = null;
  #table: ConnectionTable | null = null;
  #board: Scoreboard | null = null;
  /** Words at which the rings of the mailboxes begin. */
  #rings: number[] = [];
  /** Who has a descriptor of each connection, and numbers in mailboxes and messages: of one check. */
  readonly #hands = new Map<Stream, string>();
  readonly #onTheirWay: number[] = [];
  readonly #slots = new Map<Thread, { readonly slot: number; readonly index: number }>();
  readonly #entries = new Map<Thread, string>();
  /** Promises that have not settled, by what was asked. */
  readonly #pending = new Set<string>();
  readonly #failed = new Set<Call>();
  /** Threads that the runtime says hang. */
  readonly #hung = new Set<number>();
  readonly #deaths: number[] = [];
  #suspicion: string | null = null;
  #gaveUp = false;
  #closed = false;
  #started = false;

  constructor(world: World) {
    this.#world = world;
  }

  #violated(what: string): never {
    throw new Violation(what);
  }

  // Threads.

  started(thread: Thread, data: unknown): void {
    if (thread.kind === 'governor') {
      this.#useMemory((data as { init: GovernorInit }).init);
      return;
    }
    const { slot, index, entry } = data as WorkerInit;
    for (const [other, own] of this.#slots) {
      if (!other.gone && own.slot === slot) this.#violated(`two threads have slot ${slot}`);
    }
    this.#slots.set(thread, { slot, index });
    this.#entries.set(thread, entry);
    const seat = [...this.#slots].filter(([other, own]) => !other.gone && own.index === index);
    if (seat.length > 2) this.#violated(`${seat.length} threads of worker ${index}`);
    if (this.#world.closing && this.#closed) this.#violated('a thread starts after the end');
  }

  #useMemory({ mailboxes, table, scoreboard }: GovernorInit): void {
    this.#board = Scoreboard.attach(scoreboard as Int32Array<SharedArrayBuffer>);
    this.#words = mailboxes;
    this.#table = ConnectionTable.attach(table);
    const workers = mailboxes[MAILBOXES.WORKERS] as number;
    const capacity = mailboxes[MAILBOXES.CAPACITY] as number;
    this.#rings = [];
    for (let recipient = 0; recipient < workers; recipient++) {
      for (let giver = 0; giver < giversFor(workers); giver++) {
        this.#rings.push(headWord(workers, capacity, giver, recipient));
      }
    }
  }

  /** Main ends `thread` by force. */
  terminated(thread: Thread): void {
    if (thread.kind !== 'worker') return;
    const { now } = this.#world;
    const stopped = thread.told.get('stop');
    if (stopped !== undefined && now - stopped >= STOP_GRACE_MS - 1) return;
    if (this.#hung.has(thread.id)) return;
    this.#violated(`${thread.name} is terminated, which does not hang and was not told to stop`);
  }

  // Connections.

  failed(call: Call): void {
    this.#failed.add(call);
  }

  /** Nobody has to serve any more. */
  get #ends(): boolean {
    return this.#world.closing || this.#gaveUp || !this.#started;
  }

  /** Unless main is just giving up, of which it tells last. */
  #suspicious(what: string): void {
    if (!this.#ends) this.#suspicion ??= what;
  }

  refused(connection: Connection): void {
    this.#suspicious(`client ${connection.id} is refused`);
  }

  reset(connection: Connection, by: string): void {
    if (connection.state === 'open') connection.state = 'reset';
    this.#suspicious(`client ${connection.id}, which waits, is reset by ${by}`);
  }

  /** The last descriptor of `connection` was closed by `by`. */
  closed(connection: Connection, by: string): void {
    if (connection.state !== 'open') return;
    connection.state = 'closed by server';
    this.#world.log(`client ${connection.id} is closed by ${by}`);
    if (this.#ends || connection.told) return;
    const thread = this.#world.threads.find(({ name }) => by.endsWith(name));
    const what = `client ${connection.id} is closed by ${by}`;
    // It was in the hand of a thread that had not come to say what it is.
    if (by === 'main' && wasCutShort(connection.hadBy)) return;
    if (thread === undefined || thread.kind !== 'worker') {
      this.#suspicious(what);
      return;
    }
    const ends = thread.exits || !thread.lives;
    if (!connection.between && ends) return; // in flight on it
    if (connection.stays) return;
    // What the ledger gives to a thread that could not give it away any more.
    if (wasCutShort(thread)) return;
    if (ends && thread.told.has('stop')) return;
    if (ends && this.#failed.has('duplicate')) return;
    this.#violated(`${what}, although it could move`);
  }

  // What was asked of the runtime.

  settles(
    what: string,
    promise: PromiseLike<unknown>,
    done: (value: unknown) => void,
    failed: (error: unknown) => void = () => {},
  ): void {
    const name = `${what} at ${this.#world.steps}`;
    this.#pending.add(name);
    promise.then(
      (value) => {
        this.#pending.delete(name);
        if (what === 'start') this.#started = true;
        this.#world.log(`${what}: done`);
        done(value);
      },
      (error) => {
        this.#pending.delete(name);
        this.#world.log(`${what}: ${(error as Error).message}`);
        const lost = (error as { code?: string }).code === 'ERR_GYRE_STUCK';
        if (what === 'start' || (what === 'close' && lost)) this.#closed = true;
        failed(error);
      },
    );
  }

  follow(runtime: Runtime): void {
    runtime.on('error', (error) => {
      this.#world.log(`error: ${error.message}`);
      if (error.code !== 'ERR_GYRE_RESTARTS') return;
      this.#gaveUp = true;
      const { restarts, restartsWithinMs } = this.#world.options;
      const recent = this.#deaths.filter((at) => at > this.#world.now - restartsWithinMs - 1);
      if (recent.length <= restarts) this.#violated(`it gave up after ${recent.length} deaths`);
    });
    runtime.on('hang', ({ worker }) => {
      const { now, options, threads } = this.#world;
      this.#deaths.push(now);
      this.#hung.add(worker.threadId);
      const thread = threads.find(({ id }) => id === worker.threadId);
      const stuck = now - (thread?.loop?.iteratedAt ?? 0);
      if (stuck < options.hangMs) this.#violated(`${thread?.name} does not hang`);
    });
    runtime.on('exit', ({ reason, worker }) => {
      this.#world.log(`worker ${worker.index} has ended: ${reason}`);
      if (reason === 'died' && !worker.spare) this.#deaths.push(this.#world.now);
    });
  }

  #runningWorkers(): Thread[] {
    const { accepting } = this.#world.slots;
    return this.#world.threads.filter(
      (thread) => thread.lives && (this.#slots.get(thread)?.slot ?? accepting) < accepting,
    );
  }

  reloaded(entry: string, failed: boolean): void {
    if (failed || this.#ends) return;
    for (const thread of this.#runningWorkers()) {
      if (this.#entries.get(thread) === entry || thread.told.size > 0) continue;
      if (thread.doomed === null)
        this.#violated(`${thread.name} still runs what it ran before ${entry}`);
    }
  }

  resized(count: number, failed: boolean): void {
    if (failed || this.#ends) return;
    for (const thread of this.#runningWorkers()) {
      const { index } = this.#slots.get(thread) as { index: number };
      if (index >= count && thread.doomed === null)
        this.#violated(`${thread.name} still runs with ${count} workers`);
    }
  }

  // At rest and at the end.

  /** Nobody waits for anything. */
  get rests(): boolean {
    const { clients, runtime } = this.#world;
    if (this.#closed) return true;
    if (this.#pending.size > 0 || runtime === null) return false;
    const waits = ({ state, idle, stream }: Connection) =>
      state === 'open' && (!idle || stream === null);
    if (clients.some(waits)) return false;
    return this.#gaveUp ? runtime.state === 'closed' : this.#serves(runtime);
  }

  #serves({ workers }: Runtime): boolean {
    return workers.every(({ state }) => state === 'serving');
  }

  nothingHappens(): void {
    if (!this.rests && !this.over) this.#violated(`nothing happens any more: ${this.waiting}`);
  }

  atRest(): void {
    this.check();
    const board = this.#board;
    const { threads } = this.#world;
    // Main gives back the places of a thread when it hears of its end.
    if (board === null || !threads.every(({ lives, busy }) => lives && busy === null)) return;
    const requests = board.places('REQUESTS');
    if (requests > 0) this.#violated(`${requests} requests have places, and all are answered`);
    for (const thread of threads) {
      const slot = this.#slots.get(thread)?.slot;
      if (slot === undefined) continue;
      const own = [...thread.handles].filter(
        ({ file, taken }) => file?.kind === 'stream' && !taken && !file.connection.refused,
      );
      const counted = board.connections(slot);
      if (counted === own.length) continue;
      this.#violated(`${thread.name} counts ${counted} connections and has ${own.length}`);
    }
  }

  /** Each connection has one place, and no other has. */
  #checkPlaces(connections: number): void {
    const places = this.#board?.places('CONNECTIONS') ?? 0;
    if (places !== connections) {
      this.#violated(`${places} places are taken, and there are ${connections} connections`);
    }
    if (places > this.#world.options.maxConnections.total) {
      this.#violated(`${places} connections are too many`);
    }
  }

  /** Close has resolved. */
  closedAll(): void {
    this.#closed = true;
    this.atEnd();
  }

  get over(): boolean {
    const { threads, main } = this.#world;
    return this.#closed && this.#pending.size === 0 && threads.every((each) => each === main);
  }

  /** What does not come to rest. */
  get waiting(): string {
    const clients = this.#world.clients.filter(({ state, idle }) => state === 'open' && !idle);
    const workers = this.#world.runtime?.workers.map(({ state }) => state);
    const what = [...this.#pending, ...clients.map(({ id }) => `client ${id}`)];
    const threads = this.#world.threads.map((thread) => thread.what);
    return `${what}; workers ${workers}; ${threads}`;
  }

  atEnd(): void {
    const { threads, kernel, main } = this.#world;
    const left = threads.filter((thread) => thread !== main && !thread.gone);
    if (left.length > 0) this.#violated(`left at the end: ${left.map(({ name }) => name)}`);
    const open = [...kernel.open()].map(([fd, { kind }]) => `${kind} ${fd}`);
    if (open.length > 0) this.#violated(`left open at the end: ${open}`);
    for (const of of ['CONNECTIONS', 'REQUESTS'] as const) {
      const left = this.#board?.places(of) ?? 0;
      if (left !== 0) this.#violated(`places left at the end: ${left} of ${of}`);
    }
    if (main.timers.size === 0) return;
    this.#violated(`left at the end: timers of ${[...main.timers].map(({ ms }) => ms)} ms`);
  }

  // At every step.

  check(): void {
    const { kernel, main, threads, handles } = this.#world;
    if (Violation.first !== null) throw Violation.first;
    if (this.#suspicion !== null && !this.#ends) this.#violated(this.#suspicion);
    if (this.#words === null) return;
    this.#hands.clear();
    let held = 0;
    let refused = 0;
    let buries = false; // main has not heard of the end of a worker, and whose places are free
    let dying = 0; // what threads may have had in their hands of whose end main has not heard
    for (const thread of threads) {
      if (!thread.lives) {
        dying += thread.kind === 'governor' ? Number.POSITIVE_INFINITY : 1;
        if (thread.kind === 'worker') buries = true;
      }
      for (const { file, taken } of thread.handles) {
        if (file?.kind !== 'stream' || taken) continue;
        held++;
        if (file.connection.refused) refused++;
        if (thread.lives) this.#hand(file, thread.name);
      }
    }
    this.#onTheirWay.length = 0;
    this.#findInMailboxes();
    this.#findInMessages();
    for (const fd of this.#onTheirWay) {
      const file = kernel.fileAt(fd);
      if (file?.kind !== 'stream')
        this.#violated(`descriptor ${fd} is on its way, and no connection`);
      const handle = handles[fd];
      if (handle !== undefined && !handle.taken) {
        this.#violated(`descriptor ${fd} is on its way, and somebody has it`);
      }
      held++;
      this.#hand(file, 'a mailbox');
    }
    if (!buries) this.#checkPlaces(kernel.streams - refused);
    if (kernel.streams === held) return;
    let limbo = 0;
    for (const [fd, file] of kernel.open()) {
      const handle = handles[fd];
      if (file.kind !== 'stream' || this.#onTheirWay.includes(fd)) continue;
      if (handle !== undefined && !handle.taken) continue;
      limbo++;
      this.#hand(file, 'main');
    }
    let tries = 0;
    for (const { ms } of main.timers) if (ms === RETRY_MS) tries++;
    if (limbo > tries + dying) this.#violated(`${limbo} descriptors are in nobody's hands`);
  }

  #hand(file: Stream, hand: string): void {
    const other = this.#hands.get(file);
    if (other !== undefined) {
      this.#violated(`client ${file.connection.id} is in the hands of ${other} and ${hand}`);
    }
    this.#hands.set(file, hand);
  }

  /** Connections that wait in mailboxes, and whose entries are not void. */
  #findInMailboxes(): void {
    const words = this.#words as Int32Array;
    const capacity = words[MAILBOXES.CAPACITY] as number;
    for (const head of this.#rings) {
      const tail = words[tailWord(head)] as number;
      for (let at = words[head] as number; at !== tail; at = (at + 1) | 0) {
        const entry = entryWord(head, capacity, at);
        const kind = words[entry + MAILBOX_ENTRY.KIND];
        if (kind !== EntryKind.CONNECTION && kind !== EntryKind.ACCEPTED) continue;
        const fd = words[entry + MAILBOX_ENTRY.FD] as number;
        const generation = words[entry + MAILBOX_ENTRY.GENERATION] as number;
        if (this.#table?.isInTransit(fd, generation)) this.#onTheirWay.push(fd);
      }
    }
  }

  #findInMessages(): void {
    for (const { queue } of this.#world.main.ports) {
      for (const message of queue) {
        const { kind, entry } = message as { kind?: string; entry?: Moving };
        if (kind !== 'undeliverable' || entry === undefined) continue;
        if (this.#table?.isInTransit(entry.fd, entry.generation)) this.#onTheirWay.push(entry.fd);
      }
    }
  }
}
