/**
 * The runtime: starts the workers, serves their requests for sockets, and ends
 * them. Main thread only; it never touches a request.
 */
import { EventEmitter } from 'node:events';
import { constants as fsConstants } from 'node:fs';
import { access } from 'node:fs/promises';
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { Admin } from '../admin/admin.js';
import { isObserved, isTimed, timesRequests } from '../admin/wanted.js';
import { type ArenaRequest, arenaSource } from '../arena-registry.js';
import { GyreError, workerError } from '../errors.js';
import type { RunOptions } from '../job-request.js';
import { affinity, hasHelper, misalignmentOf, widenInChildren } from '../native.js';
import type {
  ArenaReply,
  ListenAddress,
  OverloadInit,
  Repinning,
  Reply,
  Request,
  SoftPinsInit,
  TracedMove,
} from '../protocol.js';
import { type Rings, ringsFor, withSpares, withTwins } from '../scheduler/neighbourhood.js';
import { Offers } from '../scheduler/offers.js';
import { seededRandom } from '../scheduler/random.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import type { Nearness } from '../scheduler/topology.js';
import { addCounts } from '../scheduler/worker-row.js';
import type {
  AdminAddresses,
  CloseOptions,
  EndReason,
  ReloadOptions,
  Runtime,
  RuntimeEvents,
  RuntimeState,
  Snapshot,
  WorkerEnd,
  WorkerInfo,
} from './api.js';
import { Blame } from './blame.js';
import {
  type Capabilities,
  detectCapabilities,
  requireCapabilities,
  without,
} from './capabilities.js';
import { checkJobFiles, type JobPlan, planJobs } from './job-options.js';
import { Jobs } from './jobs.js';
import { Listeners } from './listeners.js';
import { cpuQuota, descriptorLimit } from './machine.js';
import { movesOf, ringOf } from './moves.js';
import { Moving } from './moving.js';
import {
  durationMs,
  entryPath,
  hasLimit,
  integerIn,
  listenerAt,
  type ResolvedOptions,
} from './options.js';
import { planGrowth, planSpares, planWorkers } from './plan.js';
import { SignalRelay } from './signals.js';
import { Slots } from './slots.js';
import type { SourceFailure, Sources } from './sources/api.js';
import { RuntimeSources } from './sources/sources.js';
import { Spares } from './spares.js';
import { shown, stackOf } from './stack.js';
import { closedError, endedEarly, lostError, Supervisor } from './supervisor.js';
import { readTopology } from './sysfs.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';
import { WorkerThread } from './worker-thread.js';

/** Makes the worker of `workers: 'inline'`; injected, because main imports no worker code. */
export type InlineFactory = (
  options: ResolvedOptions,
  scoreboard: Scoreboard,
  offers: Int32Array<SharedArrayBuffer>,
  overload: OverloadInit,
) => WorkerHandle;

/** How long a worker must have stood still before the governor tells: it may be a hang. */
const STALLED_MS = 100;
/** The same, if somebody is to be blamed: to notice takes a tick or two. No evidence for more or less. */
const BLAME_MS = 5;

/**
 * How long a connection that has begun may take to be one, when the runtime closes: some round trips to
 * what is near, as a load balancer. One from farther away may be reset.
 */
const HANDSHAKE_MS = 20;

const SHUTDOWN_SIGNALS: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];
/** Kinds of failures of which a warning tells where nobody listens. */
const WARNINGS_MAX = 100;

class GyreRuntime extends EventEmitter<RuntimeEvents> implements Runtime {
  capabilities: Capabilities;
  readonly #options: ResolvedOptions;
  readonly #slots: Slots;
  readonly #scoreboard: Scoreboard;
  readonly #listeners: Listeners;
  readonly #supervisor: Supervisor;
  readonly #offers: Offers;
  readonly #sources: RuntimeSources;
  readonly #warned = new Set<string>();
  readonly #relay = new SignalRelay((signal) => this.#onSignal(signal));
  /** Addresses of sockets that workers opened themselves, by slot: exclusive, inline. */
  readonly #own = new Map<number, ListenAddress[]>();
  readonly #moving: Moving | null;
  readonly #blame: Blame | null;
  readonly #overload: OverloadInit;
  readonly #spares: Spares;
  /** Where operators look; null: nowhere, or not yet. */
  #admin: Admin | null = null;
  readonly #jobs: Jobs;
  readonly #inherited: readonly number[] | null;
  /** Of every worker that there may be. */
  readonly #rings: readonly Rings[];
  /** How many workers are started; `resize()` changes it. */
  readonly #count: number;
  /** What new workers run; a `reload()` that has succeeded changes it. */
  #entry: string;
  /** What those run that a reload has replaced, or is replacing: by their numbers. */
  readonly #reloaded = new Map<number, string>();
  /** Whether connections move: the system was found fit. */
  #moves = false;
  #closing: Promise<void> | null = null;
  #state: RuntimeState = 'starting';
  /** Calls of reload() and resize(), one after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Workers that listened and ended while others still started, or the system was examined. */
  readonly #endedEarly: WorkerEnd[] = [];
  /** Of the first worker that listened and then died while others still started. */
  #startError: GyreError | null = null;

  constructor(
    options: ResolvedOptions,
    capabilities: Capabilities,
    /** How many workers start. */
    count: number,
    /** Of every worker that there may be. */
    cpus: readonly (number | null)[],
    /** Of these. */
    rings: readonly Rings[],
    inherited: readonly number[] | null,
    /** Where the inherited CPUs are. */
    topology: Nearness | null,
    jobPlan: JobPlan,
  ) {
    super();
    const max = cpus.length;
    this.#options = options;
    this.#entry = options.entry;
    this.capabilities = capabilities;
    this.#count = count;
    this.#inherited = inherited;
    this.#rings = rings;
    const slots = new Slots(max, planSpares(options, capabilities, count, max));
    this.#slots = slots;
    this.#scoreboard = Scoreboard.create(slots.total, misalignmentOf);
    this.#listeners = new Listeners(capabilities.reusePort.available, options.backlog, {
      isSpare: (slot) => slots.isSpare(slot),
      replaces: (slot) => this.#supervisor.replaces(slot),
      awaitsSuccessor: () => this.#awaitsSuccessor(),
      moves: (address) =>
        address.family !== 'unix' && listenerAt(options.listeners, address)?.move !== false,
      send: (slot, message) => this.#handle(slot)?.send(message),
      granted: (slot, address) => this.#onListening(slot, address),
    });
    this.#spares = new Spares(slots.accepting, slots.spares, this.#scoreboard, {
      spawn: (slot) => this.#spawn(slots.indexOf(slot), slot, null),
    });
    const { restarts, restartsWithinMs, hangMs, startMs } = options;
    this.#supervisor = new Supervisor(
      {
        ...{ restarts, restartsWithinMs, hangMs, startMs, cpus, slots },
        random: Math.random,
      },
      {
        spawn: (index, slot, cpu) => this.#spawn(index, slot, cpu),
        ended: (worker, exit, why, restartInMs) => this.#onEnded(worker, exit, why, restartInMs),
        gaveUp: (error) => this.#giveUp(error),
        failed: (error) => this.#report(error),
        hung: (worker, stuckMs) => this.#onHung(worker, stuckMs),
        evacuate: (worker) => this.#evacuate(worker),
        settled: () => {
          this.#listeners.settle();
          this.#sources.settled();
        },
        allEnded: () => this.#closeFor(null, 0),
      },
    );
    this.#blame = options.blame
      ? new Blame(this.#scoreboard, (worker, stack) =>
          this.emit('stall', { worker: this.#infoOf(worker), stack }),
        )
      : null;
    this.#offers = Offers.create(slots.total, misalignmentOf);
    this.#sources = this.#makeSources(() =>
      withSpares(ringsFor(cpus, topology, 'first'), max + slots.spares),
    );
    const { maxConnections: connections, maxOutstanding: outstanding, overload } = options;
    const descriptorsMax = descriptorLimit();
    this.#overload = { limits: { connections, outstanding }, overload, descriptorsMax };
    this.#moving = this.#makeMoving(withTwins(rings), topology);
    const { name, jobs: names, jobPool, resourceLimits, scheduler } = options;
    this.#jobs = new Jobs(
      {
        ...{ name, names, ...jobPool, ...jobPlan, inherited, resourceLimits },
        ...{ seed: scheduler.seed, parallelism: os.availableParallelism() },
        env: () => environment(options.env),
      },
      (error) => this.#report(error),
    );
  }

  get addresses(): readonly ListenAddress[] {
    return [...this.#listeners.addresses(), ...[...this.#own.values()].flat()];
  }

  get workers(): readonly WorkerInfo[] {
    return this.#supervisor.workers.map((worker) => this.#infoOf(worker));
  }

  get spares(): readonly WorkerInfo[] {
    return this.#spares.handles.map((spare) => this.#infoOf(spare));
  }

  get sources(): Sources {
    return this.#sources;
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
    const signals = Object.keys(os.constants.signals) as NodeJS.Signals[];
    return signals.filter((signal) => this.#all().some((each) => each.handles(signal)));
  }

  get ready(): boolean {
    return (
      this.#state === 'serving' &&
      this.#supervisor.workers.some(({ state }) => state === 'serving') &&
      this.addresses.length > 0
    );
  }

  snapshot(): Snapshot {
    const read = ({ slot, index }: WorkerHandle) => {
      const row = this.#scoreboard.read(slot);
      const twin = this.#slots.twin(slot);
      // What the threads before this one counted is the worker's, too.
      return { ...(twin === null ? row : addCounts(row, this.#scoreboard.read(twin))), index };
    };
    return {
      takenAtMs: performance.now(),
      workers: this.#supervisor.workers.map(read),
      spares: this.#spares.handles.map(read),
      moves: movesOf(this.#scoreboard, this.#slots, this.#rings),
      blamed: this.#blame?.blamed ?? [],
      jobs: this.#jobs.snapshot(),
      sources: this.#sources.list(),
    };
  }

  async run<Result>(job: string | URL, value?: unknown, options: RunOptions = {}): Promise<Result> {
    if (this.#closing !== null) throw closedError();
    return this.#jobs.run(job, value, options) as Promise<Result>;
  }

  close(options: CloseOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    this.#closing ??= this.#shutDown(drainMs, null);
    return this.#closing;
  }

  async reload(options: ReloadOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    const entry = options.entry === undefined ? null : entryPath(options.entry);
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
    const max = this.#slots.workers;
    if (this.#options.workers === 'inline') integerIn('workers', workers, 1, 1);
    integerIn('workers', workers, 1, max);
    return this.#change(async () => {
      await this.#supervisor.resize(workers, this.#options.drainMs);
    });
  }

  /**
   * Spawns every worker and resolves when each listens. Rejects with the first error, and with
   * ERR_GYRE_CLOSED if a signal has closed it meanwhile: workers serve before all of them do.
   */
  async start(inline: InlineFactory): Promise<void> {
    const options = this.#options;
    const make = () =>
      this.#join(inline(options, this.#scoreboard, this.#offers.words, this.#overload));
    try {
      await this.#openAdmin();
      if (options.handleSignals) for (const signal of SHUTDOWN_SIGNALS) this.#relay.want(signal);
      const ready: Promise<void>[] = [];
      for (let index = 0; index < this.#count; index++) {
        const worker = this.#supervisor.begin(
          index,
          options.workers === 'inline' ? make : undefined,
        );
        const becomes = this.#becomesReady(worker);
        becomes.catch(() => {}); // seen below, unless the next thread cannot even start
        ready.push(becomes);
      }
      await Promise.all(ready);
      await this.#startMoving();
      if (this.#startError !== null) throw this.#startError;
      if (this.#closing !== null) throw closedError();
    } catch (error) {
      const closed = this.#closing !== null;
      await this.close({ drainMs: 0 }).catch(() => {}); // the first error is the one to know
      throw closed ? closedError() : error;
    }
    this.#state = 'serving';
    this.#sources.settled();
    if (!this.#moves) this.#supervisor.watchForHangs();
    // When whoever waits for the runtime has had a chance to listen.
    setImmediate(() => {
      for (const end of this.#endedEarly) this.#announceEnd(end);
      if (this.#closing === null) this.#supervisor.mend();
    });
  }

  #makeSources(rings: () => readonly Rings[]): RuntimeSources {
    const { handleSignals, hangMs, scheduler } = this.#options;
    return new RuntimeSources(
      {
        ...{
          slots: this.#slots,
          rings,
          scoreboard: this.#scoreboard,
          offers: this.#offers,
          hangMs,
        },
        reusePort: this.capabilities.reusePort,
        signals: handleSignals ? SHUTDOWN_SIGNALS : [],
        random: seededRandom(scheduler.seed),
      },
      {
        workers: () => this.#supervisor.count,
        awaitsHandler: () => this.#state === 'starting' || this.#awaitsSuccessor(),
        stuckMs: (worker) => this.#supervisor.stuckMs(worker),
        stalled: (worker) => this.#supervisor.stalled(worker),
        failed: (failure) => this.#onFailure(failure),
      },
    );
  }

  #onFailure(failure: SourceFailure): void {
    if (this.listenerCount('failure') > 0) {
      this.emit('failure', failure);
      return;
    }
    const { name, error } = failure;
    const key = `${error.code} ${name}`;
    if (error.code === 'ERR_GYRE_CLOSED' || this.#warned.has(key)) return;
    if (this.#warned.size === WARNINGS_MAX) return;
    this.#warned.add(key);
    process.emitWarning(error.message, { type: 'GyreWarning', code: error.code });
  }

  async #openAdmin(): Promise<void> {
    if (!isObserved(this.#options)) return;
    const { Admin } = await import('../admin/admin.js');
    this.#admin = await Admin.open(this.#options, {
      ...{ runtime: this, name: this.#options.name, placement: this.#options.placement },
      threads: () => this.#all(),
      sockets: () =>
        this.#listeners.sockets().map(({ worker, ...socket }) => ({
          ...socket,
          worker: worker === null ? null : this.#slots.indexOf(worker),
        })),
    });
  }

  #makeMoving(rings: readonly Rings[], topology: Nearness | null): Moving | null {
    const { name, scheduler, workers } = this.#options;
    const { move, ...rest } = scheduler;
    if (!move || !this.capabilities.move.available || workers === 'inline') return null;
    const slots = this.#slots.total;
    return new Moving(
      {
        ...{ ...rest, name, slots, rings, scoreboard: this.#scoreboard },
        stalledMs: this.#blame === null ? STALLED_MS : BLAME_MS,
        softPins: this.#softPins(topology),
        ...{ limits: this.#overload.limits, descriptorsMax: this.#overload.descriptorsMax },
      },
      {
        workersOf: (listener) => this.#listeners.workersOf(listener),
        awaitsSuccessor: () => this.#awaitsSuccessor(),
        wantSpare: () => this.#wantSpare(),
        stalled: (slot, heartbeat, waits) => {
          const worker = this.#handle(slot);
          if (worker === null) return;
          this.#supervisor.stalled(worker);
          if (waits) this.#blame?.stalled(worker, heartbeat);
          this.#sources.stalled(worker);
        },
        repinned: (repinning) => this.#onRepinned(repinning),
        moved: (move) => this.#onMoved(move),
        died: (error, restartInMs) => this.#onGovernorDied(error, restartInMs),
      },
    );
  }

  /** What the governor needs to know of the CPUs, if pins are to give way. */
  #softPins(topology: Nearness | null): SoftPinsInit | null {
    const cpus = this.#inherited;
    const soft = this.#options.pin === 'soft' && this.capabilities.widen.available;
    if (!soft || cpus === null || cpus.length < 2) return null;
    const machine = topology && {
      cpus: topology.cpus,
      nodes: topology.nodes,
      levels: topology.levels,
    };
    return { workers: this.#slots.workers, cpus, machine };
  }

  #onRepinned({ worker, wider, rings, cpus }: Repinning): void {
    const handle = this.#supervisor.workers.find(({ index }) => index === worker);
    if (handle === undefined || this.#closing !== null) return;
    this.emit(wider ? 'widen' : 'narrow', { worker: this.#infoOf(handle), rings, cpus });
  }

  #onMoved(move: TracedMove): void {
    const [from, to] = [this.#slots.indexOf(move.from), this.#slots.indexOf(move.to)];
    this.emit('move', { ...move, from, to, ring: ringOf(this.#rings, from, to) });
  }

  async #startMoving(): Promise<void> {
    if (this.#moving === null) return;
    const unfit = await this.#moving.check();
    if (unfit !== null) {
      this.capabilities = without(this.capabilities, ['move', 'widen'], unfit);
      requireCapabilities(this.capabilities, this.#options.require);
      return;
    }
    if (this.#closing !== null) return;
    this.#moves = true;
    await this.#blame?.open();
    if (this.#closing !== null) return;
    this.#moving.start();
    for (const worker of this.#supervisor.threads) this.#joinMoving(worker);
  }

  /** From here on `worker` gives, and is given, connections. */
  #joinMoving({ slot, wakeId, state }: WorkerHandle): void {
    if (this.#moves && wakeId !== null && state !== 'exited') this.#moving?.arrived(slot, wakeId);
  }

  #wantSpare(): boolean {
    if (this.#closing !== null) return false;
    try {
      return this.#spares.start();
    } catch (error) {
      this.#report(error as GyreError);
      return false;
    }
  }

  #onGovernorDied(cause: unknown, restartInMs: number): void {
    process.emitWarning(
      `the governor has died, so nothing is taken from workers that stand still until another starts in ${restartInMs} ms: ${inspect(cause)}`,
      { type: 'GyreWarning', code: 'GYRE_GOVERNOR_DIED' },
    );
  }

  #awaitsSuccessor(): boolean {
    return this.#closing === null && this.#supervisor.starts;
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
    const ends: Promise<void>[] = [];
    try {
      for (let index = 0; index < this.#supervisor.count; index++) {
        const { taken, ended } = this.#supervisor.replace(index, {
          drainMs,
          // Not those that die before it is their turn: the program may not even start.
          begins: () => this.#reloaded.set(index, entry ?? this.#entry),
        });
        ends.push(ended);
        ended.catch(() => {}); // seen below
        await taken;
      }
      this.#entry = entry ?? this.#entry;
      this.#spares.replace();
    } finally {
      this.#reloaded.clear();
      await Promise.allSettled(ends);
    }
    this.emit('reload');
  }

  #handle(slot: number): WorkerHandle | null {
    return this.#slots.isSpare(slot) ? this.#spares.at(slot) : this.#supervisor.at(slot);
  }

  #infoOf(worker: WorkerHandle): WorkerInfo {
    const { index, slot, cpu, threadId, tid, state } = worker;
    const spare = this.#slots.isSpare(slot);
    const stuckMs = this.#supervisor.stuckMs(worker);
    return { index, cpu, threadId, tid, state, spare, stuckMs };
  }

  #spawn(index: number, slot: number, cpu: number | null): WorkerThread {
    const { args, name, env, resourceLimits, recycleAtHeapRatio } = this.#options;
    const { accepting } = this.#slots;
    try {
      const worker = new WorkerThread(
        {
          ...{ index, slot, cpu, accepting, args, name, resourceLimits },
          ...{ count: this.#count, inherited: this.#inherited },
          entry: this.#reloaded.get(index) ?? this.#entry,
          ...{ scoreboard: this.#scoreboard, sharesListeners: hasHelper },
          ...{ moving: this.#moving?.init ?? null, heapRatio: recycleAtHeapRatio },
          timed: isTimed(this.#options),
          timesRequests: timesRequests(this.#options),
          overload: this.#overload,
          jobs: this.#options.jobs,
          offers: this.#offers.words,
          env: environment(env),
        },
        (request) => this.#answer(slot, request),
      );
      return this.#join(worker);
    } catch (error) {
      throw workerError(index, error);
    }
  }

  #answer(slot: number, request: Request): Reply {
    if (request.kind === 'open') return this.#listeners.open(slot, request.listen);
    if (request.kind === 'arena') return answerArena(request.arena);
    this.#listeners.release(slot, request.grant, request.fds);
    return { ok: true, released: true };
  }

  /** Hears what `worker` has to say. */
  #join<T extends WorkerHandle>(worker: T): T {
    worker.on('message', (message) => {
      switch (message.kind) {
        case 'up':
          this.#joinMoving(worker);
          this.emit('worker', this.#infoOf(worker));
          break;
        case 'own':
          this.#onOwn(worker.slot, message.address, message.listening);
          break;
        case 'signal-interest':
          this.#onSignalInterest(message.signal);
          break;
        case 'undeliverable':
          this.#moving?.deliver(message.entry, message.full ? worker.slot : null);
          break;
        case 'left':
          this.#moving?.left(message.worker);
          break;
        case 'moved':
          this.#onMoved(message.move);
          break;
        case 'heap':
          this.#recycle(worker, message.ratio);
          break;
        case 'job':
          this.#jobs.ask(worker, message.id, message.ref, message.port);
          break;
        case 'job-cancel':
          this.#jobs.cancel(worker, message.id);
          break;
        default:
          this.#sources.heard(worker, message);
      }
    });
    worker.on('lost', () => this.#report(lostError(worker.index)));
    if (this.#slots.isSpare(worker.slot)) {
      worker.on('exit', (exit) => {
        const closes = this.#closing !== null ? 'closed' : 'finished';
        this.#onEnded(worker, exit, worker.endIsExpected ? closes : 'died', null);
      });
    }
    return worker;
  }

  /** Settles when the worker listens, has ended, or `startMs` is over. */
  #becomesReady(worker: WorkerHandle): Promise<void> {
    const { startMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = Number.isFinite(startMs)
        ? setTimeout(() => {
            warnNotListening(worker, startMs);
            resolve();
          }, startMs)
        : undefined;
      worker.on('message', (message) => {
        if (message.kind !== 'ready') return;
        clearTimeout(timer);
        resolve();
      });
      worker.on('exit', (exit) => {
        clearTimeout(timer);
        reject(endedEarly(worker, exit));
      });
    });
  }

  #onListening(slot: number, address: ListenAddress): void {
    const worker = this.#handle(slot);
    if (worker !== null) this.emit('listening', address, this.#infoOf(worker));
  }

  #onOwn(slot: number, address: ListenAddress, listening: boolean): void {
    const own = this.#own.get(slot) ?? [];
    if (listening) {
      this.#own.set(slot, [...own, address]);
      this.#onListening(slot, address);
      return;
    }
    const gone = own.findIndex((each) => inspect(each) === inspect(address));
    this.#own.set(slot, own.toSpliced(gone, 1));
  }

  #onEnded(
    worker: WorkerHandle,
    exit: WorkerExit,
    reason: EndReason,
    restartInMs: number | null,
  ): void {
    this.#listeners.abandon(worker.slot);
    this.#jobs.abandon(worker);
    this.#own.delete(worker.slot);
    for (const signal of Object.keys(os.constants.signals) as NodeJS.Signals[]) {
      if (worker.handles(signal)) this.#onSignalInterest(signal);
    }
    this.#moving?.ended(worker.slot);
    this.#sources.ended(worker);
    const error = exit.error === undefined ? null : workerError(worker.index, exit.error);
    const end = { worker: this.#infoOf(worker), code: exit.code, error, reason, restartInMs };
    if (this.#state !== 'starting') {
      this.#announceEnd(end);
      return;
    }
    this.#startError ??= error;
    this.#endedEarly.push(end);
  }

  #announceEnd(end: WorkerEnd): void {
    this.emit('exit', end);
    if (end.error !== null) this.#report(end.error, end.worker.cpu);
  }

  #giveUp(error: GyreError): void {
    this.#report(error);
    this.#closeFor(null);
  }

  #report(error: GyreError, cpu: number | null = null): void {
    if (this.listenerCount('error') > 0) {
      this.emit('error', error);
      return;
    }
    process.stderr.write(`${this.#options.name}: ${described(error, cpu)}\n`);
  }

  async #onHung(worker: WorkerHandle, stuckMs: number): Promise<void> {
    const stack = (await stackOf(worker.threadId))?.map(shown) ?? null;
    this.emit('hang', { worker: this.#infoOf(worker), stuckMs, stack });
    const where = stack === null ? '' : ` in ${stack[0]}`;
    this.#report(
      new GyreError(
        'ERR_GYRE_HUNG',
        `worker ${worker.index} has not returned to its event loop for ${Math.round(stuckMs)} ms${where}; it is replaced`,
        { worker: worker.index },
      ),
    );
  }

  async #evacuate(worker: WorkerHandle): Promise<void> {
    this.#withdraw(worker);
    await this.#moving?.evacuate(worker.slot);
  }

  /** `worker`, which does not answer, accepts nothing more. */
  #withdraw({ slot, wakeId }: WorkerHandle): void {
    if (wakeId !== null) this.#listeners.withdraw(slot, wakeId);
  }

  #recycle(worker: WorkerHandle, heapRatio: number): void {
    if (this.#closing !== null || worker.state !== 'serving') return;
    if (this.#slots.isSpare(worker.slot)) {
      worker.retire(null);
      return;
    }
    this.emit('recycle', { worker: this.#infoOf(worker), heapRatio });
    const { ended } = this.#supervisor.replace(worker.index, { drainMs: this.#options.drainMs });
    ended.catch((error) => this.#report(error as GyreError));
  }

  #onSignalInterest(signal: NodeJS.Signals): void {
    const ours = this.#options.handleSignals && SHUTDOWN_SIGNALS.includes(signal);
    if (ours) return;
    if (this.#all().some((each) => each.state !== 'exited' && each.handles(signal))) {
      this.#relay.want(signal);
    } else {
      this.#relay.drop(signal);
    }
  }

  /** Every thread of a worker or spare. */
  #all(): WorkerHandle[] {
    return [...this.#supervisor.threads, ...this.#spares.handles];
  }

  #onSignal(signal: NodeJS.Signals): void {
    if (!this.#options.handleSignals || !SHUTDOWN_SIGNALS.includes(signal)) {
      for (const worker of this.#all()) if (worker.handles(signal)) worker.signal(signal);
      return;
    }
    // As a shell reports a process that the signal ended.
    if (this.#closing !== null) process.exit(128 + os.constants.signals[signal]);
    this.#closeFor(signal);
  }

  /** Closes of its own accord, or for `signal`. */
  #closeFor(signal: NodeJS.Signals | null, drainMs = this.#options.drainMs): void {
    this.#closing ??= this.#shutDown(drainMs, signal);
    this.#closing.catch(() => {}); // of a lost thread was told when it was lost
  }

  /**
   * @param signal what caused it: an application that listens for it is handed the
   *   signal and shuts itself down, within the same time.
   */
  async #shutDown(drainMs: number, signal: NodeJS.Signals | null): Promise<void> {
    this.#state = 'closing';
    this.#sources.stop();
    this.#supervisor.close();
    this.#spares.close();
    const all = this.#all();
    const closes = drainMs > 0 && this.#options.closing === 'refuse';
    // An application that shuts itself down may go on listening for a while.
    const alone = signal === null || !all.some((worker) => worker.handles(signal));
    if (closes && alone && this.#listeners.dropHandshakes()) await delay(HANDSHAKE_MS);
    for (const worker of all) {
      if (signal !== null && worker.handles(signal)) worker.signal(signal);
      else if (drainMs > 0) worker.drain(this.#options.closing === 'serve');
    }
    const stop = () => {
      for (const worker of all) worker.stop();
      this.#jobs.stop();
    };
    let timer: NodeJS.Timeout | undefined;
    if (drainMs === 0) stop();
    else if (Number.isFinite(drainMs)) timer = setTimeout(stop, drainMs);
    await Promise.all([...all.map((worker) => worker.ended()), this.#jobs.drain()]);
    clearTimeout(timer);
    await this.#jobs.close();
    this.#sources.end();
    const lost = all.find((worker) => worker.lost);
    // It accepts nothing when it goes on, and closes what is its own.
    for (const worker of all) if (worker.lost) this.#withdraw(worker);
    await this.#moving?.stop();
    await this.#blame?.close();
    this.#listeners.close();
    this.#relay.close();
    await this.#admin?.close();
    this.#state = 'closed';
    this.emit('close');
    if (lost !== undefined) throw lostError(lost.index);
  }
}

function answerArena(request: ArenaRequest): ArenaReply {
  try {
    return { ok: true, arena: arenaSource().find(request) };
  } catch (error) {
    const { code, message } = error as GyreError;
    return { ok: false, code, message };
  }
}

/** What became of a worker, in words. */
function described({ message, worker, cause }: GyreError, cpu: number | null): string {
  if (cause === undefined) return message;
  const text = cause instanceof Error && cause.stack ? cause.stack : inspect(cause);
  const where = cpu === null ? '' : ` on CPU ${cpu}`;
  return `worker ${worker}${where} died of an uncaught error:\n${text}`;
}

/** This process's environment with `changes`. A thread would take `undefined` for a text. */
function environment(changes: ResolvedOptions['env']): NodeJS.ProcessEnv {
  const all = Object.entries({ ...process.env, ...changes });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}

function warnNotListening(worker: WorkerHandle, startMs: number): void {
  const failed = worker.listenError === null ? '' : `; ${worker.listenError.message}`;
  process.emitWarning(
    `worker ${worker.index} does not listen on anything after ${startMs} ms${failed}`,
    { type: 'GyreWarning', code: 'GYRE_NOT_LISTENING' },
  );
}

/** What this system can do, less what `options` leave nobody to do. */
function capabilitiesFor({ pin, workers, scheduler }: ResolvedOptions): Capabilities {
  const all = detectCapabilities();
  if (scheduler.move || pin !== 'soft' || workers === 'inline') return all;
  return without(all, ['widen'], 'connections do not move, so there is no governor');
}

/** Everything after the options are known to be valid. */
export async function startRuntime(
  options: ResolvedOptions,
  inline: InlineFactory,
): Promise<Runtime> {
  const capabilities = capabilitiesFor(options);
  requireCapabilities(capabilities, options.require);
  // Without it a worker opens its own sockets.
  if (options.overload === 'wait' && hasLimit(options)) {
    requireCapabilities(capabilities, ['native']);
  }
  const inherited = capabilities.pin.available ? affinity() : null;
  const parallelism = os.availableParallelism();
  const topology = inherited === null ? null : readTopology();
  const quotaCpus = cpuQuota();
  const machine = { capabilities, inherited, parallelism, quotaCpus, topology };
  const cpus = planWorkers(options, machine);
  const all = planGrowth(options, machine, cpus);

  // Besides checking the entry this makes libuv start its thread pool, now, while
  // this thread has the mask that the pool's threads shall inherit. A worker's
  // first file access would otherwise start them all on that worker's CPU.
  await checkEntry(options.entry);
  await checkJobFiles(options.jobs);
  if (inherited !== null) widenInChildren(inherited);

  const rings = ringsFor(all, topology);
  const jobPlan = planJobs(options, machine, cpus);
  const runtime = new GyreRuntime(
    ...([options, capabilities, cpus.length, all, rings, inherited, topology, jobPlan] as const),
  );
  await runtime.start(inline);
  return runtime;
}

async function checkEntry(entry: string): Promise<void> {
  try {
    // As node resolves its main module: with extensions and index files.
    await access(require.resolve(entry), fsConstants.R_OK);
  } catch (cause) {
    throw new GyreError(
      'ERR_GYRE_ENTRY_MISSING',
      `the entry does not exist or cannot be read: ${entry}`,
      {
        cause,
      },
    );
  }
}
