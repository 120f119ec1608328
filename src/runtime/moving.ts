/**
 * What main does so that connections can move: it owns the shared memory, runs the
 * governor, and sees to it that nothing stays in the mailbox of a worker that has
 * ended. Main thread only.
 */
import { readFileSync } from 'node:fs';
import { close, misalignmentOf, wake } from '../native.js';
import type { MovingInit } from '../protocol.js';
import { ConnectionTable } from '../scheduler/connection-table.js';
import { EntryKind } from '../scheduler/layout.js';
import { type Entry, Mailboxes } from '../scheduler/mailbox.js';
import { GovernorThread } from './governor-thread.js';

/** Entries in one mailbox ring. A full one refuses, and the giver keeps its connections. */
const RING_CAPACITY = 256;

/** How soon a connection is offered again when all mailboxes are full. No evidence for more or less. */
const RETRY_MS = 10;

/** Descriptors to track where the limit is unknown. */
const DESCRIPTORS_DEFAULT = 65_536;

/** The soft limit on descriptors of this process: getrlimit(2), RLIMIT_NOFILE. */
function descriptorLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
  return soft > 0 ? soft : DESCRIPTORS_DEFAULT;
}

export interface MovingOptions {
  readonly name: string;
  readonly workers: number;
  readonly scoreboard: Int32Array<SharedArrayBuffer>;
  readonly tickMs: number;
  readonly batchMax: number;
  readonly seed: number;
  readonly chaos: boolean;
}

export interface MovingEvents {
  /** The workers that accept for a listener. */
  workersOf(listener: number): readonly number[];
  /** What wakes a worker's loop; null if it has ended. */
  wakeIdOf(worker: number): number | null;
  /** The governor has died: nothing moves any more. */
  died(error: unknown): void;
}

export class Moving {
  readonly init: MovingInit;
  readonly #options: MovingOptions;
  readonly #events: MovingEvents;
  readonly #mailboxes: Mailboxes;
  readonly #table: ConnectionTable;
  readonly #governor: GovernorThread;
  /** Workers whose servers are full, by the descriptor of a connection that they sent back. */
  readonly #sentBack = new Map<number, { generation: number; workers: number[] }>();

  constructor(options: MovingOptions, events: MovingEvents) {
    this.#options = options;
    this.#events = events;
    this.#mailboxes = Mailboxes.create(options.workers, RING_CAPACITY, misalignmentOf);
    this.#table = ConnectionTable.create(descriptorLimit(), misalignmentOf);
    this.init = { mailboxes: this.#mailboxes.words, table: this.#table.words };
    // Started before the workers: it checks the system while they load.
    const { name, scoreboard, tickMs, batchMax, seed, chaos } = options;
    this.#governor = new GovernorThread(
      { ...{ name, scoreboard, tickMs, batchMax, seed, chaos }, ...this.init },
      events.died,
    );
  }

  /** Resolves to null if connections can move on this system, else to why not. */
  check(): Promise<string | null> {
    return this.#governor.checked;
  }

  /** Begins. Every worker must be up. */
  start(peers: readonly number[]): void {
    this.#governor.watch(peers);
  }

  /** The thread of `worker` has ended: what still waits for it goes to others. */
  async ended(worker: number): Promise<void> {
    await this.#governor.ended(worker);
    this.#mailboxes.reader(worker).drainAll((entry) => {
      if (entry.kind === EntryKind.DROP) return;
      // An entry whose taker died at work is seen again. If it had got as far as to
      // adopt the descriptor, the thread's end has closed it.
      const { fd, generation } = entry;
      const tracked = fd < this.#table.descriptorsMax;
      if (tracked && !this.#table.isInTransit(fd, generation)) return;
      this.deliver(entry, null);
    });
    this.#table.forget(worker);
    // It may have died between ringing a bell and waking its owner.
    for (let other = 0; other < this.#options.workers; other++) this.#wake(other);
  }

  /**
   * Gives a connection that is in nobody's hands to a worker that accepts for its listener.
   * @param full a worker that sent it back, because its server has as many as it will take
   */
  deliver(entry: Entry, full: number | null): void {
    const { main } = this.#mailboxes;
    const others = this.#events.workersOf(entry.listener);
    const refused = full === null ? [] : this.#refusedBy(entry, full);
    const candidates = others.filter((worker) => !refused.includes(worker));
    for (const worker of candidates) {
      if (this.#mailboxes.writer(main, worker).put(entry) === 'full') continue;
      this.#wake(worker);
      return;
    }
    if (candidates.length > 0) {
      setTimeout(() => this.deliver(entry, full), RETRY_MS);
      return;
    }
    // Nobody listens there any more, as after server.close(), or everybody is full.
    this.#sentBack.delete(entry.fd);
    this.#table.close(entry.fd);
    close(entry.fd);
  }

  async stop(): Promise<void> {
    await this.#governor.stop();
  }

  /** Everybody who has sent it back, `worker` among them. */
  #refusedBy({ fd, generation }: Entry, worker: number): readonly number[] {
    const before = this.#sentBack.get(fd);
    const known = before?.generation === generation ? before.workers : [];
    const workers = known.includes(worker) ? known : [...known, worker];
    this.#sentBack.set(fd, { generation, workers });
    return workers;
  }

  #wake(worker: number): void {
    const id = this.#events.wakeIdOf(worker);
    if (id !== null) wake(id);
  }
}
