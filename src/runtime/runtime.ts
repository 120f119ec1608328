/**
 * The runtime as a whole: what its user may ask of it, and how it starts, is reloaded and closes. Main
 * thread only. What it is made of is assembly.ts; what its user hears of it, announcer.ts.
 */
import { EventEmitter } from 'node:events';
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { Admin } from '../admin/admin.js';
import { isObserved } from '../admin/wanted.js';
import { closedError, GyreError, lostError } from '../errors.js';
import type { RunOptions } from '../job-request.js';
import { absolutePath, durationMs, integerIn } from '../option-checks.js';
import type { ListenAddress } from '../protocol.js';
import { addCounts } from '../scheduler/worker-row.js';
import { Announcer } from './announcer.js';
import type {
  AdminAddresses,
  CloseOptions,
  ReloadOptions,
  Runtime,
  RuntimeEvents,
  RuntimeState,
  Snapshot,
  WorkerEnd,
  WorkerInfo,
} from './api.js';
import { Assembly, type InlineFactory } from './assembly.js';
import { type Capabilities, requireCapabilities, without } from './capabilities.js';
import { movesOf } from './move-counts.js';
import type { RuntimePlan } from './plan.js';
import { checkEntry } from './program.js';
import { warnNotListening, whenListening } from './readiness.js';
import type { ResolvedOptions } from './resolved-options.js';
import type { Sources } from './sources/api.js';
import type { WorkerHandle } from './worker-handle.js';

/**
 * How long a connection that has begun may take to be one, when the runtime closes: some round trips to
 * what is near, as a load balancer. One from farther away may be reset.
 */
const HANDSHAKE_MS = 20;

export class GyreRuntime extends EventEmitter<RuntimeEvents> implements Runtime {
  capabilities: Capabilities;
  readonly #options: ResolvedOptions;
  readonly #plan: RuntimePlan;
  readonly #announcer: Announcer;
  readonly #parts: Assembly;
  /** Where operators look; null: nowhere, or not yet. */
  #admin: Admin | null = null;
  #state: RuntimeState = 'starting';
  #closing: Promise<void> | null = null;
  /** Calls of reload() and resize(), one after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Workers that listened and ended while others still started, or the system was examined. */
  readonly #endedEarly: WorkerEnd[] = [];

  constructor(options: ResolvedOptions, plan: RuntimePlan) {
    super();
    this.#options = options;
    this.#plan = plan;
    this.capabilities = plan.machine.capabilities;
    const { slots, rings } = plan;
    this.#announcer = new Announcer(this, { name: options.name, slots, rings });
    this.#parts = new Assembly(options, plan, this.#announcer, {
      state: () => this.#state,
      ended: (end) => {
        if (this.#state === 'starting') this.#endedEarly.push(end);
        else this.#announcer.ended(end);
      },
      closes: (signal, drainMs) => this.#closeFor(signal, drainMs),
    });
  }

  get addresses(): readonly ListenAddress[] {
    return [...this.#parts.listeners.addresses(), ...this.#parts.own.all];
  }

  get workers(): readonly WorkerInfo[] {
    return this.#parts.supervisor.workers.map((worker) => this.#announcer.infoOf(worker));
  }

  get spares(): readonly WorkerInfo[] {
    return this.#parts.spares.handles.map((spare) => this.#announcer.infoOf(spare));
  }

  get sources(): Sources {
    return this.#parts.sources;
  }

  get admin(): AdminAddresses {
    return {
      endpoint: this.#admin?.endpoint?.address ?? null,
      agentCheck: this.#admin?.agentCheck?.address ?? null,
    };
  }

  get state(): RuntimeState {
    return this.#state;
  }

  get handledSignals(): readonly NodeJS.Signals[] {
    return this.#parts.signals.handled;
  }

  get ready(): boolean {
    return (
      this.#state === 'serving' &&
      this.#parts.supervisor.workers.some(({ state }) => state === 'serving') &&
      this.addresses.length > 0
    );
  }

  snapshot(): Snapshot {
    const { scoreboard, supervisor, spares, blame, jobs, sources } = this.#parts;
    const { slots, rings } = this.#plan;
    const read = ({ slot, index }: WorkerHandle) => {
      const row = scoreboard.read(slot);
      const twin = slots.twin(slot);
      // What the threads before this one counted is the worker's, too.
      return { ...(twin === null ? row : addCounts(row, scoreboard.read(twin))), index };
    };
    return {
      takenAtMs: performance.now(),
      workers: supervisor.workers.map(read),
      spares: spares.handles.map(read),
      moves: movesOf(scoreboard, slots, rings),
      blamed: blame?.blamed ?? [],
      jobs: jobs.snapshot(),
      sources: sources.list(),
    };
  }

  async run<Result>(job: string | URL, value?: unknown, options: RunOptions = {}): Promise<Result> {
    if (this.#closing !== null) throw closedError();
    return this.#parts.jobs.run(job, value, options) as Promise<Result>;
  }

  close(options: CloseOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    return this.#closeOnce(drainMs, null);
  }

  async reload(options: ReloadOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    const entry = options.entry === undefined ? null : absolutePath('entry', options.entry);
    if (this.#options.workers === 'inline') {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `workers: 'inline' runs the program on the calling thread, which cannot be replaced`,
      );
    }
    if (entry !== null) await checkEntry(entry);
    return this.#change(() => this.#reload(entry, drainMs));
  }

  async resize(workers: number): Promise<void> {
    integerIn('workers', workers, 1, this.#plan.slots.workers);
    return this.#change(() => this.#parts.supervisor.resize(workers, this.#options.drainMs));
  }

  /**
   * Spawns every worker and resolves when each listens. Rejects with the first error, and with
   * ERR_GYRE_CLOSED if a signal has closed it meanwhile: workers serve before all of them do.
   */
  async start(inline: InlineFactory | null): Promise<void> {
    const { supervisor, signals, sources, moving } = this.#parts;
    let moves = false;
    try {
      await this.#openAdmin();
      signals.begin();
      await this.#startWorkers(inline);
      if (moving !== null) moves = this.#accepts(await moving.check());
      if (moves && this.#closing === null) await this.#parts.startMoving();
      const died = this.#endedEarly.find(({ error }) => error !== null);
      if (died !== undefined) throw died.error;
      if (this.#closing !== null) throw closedError();
    } catch (error) {
      const closed = this.#closing !== null;
      await this.close({ drainMs: 0 }).catch(() => {}); // the first error is the one to know
      throw closed ? closedError() : error;
    }
    this.#state = 'serving';
    sources.settled();
    if (!moves) supervisor.watchForHangs();
    // When whoever waits for the runtime has had a chance to listen.
    setImmediate(() => {
      for (const end of this.#endedEarly) this.#announcer.ended(end);
      if (this.#closing === null) supervisor.mend();
    });
  }

  async #openAdmin(): Promise<void> {
    if (!isObserved(this.#options)) return;
    const { Admin } = await import('../admin/admin.js');
    const { name, placement } = this.#options;
    this.#admin = await Admin.open(this.#options, {
      ...{ runtime: this, name, placement },
      threads: () => this.#parts.threads,
      sockets: () =>
        this.#parts.listeners.sockets().map(({ worker, ...socket }) => ({
          ...socket,
          worker: worker === null ? null : this.#plan.slots.indexOf(worker),
        })),
    });
  }

  /** Resolves when all of them listen, or have not done so for `startMs`. */
  async #startWorkers(inline: InlineFactory | null): Promise<void> {
    const { startMs } = this.#options;
    const make = inline === null ? undefined : () => this.#parts.inline(inline);
    const listening: Promise<void>[] = [];
    for (let index = 0; index < this.#plan.count; index++) {
      const worker = this.#parts.supervisor.begin(index, make);
      const listens = whenListening(worker, {
        startMs,
        late: () => {
          warnNotListening(worker, startMs);
          return null;
        },
      });
      listens.catch(() => {}); // seen below, unless the next thread cannot even start
      listening.push(listens);
    }
    await Promise.all(listening);
  }

  /**
   * Whether connections move here.
   *
   * @param unfit why not, or null
   * @throws GyreError `ERR_GYRE_CAPABILITY` if they must
   */
  #accepts(unfit: string | null): boolean {
    if (unfit === null) return true;
    this.capabilities = without(this.capabilities, ['move', 'widen'], unfit);
    requireCapabilities(this.capabilities, this.#options.require);
    return false;
  }

  #change(make: () => Promise<void>): Promise<void> {
    const change = this.#changes.then(() => {
      if (this.#closing !== null) throw closedError();
      return make();
    });
    this.#changes = change.catch(() => {});
    return change;
  }

  async #reload(entry: string | null, drainMs: number): Promise<void> {
    const { supervisor, spares, program } = this.#parts;
    const ends: Promise<void>[] = [];
    try {
      for (let index = 0; index < supervisor.count; index++) {
        const { taken, ended } = supervisor.replace(index, {
          drainMs,
          begins: () => program.reloads(index, entry),
        });
        ends.push(ended);
        ended.catch(() => {}); // seen below
        await taken;
      }
      if (entry !== null) program.adopt(entry);
      spares.replace();
    } finally {
      program.endReload();
      await Promise.allSettled(ends);
    }
    this.emit('reload');
  }

  /** Closes of its own accord, or for `signal`. */
  #closeFor(signal: NodeJS.Signals | null, drainMs = this.#options.drainMs): void {
    if (signal !== null && this.#closing !== null) {
      // As a shell reports a process that the signal ended.
      process.exit(128 + os.constants.signals[signal]);
    }
    this.#closeOnce(drainMs, signal).catch(() => {}); // of a lost thread was told when it was lost
  }

  #closeOnce(drainMs: number, signal: NodeJS.Signals | null): Promise<void> {
    if (this.#closing !== null) return this.#closing;
    // Known before it begins: a listener may call close() for what it hears of meanwhile.
    let begun: (closed: Promise<void>) => void = () => {};
    this.#closing = new Promise((resolve) => {
      begun = resolve;
    });
    begun(this.#shutDown(drainMs, signal));
    return this.#closing;
  }

  /**
   * @param signal what caused it: an application that listens for it is handed the
   *   signal and shuts itself down, within the same time.
   */
  async #shutDown(drainMs: number, signal: NodeJS.Signals | null): Promise<void> {
    const { sources, supervisor, spares, listeners, jobs, moving, blame, signals } = this.#parts;
    this.#state = 'closing';
    sources.stop();
    supervisor.close();
    spares.close();
    const all = this.#parts.threads;
    const closes = drainMs > 0 && this.#options.closing === 'refuse';
    // An application that shuts itself down may go on listening for a while.
    const alone = signal === null || !all.some((worker) => worker.handles(signal));
    if (closes && alone && listeners.dropHandshakes()) await delay(HANDSHAKE_MS);
    for (const worker of all) {
      if (signal !== null && worker.handles(signal)) worker.signal(signal);
      else if (drainMs > 0) worker.drain(this.#options.closing === 'serve');
    }
    const stop = () => {
      for (const worker of all) worker.stop();
      jobs.stop();
    };
    let timer: NodeJS.Timeout | undefined;
    if (drainMs === 0) stop();
    else if (Number.isFinite(drainMs)) timer = setTimeout(stop, drainMs);
    await Promise.all([...all.map((worker) => worker.ended()), jobs.drain()]);
    clearTimeout(timer);
    await jobs.close();
    sources.end();
    const lost = all.find((worker) => worker.lost);
    // It accepts nothing when it goes on, and closes what is its own.
    for (const worker of all) if (worker.lost) this.#parts.withdraw(worker);
    await moving?.stop();
    await blame?.close();
    listeners.close();
    signals.close();
    await this.#admin?.close();
    this.#state = 'closed';
    this.emit('close');
    if (lost !== undefined) throw lostError(lost.index);
  }
}
