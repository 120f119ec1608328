/**
 * The rounds of a worker that can still act: after a long iteration of its loop it gives half
 * of what waits to a neighbour, before it goes on. Worker's thread only; called from
 * native/rounds.cc just before the loop looks for events.
 *
 * When the iteration was long because of many short events, each is served sooner than moved.
 * But a connection brings its later events along. So a worker that has hardly slept for a while
 * gives a few of them to a neighbour that has slept half of that time.
 *
 * A spare's rounds are different: after each iteration it gives every connection that
 * stands between two messages back to a worker that has nothing to do. So connections are with
 * a spare only while the workers cannot serve them.
 */
import {
  acceptOne,
  close,
  duplicate,
  idleMs,
  inPoll,
  type NativeRounds,
  type NativeTable,
} from '../native.js';
import type { TracedMove } from '../protocol.js';
import type { ConnectionTable } from '../scheduler/connection-table.js';
import { frontier } from '../scheduler/frontier.js';
import type { Hand } from '../scheduler/hand.js';
import { EntryKind, newcomersRow } from '../scheduler/layout.js';
import type { Capacity } from '../scheduler/limits.js';
import { chooseMove } from '../scheduler/move.js';
import type { Rings } from '../scheduler/neighbourhood.js';
import { below, type Random } from '../scheduler/random.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import type { Outbox } from './outbox.js';
import type { Tracking } from './tracking.js';

interface RoundsInit {
  readonly worker: number;
  readonly spare: boolean;
  /** Workers that accept by themselves: numbers below this one. */
  readonly workers: number;
  readonly rings: Rings;
  /** Length of an iteration after which it looks. */
  readonly roundMs: number;
  readonly batchMax: number;
  readonly random: Random;
  /** Connections move at random, so messages are always followed. */
  readonly chaos: boolean;
  /** Hears of each move; null: nobody does. */
  readonly traced: ((move: TracedMove) => void) | null;
  readonly board: Scoreboard;
  readonly row: WorkerWriter;
  readonly table: ConnectionTable;
  readonly tracking: Tracking;
  readonly capacity: Capacity;
  readonly outbox: Outbox;
  readonly hand: Hand;
}

/** Words before the descriptors in what native/rounds.cc writes. */
const COUNTS = 7;
/** The one of them by which this file asks that messages are followed. */
const FOLLOW = 6;

/**
 * Most events that a worker gives away when they are short and it is overloaded with them, in
 * one of native/iteration.cc's windows of 100 ms: 80 moves a second, that is about 1% of a CPU on
 * either side.
 */
const SHORT_MAX = 8;

/** See native/iteration.cc: following 10,000 messages a second takes half a percent of a CPU. */
const FAST_EVENTS = 1_000;

/** For Infinity, which is no int64: in ns it is more than native/rounds.cc's kNeverNs. */
const NEVER_US = 2 ** 51;

/** Share of its time that a neighbour must have slept to be given such events. */
const SLACK = 0.5;

const now = () => performance.now();

export class Rounds {
  readonly #init: RoundsInit;
  readonly #board: Scoreboard;
  readonly #row: WorkerWriter;
  readonly #table: ConnectionTable;
  readonly #tracking: Tracking;
  readonly #outbox: Outbox;
  readonly #hand: Hand;
  readonly #capacity: Capacity;
  readonly #waiting: Int32Array;
  /** How long each worker had slept when it was last asked, and when that was, in ms. */
  readonly #slept = new Map<number, { readonly idle: number; readonly at: number }>();

  constructor(init: RoundsInit) {
    this.#init = init;
    this.#board = init.board;
    this.#row = init.row;
    this.#table = init.table;
    this.#tracking = init.tracking;
    this.#outbox = init.outbox;
    this.#hand = init.hand;
    this.#capacity = init.capacity;
    // Twice as many as it could give: the older half stays.
    this.#waiting = new Int32Array(COUNTS + 2 * init.batchMax);
  }

  /** What the loop must be told. */
  settings(table: NativeTable): NativeRounds {
    const { worker, spare, roundMs, chaos } = this.#init;
    return {
      ...{ table, owner: worker + 1, out: this.#waiting },
      busyUs: Math.min(Math.round(roundMs * 1000), NEVER_US),
      eventsMin: spare ? 0 : 2,
      fastEvents: chaos ? 2 ** 32 - 1 : FAST_EVENTS,
      outstandingIndex: this.#row.outstandingIndex,
      newcomersIndex: newcomersRow(worker),
      messagesIndex: this.#row.messagesIndex,
      armedIndex: this.#row.armedIndex,
      onRound: spare ? this.#giveBack : this.#round,
      onArm: () => this.#tracking.arm(this.#row.armed),
    };
  }

  #round = (): void => {
    const { worker, rings, random, batchMax } = this.#init;
    const [movable = 0, queued = 0, , , , short = 0] = this.#waiting;
    const slack = short === 0 ? null : this.#slackers();
    if (slack?.size === 0) return;
    this.#row.round();
    if (slack !== null && !this.#row.armed) {
      // Nothing is known to be between two messages. In the next window it will be.
      this.#waiting[FOLLOW] = 1;
      return;
    }
    const move = chooseMove({
      giver: worker,
      events: movable + queued,
      rings,
      outstanding: (other) => (slack === null ? this.#outstanding(other) : 0),
      roundsSinceGave: (other) => this.#row.roundsSinceGave(other),
      accepts: (other) => this.#board.receives(other) && (slack?.has(other) ?? true),
      random,
    });
    if (move === null) return;
    const { recipient } = move;
    const most = slack === null ? batchMax : Math.min(batchMax, SHORT_MAX);
    const max = Math.min(move.count, most, this.#outbox.room(recipient));
    let given = this.#giveConnections(recipient, max);
    if (given < max) given += this.#giveAccepted(recipient, max - given);
    if (given === 0) {
      this.#row.refused();
      return;
    }
    this.#row.gave(recipient, given);
    this.#outbox.deliver(recipient);
    this.#init.traced?.({
      ...{ from: worker, to: recipient, reason: slack === null ? 'round' : 'overload' },
      ...{ events: movable + queued, moved: given, outstanding: move.outstanding },
      ...{ roundsSinceGave: move.roundsSinceGave, candidates: move.candidates, best: move.best },
      pauseUs: 0,
    });
  };

  /** The latest first: those would wait longest here. */
  #giveConnections(recipient: number, max: number): number {
    const connections = this.#waiting[3] as number;
    let given = 0;
    for (let i = connections - 1; i >= 0 && given < max; i--) {
      const result = this.#give(this.#waiting[COUNTS + i] as number, recipient);
      if (result === 'failed') break;
      if (result === 'given') given++;
    }
    return given;
  }

  #give(fd: number, recipient: number): 'given' | 'failed' | 'stays' {
    let failed = false;
    const result = this.#tracking.give(fd, ({ listener, boundary }) => {
      const hand = this.#hand;
      const copy = hand.make(() => duplicate(fd));
      failed = copy < 0 || copy >= this.#table.movableMax;
      if (failed) {
        if (copy >= 0) hand.discard(close);
        return false;
      }
      const sent = { fd: copy, listener, boundary };
      this.#outbox.connection(recipient, EntryKind.CONNECTION, sent, hand);
      return true;
    });
    if (result === 'mismatch') this.#row.mismatched();
    if (!failed) return result === 'given' ? 'given' : 'stays';
    this.#row.failed();
    return 'failed';
  }

  #giveAccepted(recipient: number, max: number): number {
    const [, , , connections = 0, listeners = 0] = this.#waiting;
    const hand = this.#hand;
    let given = 0;
    for (let i = 0; i < listeners && given < max; i++) {
      const listening = this.#waiting[COUNTS + connections + i] as number;
      const { listener } = this.#table.read(listening);
      // A connection that moves is none more; one that nobody has accepted is.
      while (given < max && this.#capacity.room(recipient) > 0) {
        if (!this.#row.enter(this.#capacity.placesMax)) return given;
        const fd = hand.accept(() => acceptOne(listening));
        if (fd < 0) {
          this.#row.leave();
          break; // the queue is empty; or EMFILE, which is seen by who accepts for itself
        }
        const sent = { fd, listener, boundary: 0 };
        this.#outbox.connection(recipient, EntryKind.ACCEPTED, sent, hand);
        given++;
        if (fd >= this.#table.movableMax) return given;
      }
    }
    return given;
  }

  /** What `other` has to do, as far as can be seen without asking it. */
  #outstanding(other: number): number {
    if (inPoll(this.#board.peer(other))) return 0;
    return Math.max(1, this.#board.outstanding(other));
  }

  /** Workers that have slept for a good part of the time since they were last asked. */
  #slackers(): Set<number> {
    const slackers = new Set<number>();
    const at = now();
    for (const other of this.#init.rings.flat()) {
      const idle = idleMs(this.#board.peer(other));
      if (Number.isNaN(idle)) continue;
      const before = this.#slept.get(other);
      this.#slept.set(other, { idle, at });
      if (before === undefined) continue;
      if (idle - before.idle >= SLACK * (at - before.at)) slackers.add(other);
    }
    return slackers;
  }

  #giveBack = (): void => {
    if (this.#tracking.size === 0) return;
    const { workers, random, batchMax } = this.#init;
    const idle: number[] = [];
    for (let worker = 0; worker < workers; worker++) {
      if (this.#board.receives(worker) && inPoll(this.#board.peer(worker))) idle.push(worker);
    }
    if (idle.length === 0) return;
    this.#row.round();
    const given = new Map<number, number>();
    let left = batchMax;
    for (const fd of [...this.#tracking.descriptors()]) {
      const best = frontier(idle, [
        (worker) => given.get(worker) ?? 0,
        (worker) => -this.#row.roundsSinceGave(worker),
        (worker) => this.#board.connections(worker),
      ]);
      const recipient = best[below(random, best.length)] as number;
      if (this.#outbox.room(recipient) === 0) break;
      const result = this.#give(fd, recipient);
      if (result === 'failed') break;
      if (result !== 'given') continue;
      given.set(recipient, (given.get(recipient) ?? 0) + 1);
      if (--left === 0) break;
    }
    const events = this.#tracking.size + batchMax - left;
    for (const [recipient, moved] of given) {
      const roundsSinceGave = this.#row.roundsSinceGave(recipient);
      this.#row.gave(recipient, moved);
      this.#outbox.deliver(recipient);
      this.#init.traced?.({
        ...{ from: this.#init.worker, to: recipient, reason: 'return', events, moved },
        ...{ outstanding: 0, roundsSinceGave, candidates: idle.length, best: given.size },
        pauseUs: 0,
      });
    }
  };
}
