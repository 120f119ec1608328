/**
 * The governor: a thread without user code that makes moves on behalf of workers
 * which cannot make their own, because they stand still. This thread's loop only.
 *
 * A watcher (native/watcher.h) wakes it when a worker has been inside one iteration of
 * its loop for a tick while its efd had events. What the worker is doing then counts
 * as one of its events, so a worker with one connection waiting behind a long callback
 * has two and may give one.
 */
import workerThreads, { type MessagePort } from 'node:worker_threads';
import {
  createWatcher,
  inPoll,
  installSafepoint,
  type NativeTable,
  peek,
  type Ready,
  setThreadName,
  take,
  type Watcher,
  wake,
} from '../native.js';
import type { FromGovernor, GovernorInit, ToGovernor } from '../protocol.js';
import { ConnectionTable } from '../scheduler/connection-table.js';
import { CONNECTION, CONNECTION_WORDS, ConnectionState, EntryKind } from '../scheduler/layout.js';
import { type Entry, Mailboxes, type MailboxWriter } from '../scheduler/mailbox.js';
import { chooseMove } from '../scheduler/move.js';
import { type Rings, wholeMachine } from '../scheduler/neighbourhood.js';
import { below, type Random, seededRandom } from '../scheduler/random.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import { selfCheck } from './self-check.js';

const WORDS_TAKEN = 8;

/**
 * How long a worker may take to reach its handler before the governor gives up. It takes
 * tens of µs on an idle machine; one that sleeps uninterruptibly would take for ever.
 */
const PAUSE_TIMEOUT_US = 2_000;

/** What native/taking.h calls TableLayout, in its order. */
export const TABLE_LAYOUT = Int32Array.of(
  CONNECTION_WORDS,
  CONNECTION.OWNER,
  CONNECTION.STATE,
  CONNECTION.LISTENER,
  CONNECTION.GENERATION,
  CONNECTION.BOUNDARY,
  ConnectionState.FRESH,
  ConnectionState.BETWEEN,
  ConnectionState.LISTENING,
  ConnectionState.TAKEN,
);

/** Idle connections are looked for from a random descriptor below this on. */
const CHAOS_DESCRIPTORS = 128;

class Governor {
  readonly #init: GovernorInit;
  readonly #peers: readonly number[];
  readonly #table: NativeTable;
  readonly #connections: ConnectionTable;
  readonly #writers: readonly MailboxWriter[];
  readonly #rings: readonly Rings[];
  readonly #random: Random;
  readonly #watcher: Watcher;
  readonly #board: Scoreboard;
  /** Moves that each worker made through the governor, and its count when it last gave to r. */
  readonly #rounds: number[];
  readonly #gave: number[][];
  readonly #ended = new Set<number>();
  readonly #taken: Int32Array;
  readonly #boundaries: Float64Array;
  readonly #stats = new Float64Array(3);
  /** What each worker had ready when it was last looked at; null: not looked at now. */
  #ready: (Ready | null)[] = [];

  constructor(init: GovernorInit, peers: readonly number[]) {
    this.#init = init;
    this.#peers = peers;
    this.#table = { words: init.table, layout: TABLE_LAYOUT };
    this.#connections = ConnectionTable.attach(init.table);
    const mailboxes = Mailboxes.attach(init.mailboxes);
    const count = peers.length;
    this.#writers = peers.map((_, index) => mailboxes.writer(mailboxes.governor, index));
    this.#rings = wholeMachine(count);
    this.#random = seededRandom(init.seed);
    this.#board = Scoreboard.attach(init.scoreboard);
    this.#rounds = new Array(count).fill(0);
    this.#gave = peers.map(() => new Array(count).fill(0));
    this.#taken = new Int32Array(init.batchMax * WORDS_TAKEN);
    this.#boundaries = new Float64Array(this.#taken.buffer);
    installSafepoint();
    this.#watcher = createWatcher(peers, init.tickMs * 1000, () => this.#onStall());
  }

  /** Nothing is put into the mailbox of `worker` after this. */
  forget(worker: number): void {
    this.#ended.add(worker);
  }

  stop(): void {
    this.#watcher.stop();
  }

  #onStall(): void {
    this.#ready = [];
    for (let worker = 0; worker < this.#peers.length; worker++) {
      if (this.#watcher.stalled(worker) && !this.#ended.has(worker)) this.#rescue(worker);
    }
    this.#watcher.continue();
  }

  #rescue(victim: number): void {
    const ready = this.#look(victim);
    if (ready === null) return;
    const waiting = ready.movable + ready.queued;
    if (waiting === 0) return;
    const gave = this.#gave[victim] as number[];
    const round = (this.#rounds[victim] as number) + 1;
    const move = chooseMove({
      giver: victim,
      events: waiting + 1, // and the one that it is busy with
      rings: this.#rings[victim] as Rings,
      outstanding: (worker) => this.#outstanding(worker),
      roundsSinceGave: (worker) => round - (gave[worker] as number),
      accepts: (worker) => this.#accepts(worker),
      random: this.#random,
    });
    if (move === null) return;
    this.#rounds[victim] = round;
    gave[move.recipient] = round;
    this.#make(victim, move.recipient, move.count);
  }

  /**
   * For tests: one move of somebody's connections, ready or idle, to somebody else, with
   * no reason at all. Whatever is wrong with moving shows soonest under this.
   */
  chaos(): void {
    const workers = this.#peers.length;
    const victim = below(this.#random, workers);
    const recipient = below(this.#random, workers);
    if (victim === recipient || this.#ended.has(victim) || this.#ended.has(recipient)) return;
    const count = 1 + below(this.#random, this.#init.batchMax);
    this.#make(victim, recipient, count, below(this.#random, CHAOS_DESCRIPTORS));
  }

  #make(victim: number, recipient: number, wanted: number, idleFrom = -1): void {
    const to = this.#writers[recipient] as MailboxWriter;
    const back = this.#writers[victim] as MailboxWriter;
    const max = Math.min(wanted, this.#init.batchMax, to.free(), back.free());
    const row = this.#board.governor(victim);
    if (max === 0) {
      row.refused();
      return;
    }
    const taken = take(
      this.#peers[victim] as number,
      victim + 1,
      this.#table,
      this.#watcher.neverFd,
      max,
      PAUSE_TIMEOUT_US,
      idleFrom,
      this.#taken,
      this.#stats,
    );
    if (taken < 0) {
      row.refused();
      return;
    }
    const [mismatches = 0, failures = 0, pauseNs = 0] = this.#stats;
    row.paused(taken, mismatches, failures, pauseNs / 1000);
    for (let i = 0; i < taken; i++) {
      const at = i * WORDS_TAKEN;
      const [kind = 0, fd = -1, oldFd = -1, listener = 0, generation = 0] = this.#taken.subarray(
        at,
        at + WORDS_TAKEN,
      );
      const boundary = this.#boundaries[at / 2 + 3] as number;
      // There is room: it was checked above, and nobody else puts into these rings.
      to.put({
        ...{ kind: kind as Entry['kind'], fd, listener, boundary },
        generation: this.#connections.send(fd, listener, boundary),
      });
      if (oldFd < 0) continue;
      back.put({ kind: EntryKind.DROP, fd: oldFd, listener, generation, boundary });
    }
    if (taken === 0) return;
    wake(this.#peers[recipient] as number);
    wake(this.#peers[victim] as number);
    this.#ready[victim] = null;
    this.#ready[recipient] = null;
  }

  #look(worker: number): Ready | null {
    this.#ready[worker] ??= peek(this.#peers[worker] as number, worker + 1, this.#table);
    return this.#ready[worker] ?? null;
  }

  #outstanding(worker: number): number {
    const ready = this.#look(worker);
    if (ready === null) return Number.POSITIVE_INFINITY;
    const busy = inPoll(this.#peers[worker] as number) ? 0 : 1;
    return ready.movable + ready.queued + ready.other + busy;
  }

  #accepts(worker: number): boolean {
    return !this.#ended.has(worker) && !this.#watcher.stalled(worker);
  }
}

const { init, control } = workerThreads.workerData as { init: GovernorInit; control: MessagePort };
const reply = (message: FromGovernor) => control.postMessage(message);
let governor: Governor | null = null;
let chaos = false;

function unrest(): void {
  if (!chaos) return;
  governor?.chaos();
  setImmediate(unrest);
}

function receive(message: ToGovernor): void {
  switch (message.kind) {
    case 'watch':
      governor = new Governor(init, message.peers);
      chaos = init.chaos;
      unrest();
      break;
    case 'ended':
      governor?.forget(message.worker);
      reply(message);
      break;
    case 'stop':
      chaos = false;
      governor?.stop();
      control.close();
  }
}

setThreadName(`${init.name}-gov`);
selfCheck().then((unfit) => {
  reply({ kind: 'checked', unfit });
  control.on('message', receive);
});
