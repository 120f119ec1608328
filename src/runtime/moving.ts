/**
 * What main does so that connections can move: it owns the shared memory, runs the
 * governor, and sees to it that nothing stays in the mailbox of a worker that has
 * ended. Main thread only.
 */
import { close, misalignmentOf, wake } from '../native.js';
import type { GovernorInit, MovingInit, Repinning, SoftPinsInit, TracedMove } from '../protocol.js';
import { ConnectionTable } from '../scheduler/connection-table.js';
import { Hands } from '../scheduler/hands.js';
import {
  ConnectionState,
  EntryKind,
  HAND_ACCEPTED,
  mailboxWordsFor,
  WORD_BYTES,
} from '../scheduler/layout.js';
import type { Limits } from '../scheduler/limits.js';
import { type Entry, Mailboxes } from '../scheduler/mailbox.js';
import type { Rings } from '../scheduler/neighbourhood.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import { Backoff } from './backoff.js';
import { GovernorThread } from './governor-thread.js';
import type { ResolvedOptions } from './resolved-options.js';

/**
 * Most entries in one mailbox ring, a power of two. A full one refuses: the giver keeps its
 * connections. A worker that stands still does not read that its connections were taken, so
 * this is also how many can be taken from it until it goes on.
 */
const RING_CAPACITY_MAX = 4_096;
/** Most memory for all rings, of which only what is used gets pages. No evidence. */
const RINGS_BYTES_MAX = 256 * 1024 * 1024;
/** The least that is of use: a quarter of a batch. */
const RING_CAPACITY_MIN = 16;

/** Entries in each ring, for so many workers and spares. */
function ringCapacity(slots: number): number {
  let capacity = RING_CAPACITY_MAX;
  const bytes = () => mailboxWordsFor(slots, capacity) * WORD_BYTES;
  while (capacity > RING_CAPACITY_MIN && bytes() > RINGS_BYTES_MAX) capacity /= 2;
  return capacity;
}

/** Longest that taking everything from a worker may keep main waiting. It takes milliseconds. */
const EVACUATION_MS = 1_000;

/** How soon one that has died is started again. No evidence for more or less. */
const GOVERNOR_BACKOFF = { livedMs: 1_000, firstMs: 200, maxMs: 60_000 };

/** How soon a connection is offered again when all mailboxes are full, or nobody is there yet. No evidence for more or less. */
const RETRY_MS = 10;

interface MovingOptions extends Omit<ResolvedOptions['scheduler'], 'move'> {
  readonly name: string;
  /** Of workers and spares: src/runtime/slots.ts. */
  readonly slots: number;
  readonly rings: readonly Rings[];
  readonly scoreboard: Scoreboard;
  readonly limits: Limits;
  /** Numbers of descriptors are below this one. */
  readonly descriptorsMax: number;
  /** How long a worker must have stood still before main hears of it. */
  readonly stalledMs: number;
  /** Null where pins do not give way. */
  readonly softPins: SoftPinsInit | null;
}

interface MovingEvents {
  /** The workers that accept for a listener. */
  workersOf(listener: number): readonly number[];
  /** Whether somebody is about to start who may accept for what nobody else accepts for. */
  awaitsSuccessor(): boolean;
  /** `worker` has not returned to its loop since `heartbeat`; `waits`: and something is ready for it. */
  stalled(worker: number, heartbeat: number, waits: boolean): void;
  /** All workers stand still: a spare would help. False if there is none to be had. */
  wantSpare(): boolean;
  /** A worker may run on more CPUs than before, or on fewer. */
  repinned(repinning: Repinning): void;
  /** Connections were moved by the governor, where moves are traced. */
  moved(move: TracedMove): void;
  /** The governor has died: nothing is rescued until another starts, in `restartInMs`. */
  died(error: unknown, restartInMs: number): void;
}

export class Moving {
  readonly init: MovingInit;
  readonly #governorInit: GovernorInit;
  readonly #options: MovingOptions;
  readonly #events: MovingEvents;
  readonly #mailboxes: Mailboxes;
  readonly #table: ConnectionTable;
  readonly #hands: Hands;
  #governor: GovernorThread;
  readonly #backoff = new Backoff(GOVERNOR_BACKOFF);
  #restart: NodeJS.Timeout | undefined;
  #started = false;
  /** Workers whose servers are full, by the descriptor of a connection that they sent back. */
  readonly #sentBack = new Map<number, { generation: number; workers: number[] }>();
  /** What nobody has room for and is tried again, and what becomes of it when all is over. */
  readonly #kept = new Map<NodeJS.Timeout, () => void>();
  /** Who waits for a worker to be empty. */
  readonly #evacuations = new Map<number, { promise: Promise<void>; done(): void }>();

  constructor(options: MovingOptions, events: MovingEvents) {
    this.#options = options;
    this.#events = events;
    this.#mailboxes = Mailboxes.create(options.slots, ringCapacity(options.slots), misalignmentOf);
    this.#table = ConnectionTable.create(options.descriptorsMax, misalignmentOf);
    const { name, scoreboard, tickMs, roundMs, chaos, trace, rings, batchMax, seed } = options;
    const { stalledMs, softPins, limits } = options;
    this.#hands = Hands.create(batchMax);
    const shared = { mailboxes: this.#mailboxes.words, table: this.#table.words };
    this.init = { ...shared, rings, roundMs, batchMax, seed, chaos, trace };
    this.#governorInit = {
      ...{ ...shared, rings, batchMax, seed, name, tickMs, chaos, trace, stalledMs, softPins },
      limits,
      ...{ scoreboard: scoreboard.words, hands: this.#hands.words },
    };
    // Started before the workers: it checks the system while they load.
    this.#governor = this.#startGovernor();
  }

  #startGovernor(): GovernorThread {
    const startedAt = performance.now();
    const governor: GovernorThread = new GovernorThread(this.#governorInit, {
      left: (worker) => this.left(worker),
      stalled: (...of) => this.#events.stalled(...of),
      evacuated: (worker) => this.#evacuated(worker),
      repinned: (repinning) => this.#events.repinned(repinning),
      moved: (move) => this.#events.moved(move),
      wantSpare: () => {
        if (!this.#events.wantSpare()) governor.tell({ kind: 'no-spare' });
      },
      died: (error) => this.#onGovernorDied(error, performance.now() - startedAt),
    });
    return governor;
  }

  /** Nothing is rescued until there is another; workers go on giving by themselves. */
  #onGovernorDied(error: unknown, lived: number): void {
    for (const worker of [...this.#evacuations.keys()]) this.#evacuated(worker);
    this.#clearHands();
    this.#lookAgain(this.#mailboxes.governor);
    if (!this.#started) return; // check() says why nothing moves
    const delay = this.#backoff.after(lived);
    this.#events.died(error, delay);
    this.#restart = setTimeout(() => this.#restartGovernor(), delay);
  }

  async #restartGovernor(): Promise<void> {
    try {
      this.#governor = this.#startGovernor();
    } catch (error) {
      this.#onGovernorDied(error, 0); // no thread can be had now
      return;
    }
    if ((await this.#governor.checked) === null) this.#begin();
  }

  /** Resolves to null if connections can move on this system, else to why not. */
  check(): Promise<string | null> {
    return this.#governor.checked;
  }

  /** Begins. */
  start(): void {
    this.#started = true;
    this.#begin();
  }

  #begin(): void {
    this.#governor.tell({ kind: 'start' });
    for (let slot = 0; slot < this.#options.slots; slot++) this.#announce(slot);
  }

  /** The loop of `worker` runs and is woken by `peer`. */
  arrived(worker: number, peer: number): void {
    this.#options.scoreboard.supervise(worker).peer(peer);
    // Whoever put something after its first look, and before this, found nobody to wake.
    this.#wake(worker);
    this.#announce(worker);
  }

  /** The thread of `worker` has ended: what still waits for it goes to others. */
  ended(worker: number): void {
    this.#options.scoreboard.supervise(worker).peer(0);
    this.#announce(worker);
    this.#clear(worker);
    this.#clearHand(this.#options.scoreboard.takeHand(worker));
    this.#table.forget(worker, this.#options.scoreboard.fdEnd(worker));
    this.#lookAgain(worker);
  }

  /** A giver has ended with `fd` in its hand: nobody else knows of it. */
  #clearHand(hand: number): void {
    if (hand <= 0) return;
    const fd = hand & ~HAND_ACCEPTED;
    const { state, listener, generation, boundary } = this.#table.read(fd);
    if (state === ConnectionState.IN_TRANSIT) {
      const kind = (hand & HAND_ACCEPTED) !== 0 ? EntryKind.ACCEPTED : EntryKind.CONNECTION;
      this.deliver({ kind, fd, listener, generation, boundary }, null);
      return;
    }
    close(fd); // it had not come to say what it is
    this.#options.scoreboard.returnPlaces('CONNECTIONS', 1);
  }

  /** The governor has ended with connections in its hands. */
  #clearHands(): void {
    const hands = this.#hands;
    const { victim } = hands;
    for (let i = 0; i < hands.count; i++) {
      const { kind, fd, oldFd, listener, boundary, ...taken } = hands.at(i);
      // Perhaps again: the second is void.
      if (oldFd >= 0) this.#tellDropped(victim, oldFd, taken.generation);
      if (kind === EntryKind.NOTHING) continue;
      const generation = this.#table.send(fd, listener, boundary);
      this.deliver({ kind, fd, listener, generation, boundary }, null);
    }
    hands.empty();
  }

  /** The connection that `worker` had under `fd` was taken. */
  #tellDropped(worker: number, fd: number, generation: number): void {
    const drop = { kind: EntryKind.DROP, fd, generation, listener: 0, boundary: 0 };
    if (this.#mailboxes.writer(this.#mailboxes.main, worker).put(drop) !== 'full') {
      this.#wake(worker);
      return;
    }
    this.#later(
      () => this.#tellDropped(worker, fd, generation),
      () => {},
    );
  }

  /**
   * Takes what can move from `worker`, whose thread does not answer. Resolves when that has been
   * done, or has taken too long.
   */
  evacuate(worker: number): Promise<void> {
    const going = this.#evacuations.get(worker);
    if (going !== undefined) return going.promise;
    let done = () => {};
    const promise = new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#evacuated(worker), EVACUATION_MS);
      done = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#evacuations.set(worker, { promise, done });
    this.#governor.tell({ kind: 'evacuate', worker });
    return promise;
  }

  #evacuated(worker: number): void {
    const going = this.#evacuations.get(worker);
    this.#evacuations.delete(worker);
    going?.done();
  }

  /** Somebody has put something into the mailbox of `worker`, and then found it gone. */
  left(worker: number): void {
    const { scoreboard } = this.#options;
    // A successor reads it itself when it has arrived.
    if (scoreboard.read(worker).state === 'exited') this.#clear(worker);
  }

  #announce(worker: number): void {
    const peer = this.#options.scoreboard.peer(worker);
    this.#governor.tell({ kind: 'peer', worker, peer });
  }

  /** Takes out what is in the mailbox of a worker that has ended. */
  #clear(worker: number): void {
    this.#mailboxes.reader(worker).drainAll((entry) => {
      if (entry.kind === EntryKind.DROP) return;
      // An entry whose taker died at work is seen again. If it had got as far as to
      // adopt the descriptor, the thread's end has closed it.
      const { fd, generation } = entry;
      const tracked = fd < this.#table.descriptorsMax;
      if (tracked && !this.#table.isInTransit(fd, generation)) return;
      this.deliver(entry, null);
    });
  }

  /** `giver` is dead, perhaps just after it put something, and before it said so. */
  #lookAgain(giver: number): void {
    this.#mailboxes.ringFor(giver);
    for (let other = 0; other < this.#options.slots; other++) {
      this.#wake(other);
      this.left(other);
    }
  }

  /**
   * Gives a connection that is in nobody's hands to a worker that accepts for its listener.
   * @param full a worker that sent it back, because its server has as many as it will take
   */
  deliver(entry: Entry, full: number | null): void {
    const { main } = this.#mailboxes;
    const { scoreboard } = this.#options;
    const others = this.#events.workersOf(entry.listener);
    const refused = full === null ? [] : this.#refusedBy(entry, full);
    const accepting = others.filter((worker) => !refused.includes(worker));
    const staying = accepting.filter((worker) => scoreboard.receives(worker));
    const candidates = (staying.length > 0 ? staying : accepting).toSorted(
      (a, b) => scoreboard.connections(a) - scoreboard.connections(b),
    );
    for (const worker of candidates) {
      if (this.#mailboxes.writer(main, worker).put(entry) === 'full') continue;
      this.#wake(worker);
      return;
    }
    if (candidates.length > 0 || this.#events.awaitsSuccessor()) {
      this.#later(
        () => this.deliver(entry, full),
        () => this.#drop(entry),
      );
      return;
    }
    // Nobody listens there any more, as after server.close(), or everybody is full.
    this.#drop(entry);
  }

  #drop({ fd }: Entry): void {
    this.#sentBack.delete(fd);
    this.#table.close(fd);
    close(fd);
    this.#options.scoreboard.returnPlaces('CONNECTIONS', 1);
  }

  /** After the last worker has ended. */
  async stop(): Promise<void> {
    this.#started = false;
    clearTimeout(this.#restart);
    await this.#governor.stop();
    for (const worker of [...this.#evacuations.keys()]) this.#evacuated(worker);
    for (const [timer, giveUp] of this.#kept) {
      clearTimeout(timer);
      giveUp();
    }
    this.#kept.clear();
  }

  #later(again: () => void, giveUp: () => void): void {
    const timer = setTimeout(() => {
      this.#kept.delete(timer);
      again();
    }, RETRY_MS);
    this.#kept.set(timer, giveUp);
  }

  /** Everybody who has sent it back, `worker` among them. */
  #refusedBy({ fd, generation }: Entry, worker: number): readonly number[] {
    const before = this.#sentBack.get(fd);
    const known = before?.generation === generation ? before.workers : [];
    const workers = known.includes(worker) ? known : [...known, worker];
    this.#sentBack.set(fd, { generation, workers });
    return workers;
  }

  /** Also where nothing moves by itself: one that ends gives what it has to main all the same. */
  #wake(worker: number): void {
    const waker = this.#options.scoreboard.waker(worker);
    if (waker !== 0) wake(waker);
  }
}
