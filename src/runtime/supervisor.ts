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
/** How long a thread may take to be terminated; it may be in a system call. */
const TERMINATE_MS = 5_000;

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
  /** Takes what can move from a thread that does not answer. */
  evacuate(slot: number): Promise<void>;
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
}

export interface Replacement {
  /** How long what is left on the old thread may live on. */
  readonly drainMs: number;
  /** It does not answer. */
  readonly hangs?: boolean;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #events: SupervisorEvents;
  readonly #seats: Seat[];
  /** Seats below this number are to be filled. */
  #count = 0;
  readonly #deaths: number[] = [];
  readonly #suspects = new Map<WorkerHandle, NodeJS.Timeout>();
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
      ...{ quickDeaths: 0, servesSince: null, startedAt: 0, replacing: Promise.resolve() },
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
    return this.#seats.some((seat) => seat.timer !== null || seat.next !== null || loads(seat));
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
    if (hangMs === 0) return;
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
    if (wakeId === null || (state !== 'serving' && state !== 'draining')) return 0;
    return stuckMs(wakeId);
  }

  /** `worker` stands still; if it does so for `hangMs`, it is replaced. */
  stalled(worker: WorkerHandle): void {
    const { hangMs } = this.#options;
    if (hangMs === 0 || this.#over || this.#suspects.has(worker)) return;
    // Timers cut fractions off, and nobody tells of the same stall a second time.
    const wait = Math.max(Math.ceil(hangMs - this.stuckMs(worker)) + 1, 0);
    const look = () => {
      this.#suspects.delete(worker);
      if (this.stuckMs(worker) < hangMs) return;
      this.#suspects.set(
        worker,
        setTimeout(() => {
          this.#suspects.delete(worker);
          const stuck = this.stuckMs(worker);
          if (stuck >= hangMs && !this.#over) this.#onHang(worker, stuck);
        }, HANG_SURE_MS),
      );
    };
    this.#suspects.set(worker, setTimeout(look, wait).unref());
  }

  /**
   * Replaces the thread of worker `index` while it serves: `taken` resolves when the new one listens
   * and the old one was told to go, `ended` when that has ended.
   *
   * Both reject with ERR_GYRE_RELOAD if the new one does not start; the old one goes on.
   */
  replace(index: number, how: Replacement): { taken: Promise<void>; ended: Promise<void> } {
    const seat = this.#seats[index] as Seat;
    const begun = seat.replacing.then(() => this.#takeOver(seat));
    const left = begun.then((old) => ({
      ended: old === null ? null : this.#leave(seat, old, how),
    }));
    const ended = left.then(async (leaving) => {
      await leaving.ended;
    });
    seat.replacing = ended.catch(() => {});
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
        const worker = this.#spawn(seat);
        seat.current = worker;
        this.#follow(seat, worker);
        started.push(this.#listens(worker, false));
      }
      await Promise.all(started);
    } catch (error) {
      this.#count = before;
      await Promise.all(added.map((seat) => this.#empty(seat, 0)));
      throw error;
    }
    await Promise.all(this.#seats.slice(count, before).map((seat) => this.#empty(seat, drainMs)));
  }

  #filled(): Seat[] {
    return this.#seats.slice(0, this.#count);
  }

  #spawn(seat: Seat): WorkerHandle {
    const slots = this.#options.slots.of(seat.index);
    const taken = [seat.current, seat.leaving]
      .filter((thread) => thread !== null && thread.state !== 'exited')
      .map((thread) => thread?.slot);
    const free = slots.find((slot) => !taken.includes(slot));
    if (free === undefined) throw new RangeError(`worker ${seat.index} has no free slot`);
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
    if (seat.current === worker && seat.next !== null) {
      // It had a replacement already, which has the other slot.
      this.#promote(seat);
      restartInMs = 0;
      limit = this.#countDeath(worker, exit);
    } else if (why === 'died' && seat.current === worker && this.#mends) {
      limit = this.#countDeath(worker, exit);
      if (limit === null) restartInMs = this.#mendDeath(seat);
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
    return worker.endIsExpected ? 'finished' : 'died';
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
    seat.timer = setTimeout(() => this.#restart(seat), delay);
    return Math.round(delay);
  }

  #restart(seat: Seat): void {
    seat.timer = null;
    try {
      const worker = this.#spawn(seat);
      seat.current = worker;
      this.#follow(seat, worker);
    } catch (error) {
      this.#mendDeath(seat);
      this.#events.failed(workerError(seat.index, error));
    }
  }

  /** Null, or the error that says that there were too many deaths. */
  #countDeath(worker: WorkerHandle, exit: WorkerExit): GyreError | null {
    const { restarts, restartsWithinMs } = this.#options;
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
  async #takeOver(seat: Seat): Promise<WorkerHandle | null> {
    await this.#freed(seat);
    const old = seat.current;
    if (this.#over || old === null) throw closedError();
    if (old.state === 'exited') return null; // it is being started again, with what is new
    const next = this.#spawn(seat);
    seat.next = next;
    this.#follow(seat, next);
    try {
      await this.#listens(next, old.state === 'starting');
    } catch (cause) {
      if (seat.next === next) seat.next = null;
      if (next.state !== 'exited') seat.leaving = next; // it has the other slot for a moment more
      this.#failed.add(next);
      next.stop();
      await next.ended();
      throw new GyreError(
        'ERR_GYRE_RELOAD',
        `the replacement of worker ${seat.index} did not start: ${(cause as Error).message}`,
        { worker: seat.index, cause },
      );
    }
    if (seat.next !== next) return null; // the old one has died meanwhile
    seat.leaving = old;
    this.#promote(seat);
    seat.quickDeaths = 0;
    return old;
  }

  #leave(seat: Seat, old: WorkerHandle, { drainMs, hangs = false }: Replacement): Promise<void> {
    if (hangs) return this.#terminate(old);
    return this.#retire(old, seat.current?.slot ?? null, drainMs);
  }

  async #terminate(worker: WorkerHandle): Promise<void> {
    await this.#events.evacuate(worker.slot);
    worker.terminate();
    await within(worker.ended(), TERMINATE_MS);
  }

  async #retire(worker: WorkerHandle, heir: number | null, drainMs: number): Promise<void> {
    worker.retire(heir);
    const timer = Number.isFinite(drainMs) ? setTimeout(() => worker.stop(), drainMs) : undefined;
    await worker.ended();
    clearTimeout(timer);
  }

  /** Resolves when nobody is leaving `seat`, so that a slot is free. */
  async #freed({ leaving }: Seat): Promise<void> {
    if (leaving !== null) await leaving.ended();
  }

  /** Resolves when `worker` listens; or, with `merelyRuns`, when its thread runs. */
  #listens(worker: WorkerHandle, merelyRuns: boolean): Promise<void> {
    const { startMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = Number.isFinite(startMs)
        ? setTimeout(() => reject(notListening(worker, startMs)), startMs)
        : undefined;
      worker.on('message', ({ kind }) => {
        if (kind !== 'ready' && !(merelyRuns && kind === 'up')) return;
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
    await this.#events.hung(worker, stuck);
    if (this.#over || worker.state === 'exited') return;
    if (this.#options.slots.isSpare(worker.slot) || worker.state === 'draining') {
      await this.#terminate(worker);
      return;
    }
    const limit = this.#countDeath(worker, { code: 1, error: undefined });
    if (limit !== null) {
      this.#events.gaveUp(limit);
      return;
    }
    try {
      await this.replace(worker.index, { drainMs: 0, hangs: true }).ended;
    } catch {
      // Nothing can be started. Without the thread it is tried again and again.
      if (!this.#over) await this.#terminateAndMend(worker);
    }
  }

  async #terminateAndMend(worker: WorkerHandle): Promise<void> {
    await this.#terminate(worker);
    const seat = this.#seats[worker.index] as Seat;
    if (seat.current === worker && worker.state === 'exited' && !this.#over) this.#mendDeath(seat);
  }

  #settle(): void {
    if (!this.starts) this.#events.settled();
  }
}

function within(what: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    what.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
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
