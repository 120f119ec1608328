/**
 * The simulated rounds of workers that can still act: src/workers/rounds.ts and what native/loop.cc
 * decides before it. After a long iteration a worker gives half of what waits to a neighbour; and
 * one that has hardly slept gives a few connections to a neighbour that has.
 */
import { type Carrier, Chooser, type Searching, type Surroundings } from './moving.js';
import type { Worker } from './worker.js';

export interface Giving {
  /** A worker runs a round after an iteration longer than this. */
  readonly roundMs: number;
  /** And only if an event took it that long on average: else moving one costs more than it saves. */
  readonly worthMs: number;
  /** CPU time for a worker to give one connection. */
  readonly giveMs: number;
  /** Connections that it gives at most. */
  readonly batchMax: number;
  /** A worker that slept less than a tenth of such a window is overloaded. Infinity: none is. */
  readonly windowMs: number;
  /** CPU time to ask how long another worker has slept. */
  readonly sleepMs: number;
}

/** Share of a window. */
const OVERLOADED = 0.1;
/** Share of its time that a neighbour must have slept to be given short events. */
const SLACK = 0.5;
/** Most connections that an overloaded worker gives in a window. */
const SHORT_MAX = 8;

interface Seen {
  readonly idleMs: number;
  readonly atMs: number;
}

export class Rounds {
  readonly #giving: Giving;
  readonly #at: Surroundings;
  readonly #carrier: Carrier;
  readonly #chooser: Chooser;
  /** When the window of each worker began. */
  readonly #windows: Seen[];
  /** What each said that it has outstanding, at the end of its last iteration. */
  readonly #said: number[];
  /** By worker: how long others had slept when it last asked. */
  readonly #slept: readonly Map<number, Seen>[];

  constructor(giving: Giving & Searching, at: Surroundings, carrier: Carrier) {
    this.#giving = giving;
    this.#at = at;
    this.#carrier = carrier;
    this.#chooser = new Chooser(giving, at.rings, at);
    this.#windows = at.rings.map(() => ({ idleMs: 0, atMs: 0 }));
    this.#said = at.rings.map(() => 0);
    this.#slept = at.rings.map(() => new Map());
  }

  /** Worker `worker`, no spare, stands between two iterations. */
  iterated(worker: Worker, ms: number, handled: number): void {
    const { roundMs, worthMs, batchMax, giveMs } = this.#giving;
    const isOverloaded = this.#isOverloaded(worker);
    const isBrief = ms <= roundMs || ms < handled * worthMs;
    const isAsked = !isBrief || isOverloaded;
    const waiting = worker.ready.length;
    this.#said[worker.index] = isAsked ? waiting : 0;
    if (!isAsked || waiting <= 1) return;
    const slack = isBrief ? this.#slackers(worker) : null;
    if (slack?.size === 0) return;
    const move = this.#chooser.choose(
      worker.index,
      waiting,
      (other) => slack?.has(other) ?? true,
      (other) => (slack === null ? this.#outstanding(other) : 0),
    );
    worker.spend(this.#chooser.takeCostMs());
    if (move === null) return;
    const most = slack === null ? batchMax : Math.min(batchMax, SHORT_MAX);
    const taken = worker.take(Math.min(move.count, most), 'latest');
    worker.spend(taken.length * giveMs);
    this.#carrier.deliver(taken, worker.index, move.recipient);
  }

  /** As far as can be seen without asking it. */
  #outstanding(other: number): number {
    if (this.#at.workers[other]?.inPoll) return 0;
    return Math.max(1, this.#said[other] as number);
  }

  #isOverloaded(worker: Worker): boolean {
    const { windowMs } = this.#giving;
    const { idleMs, atMs } = this.#windows[worker.index] as Seen;
    const now: Seen = { idleMs: worker.idleMs, atMs: this.#at.clock.nowMs };
    if (now.atMs - atMs < windowMs) return false;
    this.#windows[worker.index] = now;
    return now.idleMs - idleMs < OVERLOADED * windowMs;
  }

  /** Those that have slept for a good part of the time since `worker` last asked. */
  #slackers(worker: Worker): Set<number> {
    const { rings, workers, clock } = this.#at;
    const seen = this.#slept[worker.index] as Map<number, Seen>;
    const slackers = new Set<number>();
    for (const other of (rings[worker.index] ?? []).flat()) {
      const { idleMs } = workers[other] as Worker;
      const before = seen.get(other);
      seen.set(other, { idleMs, atMs: clock.nowMs });
      worker.spend(this.#giving.sleepMs);
      if (before === undefined) continue;
      if (idleMs - before.idleMs >= SLACK * (clock.nowMs - before.atMs)) slackers.add(other);
    }
    return slackers;
  }
}
