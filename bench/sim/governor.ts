/**
 * The simulated governor: DESIGN's safepoint and spares, and the rounds of workers that
 * can still act. Decides with the scheduler's own code; what it decides costs CPU time here.
 *
 * On a large machine it may be several threads, each for the workers of its share.
 */
import { type Criterion, frontier } from '../../src/scheduler/frontier.js';
import { chooseMove, type Move } from '../../src/scheduler/move.js';
import type { Rings } from '../../src/scheduler/neighbourhood.js';
import { below, type Random } from '../../src/scheduler/random.js';
import type { Clock } from './clock.js';
import type { Connection } from './connection.js';
import type { Machine, Thread } from './machine.js';
import type { Worker } from './worker.js';

export const TRIGGERS = ['all-still', 'none-idle', 'after'] as const;
export const GIVE_BACKS = ['stay', 'between', 'idle'] as const;
export const AMOUNTS = ['half', 'all', 'spread'] as const;
export const ACCEPTS = ['not-stalled', 'not-still', 'in-poll'] as const;

export interface Governing {
  /** Threads of the governor. */
  readonly governors: number;
  readonly tickMs: number;
  /** At how many ticks in a row a worker must be in the same iteration, with something ready. */
  readonly stallTicks: number;
  /** A worker runs a round after an iteration longer than this. */
  readonly roundMs: number;
  /** CPU time of a look at one worker. */
  readonly lookMs: number;
  /** How long a pause takes, of the victim's time and of the governor's. */
  readonly pauseMs: number;
  /** And for each connection in it. */
  readonly takeMs: number;
  /** CPU time for a worker to give one connection itself. */
  readonly giveMs: number;
  /** Connections that one pause handles at most. */
  readonly batchMax: number;
  /** What a worker that stands still gives: half as by the scheduler, or all, to one or to several. */
  readonly amount: (typeof AMOUNTS)[number];
  /** Who may be given something. */
  readonly accept: (typeof ACCEPTS)[number];
  /** When spares are given connections, the workers having no candidate. */
  readonly trigger: (typeof TRIGGERS)[number];
  /** For the trigger 'after': how long a worker must have been stalled. */
  readonly triggerMs: number;
  /** When spares give connections back. */
  readonly giveBack: (typeof GIVE_BACKS)[number];
}

export interface Tally {
  moves: number;
  movedToSpares: number;
  connections: number;
  pauses: number;
  rounds: number;
  givenBack: number;
  /** CPU time of the governor. */
  governorMs: number;
  /** Connections moved from worker to worker, by how far. A spare is nowhere. */
  readonly byDistance: number[];
}

export interface Surroundings {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly random: Random;
  /** Workers, and after the first `regular` of them the spares. */
  readonly workers: readonly Worker[];
  readonly regular: number;
  readonly rings: readonly Rings[];
  /** Class of the distance between two workers. */
  distance(from: number, to: number): number;
}

/** A thread of the governor, and the workers that it looks after. */
interface Share {
  readonly thread: Thread;
  readonly workers: readonly Worker[];
  ticking: boolean;
  tickAtMs: number;
}

export class Governor {
  readonly tally: Tally = {
    ...{ moves: 0, movedToSpares: 0, connections: 0, pauses: 0, rounds: 0 },
    ...{ givenBack: 0, governorMs: 0 },
    byDistance: [],
  };
  readonly #governing: Governing;
  readonly #at: Surroundings;
  readonly #shares: readonly Share[];
  readonly #shareOf: readonly Share[];
  readonly #spares: readonly number[];
  readonly #rings: readonly Rings[];
  /** What each spare owns. */
  readonly #held: ReadonlyMap<number, Set<Connection>>;
  readonly #loops: number[];
  /** Ticks in a row at which a worker was in the same iteration; and with something ready. */
  readonly #still: number[];
  readonly #stalled: number[];
  /** Moves of each giver, and which of them was the last to whom. */
  readonly #rounds: number[];
  readonly #gave: readonly Map<number, number>[];
  #allStill = false;
  #noneIdle = false;

  constructor(governing: Governing, at: Surroundings) {
    this.#governing = governing;
    this.#at = at;
    const indices = at.workers.map(({ index }) => index);
    const perShare = Math.ceil(indices.length / governing.governors);
    this.#shares = Array.from({ length: Math.ceil(indices.length / perShare) }, (_, share) => ({
      thread: at.machine.thread(null),
      workers: at.workers.slice(share * perShare, (share + 1) * perShare),
      ...{ ticking: false, tickAtMs: 0 },
    }));
    this.#shareOf = indices.map((index) => this.#shares[Math.floor(index / perShare)] as Share);
    this.#spares = indices.slice(at.regular);
    const regular = indices.slice(0, at.regular);
    this.#rings = indices.map((index) => [
      ...(at.rings[index] ?? [regular]),
      this.#spares.filter((spare) => spare !== index),
    ]);
    this.#held = new Map(this.#spares.map((spare) => [spare, new Set()]));
    this.#loops = indices.map(() => -1);
    this.#still = indices.map(() => 0);
    this.#stalled = indices.map(() => 0);
    this.#rounds = indices.map(() => 0);
    this.#gave = indices.map(() => new Map());
  }

  /** Something became ready at `worker`. */
  notice(worker: number): void {
    const share = this.#shareOf[worker] as Share;
    if (share.ticking) return;
    share.ticking = true;
    share.tickAtMs = this.#at.clock.nowMs;
    for (const { index } of share.workers) {
      this.#still[index] = 0;
      this.#stalled[index] = 0;
      this.#loops[index] = -1;
    }
    this.#sleep(share);
  }

  /** A worker stands between two iterations. */
  iterated(worker: Worker, ms: number): void {
    if (ms <= this.#governing.roundMs || worker.ready.length <= 1) return;
    const move = this.#choose(worker.index, worker.ready.length, false);
    if (move === null) return;
    this.tally.rounds++;
    const taken = worker.take(Math.min(move.count, this.#governing.batchMax));
    worker.spend(taken.length * this.#governing.giveMs);
    this.#deliver(taken, worker.index, move.recipient);
  }

  served(worker: Worker): void {
    if (this.#governing.giveBack === 'between') this.#giveBack(worker);
  }

  idle(worker: Worker): void {
    if (this.#governing.giveBack === 'idle' && this.#giveBack(worker)) worker.wake();
  }

  #sleep(share: Share): void {
    const { clock, machine } = this.#at;
    share.tickAtMs = Math.max(share.tickAtMs + this.#governing.tickMs, clock.nowMs);
    clock.after(share.tickAtMs - clock.nowMs, () => {
      const ms = this.#governing.lookMs * share.workers.length;
      this.tally.governorMs += ms;
      machine.run(share.thread, ms, () => this.#tick(share));
    });
  }

  #tick(share: Share): void {
    const { regular, workers } = this.#at;
    let waiting = false;
    for (const { index, loops, inPoll, ready } of share.workers) {
      const same = !inPoll && loops === this.#loops[index];
      this.#loops[index] = loops;
      this.#still[index] = inPoll ? 0 : same ? (this.#still[index] as number) + 1 : 1;
      const before = same ? (this.#stalled[index] as number) : 0;
      this.#stalled[index] = !inPoll && ready.length > 0 ? before + 1 : 0;
      waiting ||= ready.length > 0;
    }
    if (this.#spares.length > 0) {
      const all = workers.slice(0, regular);
      this.#allStill = all.every(({ index }) => this.#isStill(index));
      this.#noneIdle = all.every(({ inPoll }) => !inPoll);
    }
    if (this.#governing.giveBack !== 'stay') {
      for (const worker of share.workers.filter(({ index }) => index >= regular)) {
        if (worker.inPoll && this.#giveBack(worker)) worker.wake();
        waiting ||= (this.#held.get(worker.index)?.size ?? 0) > 0;
      }
    }
    if (waiting)
      this.#rescue(
        share,
        share.workers.filter(({ index }) => this.#isStalled(index)),
      );
    else share.ticking = false;
  }

  #isStalled(worker: number): boolean {
    return (this.#stalled[worker] as number) >= this.#governing.stallTicks;
  }

  #isStill(worker: number): boolean {
    return (this.#still[worker] as number) >= this.#governing.stallTicks;
  }

  /** Makes the moves of `victims`, one after the other. */
  #rescue(share: Share, victims: readonly Worker[]): void {
    for (const [at, victim] of victims.entries()) {
      const moves = this.#decide(victim);
      if (moves.length === 0) continue;
      const count = moves.reduce((sum, move) => sum + move.count, 0);
      const ms = this.#governing.pauseMs + this.#governing.takeMs * count;
      this.#at.machine.delay(victim.thread, ms);
      this.tally.pauses++;
      this.tally.governorMs += ms;
      this.#at.machine.run(share.thread, ms, () => {
        for (const move of moves) {
          this.#deliver(victim.take(move.count), victim.index, move.recipient);
        }
        this.#rescue(share, victims.slice(at + 1));
      });
      return;
    }
    this.#sleep(share);
  }

  #decide(victim: Worker): Pick<Move, 'recipient' | 'count'>[] {
    const waiting = Math.min(victim.ready.length, this.#governing.batchMax);
    if (waiting === 0) return [];
    const { amount } = this.#governing;
    const slackers = amount === 'half' ? [] : this.#slackers(victim.index);
    if (slackers.length === 0) {
      const move = this.#choose(victim.index, victim.ready.length + 1, true);
      if (move === null) return [];
      // The one that stands still keeps none for itself.
      const count = amount === 'half' ? Math.min(move.count, waiting) : waiting;
      return [{ recipient: move.recipient, count }];
    }
    const costs: Criterion = (worker) => this.#gave[victim.index]?.get(worker) ?? 0;
    const recipients: number[] = [];
    const wanted = amount === 'all' ? 1 : Math.min(waiting, slackers.length);
    for (let left = slackers; recipients.length < wanted; ) {
      const best = frontier(left, [costs]);
      const recipient = best[below(this.#at.random, best.length)] as number;
      recipients.push(recipient);
      left = left.filter((worker) => worker !== recipient);
    }
    const round = (this.#rounds[victim.index] as number) + 1;
    this.#rounds[victim.index] = round;
    return recipients.map((recipient, at) => {
      this.#gave[victim.index]?.set(recipient, round);
      return { recipient, count: Math.floor((waiting + at) / recipients.length) };
    });
  }

  /** Workers with nothing outstanding, in the nearest ring that has any. */
  #slackers(giver: number): readonly number[] {
    for (const ring of this.#rings[giver] as Rings) {
      const found = ring.filter(
        (worker) =>
          worker !== giver && this.#accepts(worker, giver, true) && this.#outstanding(worker) === 0,
      );
      if (found.length > 0) return found;
    }
    return [];
  }

  #choose(giver: number, events: number, toSpares: boolean): Move | null {
    const round = (this.#rounds[giver] as number) + 1;
    const gave = this.#gave[giver] as Map<number, number>;
    const move = chooseMove({
      giver,
      events,
      rings: this.#rings[giver] as Rings,
      outstanding: (worker) => this.#outstanding(worker),
      roundsSinceGave: (worker) => round - (gave.get(worker) ?? 0),
      accepts: (worker) => this.#accepts(worker, giver, toSpares),
      random: this.#at.random,
    });
    if (move === null) return null;
    this.#rounds[giver] = round;
    gave.set(move.recipient, round);
    return move;
  }

  #outstanding(index: number): number {
    const { ready, mail, inPoll } = this.#at.workers[index] as Worker;
    return ready.length + (mail.length > 0 ? 1 : 0) + (inPoll ? 0 : 1);
  }

  #accepts(worker: number, giver: number, toSpares: boolean): boolean {
    const { tickMs, accept, trigger, triggerMs } = this.#governing;
    const isFit = {
      'not-stalled': () => !this.#isStalled(worker),
      'not-still': () => !this.#isStill(worker),
      'in-poll': () => this.#at.workers[worker]?.inPoll === true,
    }[accept]();
    if (!isFit) return false;
    if (worker < this.#at.regular) return true;
    if (!toSpares) return false;
    if (trigger === 'all-still') return this.#allStill;
    if (trigger === 'none-idle') return this.#noneIdle;
    return ((this.#stalled[giver] as number) - 1) * tickMs >= triggerMs;
  }

  #deliver(connections: readonly Connection[], from: number, to: number): void {
    if (connections.length === 0) return;
    const recipient = this.#at.workers[to] as Worker;
    const { tally } = this;
    tally.moves++;
    if (to >= this.#at.regular) tally.movedToSpares++;
    tally.connections += connections.length;
    if (from < this.#at.regular && to < this.#at.regular) {
      const distance = this.#at.distance(from, to);
      tally.byDistance[distance] = (tally.byDistance[distance] ?? 0) + connections.length;
    }
    for (const connection of connections) {
      this.#held.get(from)?.delete(connection);
      this.#held.get(to)?.add(connection);
      connection.owner = to;
      connection.moving = true;
      recipient.mail.push(connection);
    }
    recipient.wake();
  }

  /** A spare gives all that it can to workers that can act. Whether that was anything. */
  #giveBack(spare: Worker): boolean {
    const held = this.#held.get(spare.index);
    if (held === undefined || held.size === 0) return false;
    const { workers, regular, clock, random } = this.#at;
    const acting = workers
      .slice(0, regular)
      .filter(
        ({ inPoll, heartbeatMs }) => inPoll || clock.nowMs - heartbeatMs < this.#governing.tickMs,
      )
      .map(({ index }) => index);
    if (acting.length === 0) return false;
    const idle = [...held].filter(({ request, moving }) => request === null && !moving);
    const back = new Map<number, Connection[]>();
    for (const connection of idle) {
      const m0: Criterion = (worker) =>
        this.#outstanding(worker) + (back.get(worker)?.length ?? 0) / 1000;
      const best = frontier(acting, [m0]);
      const to = best[below(random, best.length)] as number;
      back.set(to, [...(back.get(to) ?? []), connection]);
    }
    for (const [to, connections] of back) {
      this.tally.givenBack += connections.length;
      this.#deliver(connections, spare.index, to);
    }
    spare.spend(idle.length * this.#governing.giveMs);
    return idle.length > 0;
  }
}
