/**
 * Keeps workers alive: starts them, starts them again, replaces them while they serve, and
 * ends them. Main thread only.
 *
 * A *seat* is a worker as its operator sees it: a number and a CPU. Threads come and go on it.
 *
 *     current   the thread that serves, or is to; dead for a moment after its death
 *     next      its replacement, which does not listen yet
 *     leaving   the thread that was replaced, until its last connection has gone
 *
 * Each seat has two slots of shared memory, so there are never more than two threads on it:
 * while one is leaving, a replacement waits.
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
import { GyreError, workerError } from '../errors.js';
import { stuckMs } from '../native.js';
import type { EndReason } from './api.js';
import type { Slots } from './slots.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';

/** A worker that served for so long did not die of how it starts. No evidence for more or less. */
const SERVED_MS = 1_000;
/** Before the second try to start a worker, and the longest before any. */
const BACKOFF_MS = 100;
const BACKOFF_MAX_MS = 10_000;
/** So that workers which died together do not start together. */
const JITTER = 0.25;

/** How often heartbeats are read where nobody says who stands still: a share of `hangMs`. */
const HANG_LOOKS = 4;
const HANG_LOOK_MAX_MS = 1_000;
/** How long a worker that seems to hang is looked at again: the whole process may have stood still. */
const HANG_SURE_MS = 100;

export interface SupervisorOptions {
  readonly restarts: number;
  readonly restartsWithinMs: number;
  readonly hangMs: number;
  readonly startMs: number;
  /** Of every seat that there may be. */
  readonly cpus: readonly (number | null)[];
  readonly slots: Slots;
  /** From 0 to 1; for the delays. */
  random(): number;
}

export interface SupervisorEvents {
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

interface Seat {
  readonly index: number;
  readonly cpu: number | null;
  current: WorkerHandle | null;
  next: WorkerHandle | null;
  leaving: WorkerHandle | null;
  /** Until it is started again. */
  timer: NodeJS.Timeout | null;
  /** Deaths in a row, each within SERVED_MS. */
  quickDeaths: number;
  servesSince: number | null;
  /** When its latest thread was started. */
  startedAt: number;
  /** Settles when the last replacement has been made. */
  replacing: Promise<void>;
  /** Settles when a replacement that starts has taken over, or has failed. */
  taking: Promise<void>;
  /** One starts of which that depends: if it fails, and its predecessor has died, another starts. */
  takes: boolean;
}

export interface Replacement {
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
  readonly #suspects = new Map<WorkerHandle, NodeJS.Timeout>();
  /** Threads that hang and are being replaced. */
  readonly #hung = new Set<WorkerHandle>();
  /** Those of them that are counted as dead. */
  readonly #condemned = new WeakSet<WorkerHandle>();
  readonly #terminated = new WeakMap<WorkerHandle, Promise<void>>();
  /** Replacements that did not come to listen. */
  readonly #failed = new WeakSet<WorkerHandle>();
  #watch: NodeJS.Timeout | undefined;
  /** The runtime has started: from here on deaths are mended. */
  #mends = false;
  #over = false;

  constructor(options: SupervisorOptions, events: SupervisorEvents) {
    this.#options = options;
    this.#events = events;
    this.#seats = options.cpus.map((cpu, index) => ({
      ...{ index, cpu, current: null, next: null, leaving: null, timer: null },
      ...{ quickDeaths: 0, servesSince: null, startedAt: 0, takes: false },
      ...{ replacing: Promise.resolve(), taking: Promise.resolve() },
    }));
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
    return this.#seats
      .flatMap(({ current, next, leaving }) => [current, next, leaving])
      .filter((thread) => thread !== null)
      .filter(({ state }) => state !== 'exited');
  }

  at(slot: number): WorkerHandle | null {
    const { current, next, leaving } = this.#seats[this.#options.slots.indexOf(slot)] as Seat;
    return [next, current, leaving].find((thread) => thread?.slot === slot) ?? null;
  }

  /** The slot of the thread that `slot` is to replace, while both run. */
  replaces(slot: number): number | null {
    const { current, next, leaving } = this.#seats[this.#options.slots.indexOf(slot)] as Seat;
    if (next?.slot === slot) return current?.slot ?? null;
    return current?.slot === slot ? (leaving?.slot ?? null) : null;
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
    return this.#seats.some(
      (seat) => seat.timer !== null || seat.takes || loads(seat) || died(seat),
    );
  }

  /** Starts worker `index` for the first time. @throws GyreError */
  begin(index: number, make?: (seat: number) => WorkerHandle): WorkerHandle {
    const seat = this.#seats[index] as Seat;
    this.#count = Math.max(this.#count, index + 1);
    const worker = make?.(index) ?? this.#spawn(seat);
    seat.current = worker;
    this.#follow(seat, worker);
    return worker;
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
    const { hangMs } = this.#options;
    if (hangMs === 0 || this.#over) return;
    const every = Math.min(hangMs / HANG_LOOKS, HANG_LOOK_MAX_MS);
    const look = () => {
      for (const worker of this.workers) if (this.stuckMs(worker) >= every) this.stalled(worker);
    };
    this.#watch = setInterval(look, every).unref();
  }

  /** Nothing is started or replaced any more. */
  close(): void {
    this.#over = true;
    clearInterval(this.#watch);
    for (const timer of this.#suspects.values()) clearTimeout(timer);
    this.#suspects.clear();
    for (const seat of this.#seats) {
      if (seat.timer !== null) clearTimeout(seat.timer);
      seat.timer = null;
    }
  }

  /** For how long `worker` has not returned to its loop; 0 while it sleeps there. */
  stuckMs({ state, wakeId }: WorkerHandle): number {
    if (wakeId === null || state === 'exited') return 0;
    return stuckMs(wakeId);
  }

  /** `worker` stands still; if it does so for `hangMs`, it is replaced. */
  stalled(worker: WorkerHandle): void {
    const limit = this.#hangMsOf(worker);
    if (limit === null || this.#over || hasEnded(worker) || worker.lost) return;
    if (this.#suspects.has(worker) || this.#hung.has(worker)) return;
    // Timers cut fractions off, and nobody tells of the same stall a second time.
    const wait = Math.max(Math.ceil(limit - this.stuckMs(worker)) + 1, 0);
    const look = () => {
      this.#suspects.delete(worker);
      if (!this.#hangs(worker)) return;
      this.#suspects.set(
        worker,
        setTimeout(() => {
          this.#suspects.delete(worker);
          if (!this.#hangs(worker)) return;
          this.#onHang(worker, this.stuckMs(worker));
        }, HANG_SURE_MS),
      );
    };
    this.#suspects.set(worker, setTimeout(look, wait).unref());
  }

  /** One that loads its program may take as long as it may to listen. Null: for ever. */
  #hangMsOf({ state }: WorkerHandle): number | null {
    const { hangMs, startMs } = this.#options;
    if (hangMs === 0 || (state === 'starting' && startMs === Number.POSITIVE_INFINITY)) return null;
    return state === 'starting' ? Math.max(hangMs, startMs) : hangMs;
  }

  /**
   * Whether `worker` hangs. If it stands still in something else by now, of which nobody tells
   * while it is suspected of the first, that is looked at in its turn.
   */
  #hangs(worker: WorkerHandle): boolean {
    const stuck = this.stuckMs(worker);
    const limit = this.#hangMsOf(worker);
    if (stuck === 0 || limit === null || this.#over) return false;
    if (stuck >= limit) return true;
    this.stalled(worker);
    return false;
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
        await this.#freed(seat);
        if (this.#over) throw closedError();
        const worker = this.#spawn(seat);
        this.#succeed(seat, worker);
        this.#follow(seat, worker);
        const listens = this.#listens(worker, null);
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

  #filled(): Seat[] {
    return this.#seats.slice(0, this.#count);
  }

  #spawn(seat: Seat): WorkerHandle {
    const slots = this.#options.slots.of(seat.index);
    const taken = [seat.current, seat.next, seat.leaving]
      .filter((thread) => thread !== null && thread.state !== 'exited')
      .map((thread) => thread?.slot);
    const free = slots.find((slot) => !taken.includes(slot));
    if (free === undefined) throw lostError(seat.index);
    seat.startedAt = performance.now();
    return this.#events.spawn(seat.index, free, seat.cpu);
  }

  #follow(seat: Seat, worker: WorkerHandle): void {
    worker.on('message', ({ kind }) => {
      if (kind !== 'ready') return;
      if (seat.current === worker) seat.servesSince = performance.now();
      this.#settle();
    });
    worker.on('exit', (exit) => this.#onExit(seat, worker, exit));
  }

  #onExit(seat: Seat, worker: WorkerHandle, exit: WorkerExit): void {
    const suspect = this.#suspects.get(worker);
    if (suspect !== undefined) clearTimeout(suspect);
    this.#suspects.delete(worker);
    const why = this.#whyEnded(seat, worker);
    if (seat.next === worker) seat.next = null;
    if (seat.leaving === worker) seat.leaving = null;
    let restartInMs: number | null = null;
    let limit: GyreError | null = null;
    if (seat.current === worker && seat.next !== null && !this.#over) {
      // It had a replacement already, which has the other slot.
      this.#promote(seat);
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

  /** @returns after how long another thread starts */
  #mendDeath(seat: Seat): number {
    const served = seat.servesSince === null ? 0 : performance.now() - seat.servesSince;
    seat.quickDeaths = served >= SERVED_MS ? 0 : seat.quickDeaths + 1;
    seat.servesSince = null;
    const delay =
      seat.quickDeaths === 0
        ? 0
        : Math.min(BACKOFF_MS * 2 ** (seat.quickDeaths - 1), BACKOFF_MAX_MS) *
          (1 + JITTER * (2 * this.#options.random() - 1));
    if (seat.timer !== null) clearTimeout(seat.timer);
    seat.timer = setTimeout(() => this.#restart(seat), delay);
    return Math.round(delay);
  }

  #restart(seat: Seat): void {
    seat.timer = null;
    try {
      const worker = this.#spawn(seat);
      this.#succeed(seat, worker);
      this.#follow(seat, worker);
    } catch (error) {
      this.#mendDeath(seat);
      this.#events.failed(workerError(seat.index, error));
    }
  }

  /** `worker` has the place of one that has ended, or is lost. */
  #succeed(seat: Seat, worker: WorkerHandle): void {
    if (seat.timer !== null) clearTimeout(seat.timer);
    seat.timer = null;
    if (seat.current?.lost) seat.leaving = seat.current;
    seat.current = worker;
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

  /** The replacement takes over. */
  #promote(seat: Seat): void {
    seat.current = seat.next;
    seat.next = null;
    seat.servesSince = seat.current?.state === 'serving' ? performance.now() : null;
  }

  /** Puts another thread in the place of the one that serves. Null: that had died by itself. */
  async #takeOver(seat: Seat, { hangs, begins }: Replacement): Promise<WorkerHandle | null> {
    await this.#freed(seat);
    const old = seat.current;
    if (this.#over || old === null) throw closedError();
    if (hangs !== undefined && old !== hangs) return null; // it was replaced while this one waited
    const dead = hasEnded(old) || old.lost;
    if (dead && seat.timer === null) return null; // nobody starts it again
    // A program that has not listened for so long never will; its successor need not either.
    const since = performance.now() - this.#options.startMs;
    const neverListens = !dead && old.state === 'starting' && seat.startedAt < since;
    begins?.();
    const next = this.#spawn(seat);
    if (dead) this.#succeed(seat, next);
    else seat.next = next;
    seat.takes = true;
    this.#follow(seat, next);
    // One that computes for ever has the CPU that this one starts on. But what can move needs somebody
    // to move to.
    if (hangs !== undefined && this.#anotherAnswers(seat)) void settled(this.#terminate(old));
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
    this.#promote(seat);
    seat.quickDeaths = 0;
    return old;
  }

  #leave(seat: Seat, old: WorkerHandle, { drainMs, hangs }: Replacement): Promise<void> {
    if (hangs !== undefined) return this.#terminate(old);
    return this.#retire(old, seat.current?.slot ?? null, drainMs);
  }

  /** Whether somebody serves who has not `seat`, and does not stand still. */
  #anotherAnswers(seat: Seat): boolean {
    return this.#filled().some(
      ({ index, current }) =>
        index !== seat.index &&
        current?.state === 'serving' &&
        this.stuckMs(current) < HANG_SURE_MS,
    );
  }

  /** Once for each worker, however often it is called. */
  #terminate(worker: WorkerHandle): Promise<void> {
    const terminated = this.#terminated.get(worker) ?? this.#evacuateAndTerminate(worker);
    this.#terminated.set(worker, terminated);
    return terminated;
  }

  async #evacuateAndTerminate(worker: WorkerHandle): Promise<void> {
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

  /** Resolves when nobody is leaving `seat` who will ever have left, so that a slot is free. */
  async #freed({ leaving }: Seat): Promise<void> {
    if (leaving !== null) await leaving.ended();
  }

  /** Resolves when `worker` listens; or when its thread runs, if `old` still does not listen then. */
  #listens(worker: WorkerHandle, old: WorkerHandle | null): Promise<void> {
    const { startMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = Number.isFinite(startMs)
        ? setTimeout(() => reject(notListening(worker, startMs)), startMs)
        : undefined;
      worker.on('message', ({ kind }) => {
        if (kind !== 'ready' && !(kind === 'up' && old?.state === 'starting')) return;
        clearTimeout(timer);
        resolve();
      });
      worker.on('exit', (exit) => {
        clearTimeout(timer);
        reject(endedEarly(worker, exit));
      });
    });
  }

  async #empty(seat: Seat, drainMs: number): Promise<void> {
    if (seat.timer !== null) clearTimeout(seat.timer);
    seat.timer = null;
    const worker = seat.current;
    if (worker === null || worker.state === 'exited') return;
    if (drainMs > 0) {
      await this.#retire(worker, null, drainMs);
      return;
    }
    worker.stop();
    await worker.ended();
  }

  async #onHang(worker: WorkerHandle, stuck: number): Promise<void> {
    this.#hung.add(worker);
    await this.#replaceHung(worker, stuck);
    this.#hung.delete(worker);
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
    if (this.#hangs(worker)) await this.#terminate(worker);
    if (!worker.lost) this.#condemned.delete(worker);
    else if (seat.current !== worker || !this.#isFilled(seat)) return;
    else if (seat.next === null) this.#mendDeath(seat);
    else {
      // As after its death.
      seat.leaving = worker;
      this.#promote(seat);
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

/** Of worker `index` a thread is lost. */
export function lostError(index: number): GyreError {
  return new GyreError(
    'ERR_GYRE_STUCK',
    `worker ${index} was terminated and does not end: it is in a system call that does not return`,
    { worker: index },
  );
}

export function closedError(): GyreError {
  return new GyreError('ERR_GYRE_CLOSED', 'the runtime is closing or closed');
}

function notListening(worker: WorkerHandle, startMs: number): GyreError {
  return new GyreError(
    'ERR_GYRE_WORKER_EXITED',
    `worker ${worker.index} does not listen on anything after ${startMs} ms`,
    { worker: worker.index, ...(worker.listenError && { cause: worker.listenError }) },
  );
}

/** A worker that ended before it listened, as an error. */
export function endedEarly(worker: WorkerHandle, exit: WorkerExit): GyreError {
  if (exit.error !== undefined) return workerError(worker.index, exit.error);
  return new GyreError(
    'ERR_GYRE_WORKER_EXITED',
    `worker ${worker.index} ended with code ${exit.code} before it listened on anything`,
    { worker: worker.index, ...(worker.listenError && { cause: worker.listenError }) },
  );
}
