/**
 * The simulated governor: native/watcher.cc and src/workers/governor.ts, that is DESIGN's safepoint
 * and spares. What it decides costs CPU time here.
 *
 * On a large machine it may be several threads, each for the workers of its share: those that
 * are near to each other.
 */
import { type Criterion, frontier } from '../../src/scheduler/frontier.js';
import type { Move } from '../../src/scheduler/move.js';
import { withSpares } from '../../src/scheduler/neighbourhood.js';
import { below } from '../../src/scheduler/random.js';
import type { Connection } from './connection.js';
import type { Thread } from './machine.js';
import { type Carrier, Chooser, outstanding, type Searching, type Surroundings } from './moving.js';
import type { Worker } from './worker.js';

export const TRIGGERS = ['all-still', 'none-idle'] as const;
export const GIVE_BACKS = ['stay', 'between'] as const;
export const AMOUNTS = ['half', 'all'] as const;

export interface Governing {
  /** Threads of the governor. */
  readonly governors: number;
  readonly tickMs: number;
  /** CPU time without progress, in ticks, for which a worker with something ready counts as stuck. */
  readonly stuckTicks: number;
  /** CPU time of a tick, and of the look at each worker in it. */
  readonly wakeMs: number;
  readonly lookMs: number;
  /** CPU time to see what one worker has ready; once in a tick for each. */
  readonly peekMs: number;
  /** How long a pause takes, of the victim's time and of the governor's. */
  readonly pauseMs: number;
  /** And for each connection in it. */
  readonly takeMs: number;
  /** CPU time of the governor beside the pause: to decide, to deliver, and for each connection. */
  readonly decideMs: number;
  readonly deliverMs: number;
  readonly sendMs: number;
  /** CPU time for a spare to give one connection back. */
  readonly giveMs: number;
  /** Connections that one pause handles at most. */
  readonly batchMax: number;
  /** What a worker that stands still gives: half, as by the scheduler, or all that waits. */
  readonly amount: (typeof AMOUNTS)[number];
  /** When spares are given connections, the workers having no candidate. */
  readonly trigger: (typeof TRIGGERS)[number];
  /** Whether spares give connections back as soon as those stand between two messages. */
  readonly giveBack: (typeof GIVE_BACKS)[number];
}

/** So many ticks in which nothing waited are the last ones. */
const QUIET_MAX = 4;

/** Ticks after which a worker without progress is stuck even if it got no CPU. */
const WAITS_MAX = 8;

/** A thread of the governor, and the workers that it looks after. */
interface Share {
  readonly thread: Thread;
  readonly workers: readonly Worker[];
  /** Whom it has looked into in this tick. */
  readonly peeked: Set<number>;
  ticking: boolean;
  /** Ticks in a row in which nothing waited. */
  quiet: number;
}

/** What the watcher knows of a worker. */
interface Seen {
  progress: number;
  usedMs: number;
  /** Ticks in a row without progress; and with something ready and stuck. */
  still: number;
  stalled: number;
}

export class Governor {
  readonly #governing: Governing;
  readonly #at: Surroundings;
  readonly #carrier: Carrier;
  readonly #chooser: Chooser;
  readonly #shares: readonly Share[];
  readonly #shareOf: readonly Share[];
  readonly #seen: readonly Seen[];
  /** Whom it has looked into since it last paid for that. */
  readonly #toPeek = new Set<number>();
  #allStill = false;
  #noneIdle = false;

  constructor(governing: Governing & Searching, at: Surroundings, carrier: Carrier) {
    this.#governing = governing;
    this.#at = at;
    this.#carrier = carrier;
    this.#chooser = new Chooser(governing, withSpares(at.rings, at.workers.length), at);
    const { workers, regular, machine } = at;
    const order = [...at.order, ...workers.slice(regular).map(({ index }) => index)];
    const perShare = Math.ceil(order.length / governing.governors);
    this.#shares = Array.from({ length: Math.ceil(order.length / perShare) }, (_, share) => ({
      thread: machine.thread(null),
      workers: order
        .slice(share * perShare, (share + 1) * perShare)
        .map((index) => workers[index] as Worker),
      ...{ peeked: new Set<number>(), ticking: false, quiet: 0 },
    }));
    const shareOf: Share[] = [];
    for (const share of this.#shares) for (const { index } of share.workers) shareOf[index] = share;
    this.#shareOf = shareOf;
    this.#seen = workers.map(() => ({ progress: -1, usedMs: 0, still: 0, stalled: 0 }));
  }

  /** Something waits for `worker`. */
  notice(worker: number): void {
    const share = this.#shareOf[worker] as Share;
    if (share.ticking) return;
    share.ticking = true;
    share.quiet = 0;
    this.#wake(share);
  }

  served(worker: Worker): void {
    if (this.#governing.giveBack === 'between') this.#giveBack(worker);
  }

  #spend(share: Share, ms: number, then: () => void): void {
    this.#carrier.tally.governorMs += ms;
    this.#at.machine.run(share.thread, ms, then);
  }

  #sleep(share: Share): void {
    this.#at.clock.after(this.#governing.tickMs, () => this.#wake(share));
  }

  #wake(share: Share): void {
    const { wakeMs, lookMs } = this.#governing;
    this.#spend(share, wakeMs + lookMs * share.workers.length, () => this.#tick(share));
  }

  #tick(share: Share): void {
    const { regular, workers } = this.#at;
    share.peeked.clear();
    let waiting = false;
    for (const worker of share.workers) {
      this.#look(worker);
      waiting ||= worker.ready.length + worker.mail.length > 0;
    }
    if (workers.length > regular) {
      const all = workers.slice(0, regular);
      this.#allStill = all.every(({ index }) => this.#isStill(index));
      this.#noneIdle = all.every(({ inPoll }) => !inPoll);
    }
    if (this.#governing.giveBack === 'between') {
      for (const worker of share.workers.filter(({ index }) => index >= regular)) {
        if (worker.inPoll && this.#giveBack(worker)) worker.wake();
        waiting ||= this.#carrier.held(worker.index).size > 0;
      }
    }
    share.quiet = waiting ? 0 : share.quiet + 1;
    share.ticking = share.quiet < QUIET_MAX;
    if (!share.ticking) return;
    const victims = share.workers.filter(({ index }) => this.#isStalled(index));
    this.#rescue(share, victims, 0);
  }

  #look(worker: Worker): void {
    const { tickMs, stuckTicks } = this.#governing;
    const seen = this.#seen[worker.index] as Seen;
    const progress = worker.loops + worker.messages;
    const usedMs = this.#at.machine.usedMs(worker.thread);
    if (worker.inPoll || progress !== seen.progress) {
      Object.assign(seen, { progress, usedMs, still: 0, stalled: 0 });
      return;
    }
    seen.still++;
    const isStuck = usedMs - seen.usedMs >= stuckTicks * tickMs || seen.still >= WAITS_MAX;
    seen.stalled = isStuck && worker.ready.length + worker.mail.length > 0 ? seen.stalled + 1 : 0;
  }

  #isStalled(worker: number): boolean {
    return (this.#seen[worker]?.stalled as number) > 0;
  }

  #isStill(worker: number): boolean {
    return (this.#seen[worker]?.still as number) > 0;
  }

  /** Makes the moves of `victims`, one after the other, when it has spent `beforeMs`. */
  #rescue(share: Share, victims: readonly Worker[], beforeMs: number): void {
    const { pauseMs, takeMs, decideMs, deliverMs, sendMs } = this.#governing;
    let spentMs = beforeMs;
    for (const [at, victim] of victims.entries()) {
      const move = this.#decide(victim);
      spentMs += this.#chooser.takeCostMs();
      spentMs += this.#peekedMs(share);
      if (move === null) continue;
      const { count, recipient } = move;
      const pausedMs = pauseMs + takeMs * count;
      this.#at.machine.delay(victim.thread, pausedMs);
      const own = decideMs + deliverMs + sendMs * count;
      this.#spend(share, spentMs + pausedMs + own, () => {
        this.#carrier.deliver(this.#taken(victim, count), victim.index, recipient);
        this.#rescue(share, victims.slice(at + 1), 0);
      });
      return;
    }
    if (spentMs === 0) this.#sleep(share);
    else this.#spend(share, spentMs, () => this.#sleep(share));
  }

  /** What is ready, and then what is in the mailbox, as native/taking.cc goes about it. */
  #taken(victim: Worker, count: number): Connection[] {
    const taken = victim.take(count, 'oldest');
    return [...taken, ...victim.recall(count - taken.length)];
  }

  /** What it has to pay for looking into workers since it was last asked. */
  #peekedMs(share: Share): number {
    let count = 0;
    for (const worker of this.#toPeek) {
      if (share.peeked.has(worker)) continue;
      share.peeked.add(worker);
      count++;
    }
    this.#toPeek.clear();
    return count * this.#governing.peekMs;
  }

  #decide(victim: Worker): Move | null {
    this.#toPeek.add(victim.index);
    const waiting = victim.ready.length + victim.mail.length;
    const most = Math.min(waiting, this.#governing.batchMax);
    if (most === 0) return null;
    // What it is at counts as one.
    const move = this.#chooser.choose(
      victim.index,
      waiting + 1,
      (worker) => this.#accepts(worker),
      (worker) => this.#outstanding(worker),
    );
    if (move === null) return null;
    const count = this.#governing.amount === 'all' ? most : Math.min(move.count, most);
    return { recipient: move.recipient, count };
  }

  #outstanding(index: number): number {
    this.#toPeek.add(index);
    return outstanding(this.#at.workers[index] as Worker);
  }

  #accepts(worker: number): boolean {
    if (this.#isStill(worker)) return false;
    if (worker < this.#at.regular) return true;
    return this.#governing.trigger === 'all-still' ? this.#allStill : this.#noneIdle;
  }

  /** A spare gives all that it can to workers that can act. Whether that was anything. */
  #giveBack(spare: Worker): boolean {
    const held = this.#carrier.held(spare.index);
    if (spare.index < this.#at.regular || held.size === 0) return false;
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
        outstanding(workers[worker] as Worker) + (back.get(worker)?.length ?? 0) / 1000;
      const best = frontier(acting, [m0]);
      const to = best[below(random, best.length)] as number;
      back.set(to, [...(back.get(to) ?? []), connection]);
    }
    for (const [to, connections] of back) {
      this.#carrier.deliver(connections, spare.index, to);
    }
    spare.spend(idle.length * this.#governing.giveMs);
    return idle.length > 0;
  }
}
