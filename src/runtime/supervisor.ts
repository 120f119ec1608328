/**
 * Keeps workers alive: starts them, starts them again, replaces them while they serve, and
 * ends them. Main thread only. Each worker is a seat (seat.ts), on which threads come and go:
 *
 *     death     current dies ------------------> another current, after a delay if it was quick
 *     replace   next starts, listens; current becomes leaving, next becomes current; leaving gives
 *               what can move to current, and ends. A reload, a full heap and a hang are all
 *               this; from a worker that hangs the governor takes what can move, and its thread is
 *               terminated.
 *
 * If current dies while next starts, next is its successor. If next does not start, current goes on.
 *
 * A thread that is *lost* was terminated and does not end. It keeps its slot, and as leaving nobody
 * waits for it; the seat goes on with the other slot, but nothing can be replaced there.
 */
import { closedError, GyreError, lostError, workerError } from '../errors.js';
import { stepBack } from '../native.js';
import type { EndReason } from './api.js';
import { HangWatch, type HangWatchOptions } from './hang-watch.js';
import { notListening, whenListening } from './readiness.js';
import { Seat } from './seat.js';
import type { Slots } from './slots.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';

/**
 * How much nicer a thread that hangs becomes before its successor starts on the same CPU: if it computes for ever it
 * leaves nine tenths of that CPU, and at the full level it might not get to its end on a full machine.
 */
const STEP_BACK_LEVELS = 10;

interface SupervisorOptions extends HangWatchOptions {
  readonly restarts: number;
  readonly restartsWithinMs: number;
  /** Of every seat that there may be. */
  readonly cpus: readonly (number | null)[];
  readonly slots: Slots;
  /** From 0 to 1; for the delays. */
  random(): number;
}

interface SupervisorEvents {
  /** @throws GyreError if it cannot */
  spawn(index: number, slot: number, cpu: number | null): WorkerHandle;
  /**
   * A thread has ended, and its slot is free once this returns.
   *
   * @param restartInMs null: it is not started again
   */
  ended(worker: WorkerHandle, exit: WorkerExit, why: EndReason, restartInMs: number | null): void;
  /** Too many have died: nothing is started any more. */
  gaveUp(error: GyreError): void;
  /** A worker could not be started again; another try follows. */
  failed(error: GyreError): void;
  /** A worker hangs and is about to be replaced. Resolves when it may be terminated. */
  hung(worker: WorkerHandle, stuckMs: number): Promise<void>;
  /** Takes what can move from a thread that does not answer, and what it accepts from. */
  evacuate(worker: WorkerHandle): Promise<void>;
  /** Nobody starts any more. */
  settled(): void;
  /** Every worker has ended by itself. */
  allEnded(): void;
}

interface Replacement {
  /** How long what is left on the old thread may live on. */
  readonly drainMs: number;
  /** The thread to be replaced, which does not answer; void if another has its place by then. */
  readonly hangs?: WorkerHandle;
  /** Called just before the new thread starts. */
  begins?(): void;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #events: SupervisorEvents;
  readonly #seats: Seat[];
  /** Seats below this number are to be filled. */
  #count = 0;
  readonly #deaths: number[] = [];
  readonly #hangs: HangWatch;
  /** Threads that hang, are being replaced, and are counted as dead. */
  readonly #condemned = new WeakSet<WorkerHandle>();
  /** Replacements that did not come to listen. */
  readonly #failed = new WeakSet<WorkerHandle>();
  /** The runtime has started: from here on deaths are mended. */
  #mends = false;
  #over = false;

  constructor(options: SupervisorOptions, events: SupervisorEvents) {
    this.#options = options;
    this.#events = events;
    this.#hangs = new HangWatch(options, (worker, stuck) => this.#replaceHung(worker, stuck));
    this.#seats = options.cpus.map((cpu, index) => new Seat(index, cpu));
  }

  get count(): number {
    return this.#count;
  }

  /** One for each worker: the thread that serves, or did so last. */
  get workers(): WorkerHandle[] {
    return this.#filled().flatMap(({ current }) => current ?? []);
  }

  /** Every thread that has not ended. */
  get threads(): WorkerHandle[] {
    return this.#seats.flatMap(({ threads }) => threads);
  }

  at(slot: number): WorkerHandle | null {
    return this.#seatOf(slot).at(slot);
  }

  /** The slot of the thread that `slot` is to replace, while both run. */
  replaces(slot: number): number | null {
    return this.#seatOf(slot).replaces(slot);
  }

  /** Whether somebody is about to start, or does not listen yet. */
  get starts(): boolean {
    if (this.#over) return false;
    // Some programs never listen: they are not waited for longer than any other.
    const since = performance.now() - this.#options.startMs;
    const loads = ({ current, startedAt }: Seat) =>
      this.#mends && current?.state === 'starting' && startedAt > since;
    // Before mend() nobody is started again, but will be.
    const died = ({ current }: Seat) =>
      !this.#mends && current !== null && hasEnded(current) && !current.endIsExpected;
    return this.#seats.some((seat) => seat.waits || seat.takes || loads(seat) || died(seat));
  }

  /** Starts worker `index` for the first time. @throws GyreError */
  begin(index: number, make?: () => WorkerHandle): WorkerHandle {
    const seat = this.#seats[index] as Seat;
    this.#count = Math.max(this.#count, index + 1);
    return this.#fill(seat, make?.());
  }

  /** From here on those that die are started again. */
  mend(): void {
    this.#mends = true;
    for (const seat of this.#filled()) {
      if (seat.current?.state === 'exited' && !seat.current.endIsExpected) this.#mendDeath(seat);
    }
    this.#checkWhetherAllEnded();
  }

  /** Looks for workers that hang by itself, where nobody calls {@link stalled}. */
  watchForHangs(): void {
    this.#hangs.lookAt(() => this.workers);
  }

  /** Nothing is started or replaced any more. */
  close(): void {
    this.#over = true;
    this.#hangs.close();
    for (const seat of this.#seats) seat.stopWaiting();
  }

  /** `worker` stands still; if it does so for `hangMs`, it is replaced. */
  stalled(worker: WorkerHandle): void {
    this.#hangs.stalled(worker);
  }

  /**
   * Replaces the thread of worker `index` while it serves: `taken` resolves when the new one listens
   * and the old one was told to go, `ended` when that has ended.
   *
   * Both reject with ERR_GYRE_RELOAD if the new one does not start; the old one goes on.
   */
  replace(index: number, how: Replacement): { taken: Promise<void>; ended: Promise<void> } {
    const seat = this.#seats[index] as Seat;
    const begun = seat.replacing.then(() => {
      const taking = this.#takeOver(seat, how);
      seat.taking = settled(taking);
      return taking;
    });
    const left = begun.then((old) => ({
      ended: old === null ? null : this.#leave(seat, old, how),
    }));
    const ended = left.then(async (leaving) => {
      await leaving.ended;
    });
    seat.replacing = settled(ended);
    const taken = left.then(() => {});
    taken.catch(() => {}); // it rejects as `ended` does, and most callers wait for that one only
    return { taken, ended };
  }

  /**
   * Fills seats below `count`, and empties those above. Resolves when the new ones listen and the
   * others have ended.
   */
  async resize(count: number, drainMs: number): Promise<void> {
    const before = this.#count;
    this.#count = count;
    const added = this.#seats.slice(before, count);
    const started: Promise<void>[] = [];
    try {
      for (const seat of added) {
        await seat.freed();
        if (this.#over) throw closedError();
        const listens = this.#listens(this.#fill(seat), null);
        listens.catch(() => {}); // seen below, unless the next one cannot even start
        started.push(listens);
      }
      await Promise.all(started);
    } catch (error) {
      this.#count = before;
      await Promise.all(added.map((seat) => this.#vacate(seat, 0)));
      throw error;
    }
    await Promise.all(this.#seats.slice(count, before).map((seat) => this.#vacate(seat, drainMs)));
  }

  /** Ends whoever has `seat`, and whoever is to have it. */
  #vacate(seat: Seat, drainMs: number): Promise<void> {
    const vacated = seat.replacing.then(() => this.#empty(seat, drainMs));
    seat.replacing = settled(vacated);
    return vacated;
  }

  /** Whether somebody is to have `seat`. */
  #isFilled({ index }: Seat): boolean {
    return index < this.#count && !this.#over;
  }

  #seatOf(slot: number): Seat {
    return this.#seats[this.#options.slots.indexOf(slot)] as Seat;
  }

  #filled(): Seat[] {
    return this.#seats.slice(0, this.#count);
  }

  #spawn(seat: Seat): WorkerHandle {
    const taken = seat.threads.map(({ slot }) => slot);
    const free = this.#options.slots.of(seat.index).find((slot) => !taken.includes(slot));
    if (free === undefined) throw lostError(seat.index);
    seat.startedAt = performance.now();
    return this.#events.spawn(seat.index, free, seat.cpu);
  }

  /** Puts a thread in the place of whoever was there last, and is no longer. @throws GyreError */
  #fill(seat: Seat, worker = this.#spawn(seat)): WorkerHandle {
    seat.succeed(worker);
    this.#follow(seat, worker);
    return worker;
  }

  #follow(seat: Seat, worker: WorkerHandle): void {
    worker.on('message', ({ kind }) => {
      if (kind !== 'ready') return;
      seat.serves(worker);
      this.#settle();
    });
    worker.on('exit', (exit) => this.#onExit(seat, worker, exit));
  }

  #onExit(seat: Seat, worker: WorkerHandle, exit: WorkerExit): void {
    this.#hangs.ended(worker);
    const why = this.#whyEnded(seat, worker);
    if (seat.next === worker) seat.next = null;
    if (seat.leaving === worker) seat.leaving = null;
    let restartInMs: number | null = null;
    let limit: GyreError | null = null;
    if (seat.current === worker && seat.next !== null && !this.#over) {
      // It had a replacement already, which has the other slot.
      seat.promote();
      restartInMs = 0;
      if (why === 'died') limit = this.#countDeath(worker, exit);
    } else if (seat.current === worker && this.#mends && this.#isFilled(seat)) {
      if (why === 'died') limit = this.#countDeath(worker, exit);
      // One that did not start has nobody to go back to if it was a successor.
      const again = why === 'died' || why === 'not-started';
      if (again && limit === null) restartInMs = this.#mendDeath(seat);
    }
    this.#events.ended(worker, exit, why, restartInMs);
    if (limit !== null) this.#events.gaveUp(limit);
    this.#settle();
    this.#checkWhetherAllEnded();
  }

  #checkWhetherAllEnded(): void {
    if (this.#over || !this.#mends || this.starts) return;
    if (this.#filled().some(({ current }) => current?.state !== 'exited')) return;
    this.#events.allEnded();
  }

  #whyEnded(seat: Seat, worker: WorkerHandle): EndReason {
    if (this.#over) return 'closed';
    if (seat.next === worker || this.#failed.has(worker)) return 'not-started';
    if (seat.leaving === worker || seat.index >= this.#count) return 'replaced';
    return worker.endIsExpected && !this.#condemned.has(worker) ? 'finished' : 'died';
  }

  /** @returns after how long another thread starts, in ms */
  #mendDeath(seat: Seat): number {
    return seat.startAgain(() => this.#restart(seat), this.#options.random);
  }

  #restart(seat: Seat): void {
    try {
      this.#fill(seat);
    } catch (error) {
      this.#mendDeath(seat);
      this.#events.failed(workerError(seat.index, error));
    }
  }

  /** Null, or the error that says that there were too many deaths. */
  #countDeath(worker: WorkerHandle, exit: WorkerExit): GyreError | null {
    const { restarts, restartsWithinMs } = this.#options;
    if (this.#condemned.has(worker)) return null; // when it was
    const now = performance.now();
    this.#deaths.push(now);
    while ((this.#deaths[0] as number) < now - restartsWithinMs) this.#deaths.shift();
    if (this.#deaths.length <= restarts) return null;
    this.close();
    const { length } = this.#deaths;
    return new GyreError(
      'ERR_GYRE_RESTARTS',
      `deaths of workers within ${restartsWithinMs} ms: ${length}, and restarts allows ${restarts}`,
      { worker: worker.index, ...(exit.error !== undefined && { cause: exit.error }) },
    );
  }

  /** Puts another thread in the place of the one that serves. Null: that had died by itself. */
  async #takeOver(seat: Seat, { hangs, begins }: Replacement): Promise<WorkerHandle | null> {
    await seat.freed();
    const old = seat.current;
    if (this.#over || old === null) throw closedError();
    if (hangs !== undefined && old !== hangs) return null; // it was replaced while this one waited
    const dead = hasEnded(old) || old.lost;
    if (dead && !seat.waits) return null; // nobody starts it again
    // A program that has not listened for so long never will; its successor need not either.
    const since = performance.now() - this.#options.startMs;
    const neverListens = !dead && old.state === 'starting' && seat.startedAt < since;
    begins?.();
    if (hangs !== undefined && old.wakeId !== null) stepBack(old.wakeId, STEP_BACK_LEVELS);
    const next = this.#spawn(seat);
    if (dead) seat.succeed(next);
    else seat.next = next;
    seat.takes = true;
    this.#follow(seat, next);
    try {
      await this.#listens(next, neverListens ? old : null);
      if (hasEnded(next)) throw new Error('it ended as soon as it listened');
    } catch (cause) {
      if (seat.next === next) {
        seat.next = null;
        if (!hasEnded(next)) seat.leaving = next; // it has the other slot for a moment more
      }
      this.#failed.add(next);
      next.stop();
      await next.ended();
      seat.takes = false;
      this.#settle();
      throw new GyreError(
        'ERR_GYRE_RELOAD',
        `the replacement of worker ${seat.index} did not start: ${(cause as Error).message}`,
        { worker: seat.index, cause },
      );
    }
    seat.takes = false;
    this.#settle();
    if (seat.next !== next) return null; // the old one has died meanwhile
    seat.leaving = old;
    seat.promote();
    seat.forgive();
    return old;
  }

  #leave(seat: Seat, old: WorkerHandle, { drainMs, hangs }: Replacement): Promise<void> {
    if (hangs !== undefined) return this.#terminate(old);
    return this.#retire(old, seat.current?.slot ?? null, drainMs);
  }

  async #terminate(worker: WorkerHandle): Promise<void> {
    if (hasEnded(worker)) return; // and somebody else may have its slot
    await this.#events.evacuate(worker);
    worker.terminate();
    await worker.ended();
  }

  async #retire(worker: WorkerHandle, heir: number | null, drainMs: number): Promise<void> {
    worker.retire(heir);
    const timer = Number.isFinite(drainMs) ? setTimeout(() => worker.stop(), drainMs) : undefined;
    await worker.ended();
    clearTimeout(timer);
  }

  /** Resolves when `worker` listens; or when its thread runs, if `old` still does not listen then. */
  #listens(worker: WorkerHandle, old: WorkerHandle | null): Promise<void> {
    const { startMs } = this.#options;
    return whenListening(worker, {
      startMs,
      late: () => notListening(worker, startMs),
      suffices: (said) => said === 'up' && old?.state === 'starting',
    });
  }

  async #empty(seat: Seat, drainMs: number): Promise<void> {
    seat.stopWaiting();
    const worker = seat.current;
    if (worker === null || worker.state === 'exited') return;
    if (drainMs > 0) {
      await this.#retire(worker, null, drainMs);
      return;
    }
    worker.stop();
    await worker.ended();
  }

  async #replaceHung(worker: WorkerHandle, stuck: number): Promise<void> {
    await this.#events.hung(worker, stuck);
    if (this.#over || hasEnded(worker)) return;
    if (this.#options.slots.isSpare(worker.slot)) {
      await this.#terminate(worker);
      return;
    }
    const seat = this.#seats[worker.index] as Seat;
    await seat.taking; // another one may be about to take over
    if (this.#over || hasEnded(worker)) return;
    if (seat.current !== worker || worker.state === 'draining') {
      await this.#terminate(worker);
      return;
    }
    const limit = this.#countDeath(worker, { code: 1, error: undefined });
    this.#condemned.add(worker);
    if (limit !== null) {
      this.#events.gaveUp(limit);
      return;
    }
    try {
      // Somebody who leaves may have the other slot for long, and then this one must end first.
      if (seat.leaving === null) {
        await this.replace(worker.index, { drainMs: 0, hangs: worker }).ended;
      }
    } catch {
      // Nothing can be started. After the thread's end it is tried again and again.
    }
    // Or it was replaced for another reason, and has not ended by that.
    if (this.#hangs.hangs(worker)) await this.#terminate(worker);
    if (!worker.lost) this.#condemned.delete(worker);
    else if (seat.current !== worker || !this.#isFilled(seat)) return;
    else if (seat.next === null) this.#mendDeath(seat);
    else {
      // As after its death.
      seat.leaving = worker;
      seat.promote();
    }
  }

  #settle(): void {
    if (!this.starts) this.#events.settled();
  }
}

/** Said of one that may have ended since it was last asked. */
function hasEnded({ state }: WorkerHandle): boolean {
  return state === 'exited';
}

/** Resolves when `what` has settled, however. */
function settled(what: Promise<unknown>): Promise<void> {
  return what.then(
    () => {},
    () => {},
  );
}
