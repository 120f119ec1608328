/**
 * The parts of a runtime, joined: what one of them has to tell, those hear here whom it concerns. Main
 * thread only; it never touches a request.
 *
 * It starts and answers threads, and knows nothing of when: what happens to the whole is runtime.ts.
 */
import { isTimed, timesRequests } from '../admin/wanted.js';
import { type ArenaRequest, arenaSource } from '../arena-registry.js';
import { type GyreError, lostError, workerError } from '../errors.js';
import { hasHelper, misalignmentOf } from '../native.js';
import type {
  ArenaReply,
  FromWorker,
  ListenAddress,
  OverloadInit,
  Reply,
  Request,
} from '../protocol.js';
import { ringsFor, withSpares, withTwins } from '../scheduler/neighbourhood.js';
import { Offers } from '../scheduler/offers.js';
import { seededRandom } from '../scheduler/random.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import type { Announcer } from './announcer.js';
import type { EndReason, RuntimeState, WorkerEnd } from './api.js';
import { Blame } from './blame.js';
import { Jobs } from './jobs.js';
import { Listeners } from './listeners.js';
import { descriptorLimit } from './machine.js';
import { Moving } from './moving.js';
import { OwnAddresses } from './own-addresses.js';
import type { RuntimePlan } from './plan.js';
import { environmentWith, Program } from './program.js';
import { listenerAt, type ResolvedOptions } from './resolved-options.js';
import { Signals } from './signals.js';
import { RuntimeSources } from './sources/sources.js';
import { Spares } from './spares.js';
import { Supervisor } from './supervisor.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';
import { WorkerThread } from './worker-thread.js';

/** How long a worker must have stood still before the governor tells: it may be a hang. */
const STALLED_MS = 100;
/** The same, if somebody is to be blamed: to notice takes a tick or two. No evidence for more or less. */
const BLAME_MS = 5;

/** One whose heap is always full would else be replaced all the time. No evidence for more or less. */
const RECYCLE_MS = 10_000;

/** What a worker that is no thread is made of. */
export interface InlineInit {
  readonly options: ResolvedOptions;
  readonly scoreboard: Scoreboard;
  readonly offers: Int32Array<SharedArrayBuffer>;
  readonly overload: OverloadInit;
}

/** Makes the worker of `workers: 'inline'`; injected, because main imports no worker code. */
export type InlineFactory = (init: InlineInit) => WorkerHandle;

/** What the parts need of the whole. */
interface Whole {
  state(): RuntimeState;
  /** A thread has ended, and every part knows. */
  ended(end: WorkerEnd): void;
  /** It is to close: there is nobody left, or `signal` came. */
  closes(signal: NodeJS.Signals | null, drainMs?: number): void;
}

export class Assembly {
  readonly scoreboard: Scoreboard;
  readonly listeners: Listeners;
  readonly supervisor: Supervisor;
  readonly spares: Spares;
  readonly sources: RuntimeSources;
  readonly jobs: Jobs;
  readonly moving: Moving | null;
  readonly blame: Blame | null;
  readonly signals: Signals;
  readonly program: Program;
  readonly own = new OwnAddresses();
  readonly #options: ResolvedOptions;
  readonly #plan: RuntimePlan;
  readonly #announcer: Announcer;
  readonly #whole: Whole;
  readonly #offers: Offers;
  readonly #overload: OverloadInit;
  /** Whether connections move. */
  #moves = false;
  /** When each worker was last replaced because its heap was full. */
  readonly #recycledAtMs = new Map<number, number>();

  constructor(options: ResolvedOptions, plan: RuntimePlan, announcer: Announcer, whole: Whole) {
    this.#options = options;
    this.#plan = plan;
    this.#announcer = announcer;
    this.#whole = whole;
    const { slots, cpus, machine } = plan;
    const { reusePort } = machine.capabilities;
    this.program = new Program(options.entry);
    this.scoreboard = Scoreboard.create(slots.total, misalignmentOf);
    this.#offers = Offers.create(slots.total, misalignmentOf);
    const { maxConnections: connections, maxOutstanding: outstanding, overload } = options;
    const descriptorsMax = descriptorLimit();
    this.#overload = { limits: { connections, outstanding }, overload, descriptorsMax };
    this.signals = new Signals({
      handleSignals: options.handleSignals,
      threads: () => this.threads,
      closes: (signal) => whole.closes(signal),
    });
    this.listeners = new Listeners(reusePort.available, options.backlog, {
      standsBy: (slot) => slots.isSpare(slot) || this.#closes,
      replaces: (slot) => this.supervisor.replaces(slot),
      awaitsSuccessor: () => this.#awaitsSuccessor(),
      moves: (address) =>
        address.family !== 'unix' && listenerAt(options.listeners, address)?.move !== false,
      send: (slot, message) => this.#at(slot)?.send(message),
      granted: (slot, address) => this.#onListening(slot, address),
    });
    this.spares = new Spares(slots, this.scoreboard, (slot) =>
      this.#spawn(slots.indexOf(slot), slot, null),
    );
    const { restarts, restartsWithinMs, hangMs, startMs } = options;
    this.supervisor = new Supervisor(
      { restarts, restartsWithinMs, hangMs, startMs, cpus, slots, random: Math.random },
      {
        spawn: (index, slot, cpu) => this.#spawn(index, slot, cpu),
        ended: (worker, exit, why, restartInMs) => this.#onEnded(worker, exit, why, restartInMs),
        gaveUp: (error) => {
          announcer.error(error);
          whole.closes(null);
        },
        failed: (error) => announcer.error(error),
        hung: (worker, stuckMs) => announcer.hung(worker, stuckMs),
        evacuate: (worker) => this.#evacuate(worker),
        settled: () => {
          this.listeners.settle();
          this.sources.settled();
        },
        allEnded: () => whole.closes(null, 0),
      },
    );
    this.blame = options.blame
      ? new Blame(this.scoreboard, (worker, stack) => announcer.stalled(worker, stack))
      : null;
    this.sources = this.#makeSources();
    this.moving = this.#makeMoving();
    const { name, jobs: names, jobPool, resourceLimits, scheduler, env } = options;
    const { inherited, parallelism } = machine;
    this.jobs = new Jobs(
      {
        ...{ name, names, ...jobPool, ...plan.jobs, inherited, resourceLimits },
        ...{ seed: scheduler.seed, parallelism, env: () => environmentWith(env) },
      },
      (error) => announcer.error(error),
    );
  }

  /** Every thread of a worker or spare. */
  get threads(): WorkerHandle[] {
    return [...this.supervisor.threads, ...this.spares.handles];
  }

  /** The worker of `workers: 'inline'`. */
  inline(make: InlineFactory): WorkerHandle {
    const { scoreboard } = this;
    const offers = this.#offers.words;
    return this.#join(
      make({ options: this.#options, scoreboard, offers, overload: this.#overload }),
    );
  }

  /** From here on connections move: the system was found fit. */
  async startMoving(): Promise<void> {
    this.#moves = true;
    await this.blame?.open();
    if (this.#closes) return;
    this.moving?.start();
    for (const worker of this.supervisor.threads) this.#joinMoving(worker);
  }

  /** `worker`, which does not answer, accepts nothing more. */
  withdraw({ slot, wakeId }: WorkerHandle): void {
    if (wakeId !== null) this.listeners.withdraw(slot, wakeId);
  }

  #makeSources(): RuntimeSources {
    const { hangMs, scheduler } = this.#options;
    const { slots, cpus, machine } = this.#plan;
    return new RuntimeSources(
      {
        ...{ slots, hangMs, scoreboard: this.scoreboard, offers: this.#offers },
        rings: () =>
          withSpares(ringsFor(cpus, machine.topology, 'first'), slots.workers + slots.spares),
        reusePort: machine.capabilities.reusePort,
        signals: this.signals.ours,
        random: seededRandom(scheduler.seed),
      },
      {
        workers: () => this.supervisor.count,
        awaitsHandler: () => this.#whole.state() === 'starting' || this.#awaitsSuccessor(),
        stalled: (worker) => this.supervisor.stalled(worker),
        failed: (failure) => this.#announcer.failure(failure),
      },
    );
  }

  #makeMoving(): Moving | null {
    const { name, scheduler, workers } = this.#options;
    const { slots, rings, machine, softPins } = this.#plan;
    const { move, ...rest } = scheduler;
    if (!move || !machine.capabilities.move.available || workers === 'inline') return null;
    const { limits, descriptorsMax } = this.#overload;
    return new Moving(
      {
        ...{ ...rest, name, slots: slots.total, rings: withTwins(rings), softPins },
        ...{ scoreboard: this.scoreboard, limits, descriptorsMax },
        stalledMs: this.blame === null ? STALLED_MS : BLAME_MS,
      },
      {
        workersOf: (listener) => this.listeners.workersOf(listener),
        awaitsSuccessor: () => this.#awaitsSuccessor(),
        wantSpare: () => this.#wantSpare(),
        stalled: (slot, heartbeat, waits) => {
          const worker = this.#at(slot);
          if (worker === null) return;
          this.supervisor.stalled(worker);
          if (waits) this.blame?.stalled(worker, heartbeat);
          this.sources.stalled(worker);
        },
        repinned: (repinning) => {
          const worker = this.supervisor.workers.find(({ index }) => index === repinning.worker);
          if (worker !== undefined && !this.#closes) this.#announcer.repinned(worker, repinning);
        },
        moved: (move) => this.#announcer.moved(move),
        died: (error, restartInMs) => this.#announcer.governorDied(error, restartInMs),
      },
    );
  }

  get #closes(): boolean {
    const state = this.#whole.state();
    return state === 'closing' || state === 'closed';
  }

  /** Whether somebody is about to start who may do what nobody else does. */
  #awaitsSuccessor(): boolean {
    return !this.#closes && this.supervisor.starts;
  }

  #at(slot: number): WorkerHandle | null {
    return this.#plan.slots.isSpare(slot) ? this.spares.at(slot) : this.supervisor.at(slot);
  }

  #spawn(index: number, slot: number, cpu: number | null): WorkerHandle {
    const { args, name, env, resourceLimits, recycleAtHeapRatio, jobs } = this.#options;
    const { slots, count, machine } = this.#plan;
    try {
      const worker = new WorkerThread(
        {
          ...{ index, slot, cpu, count, accepting: slots.accepting, args, name, resourceLimits },
          ...{ inherited: machine.inherited, parallelism: machine.parallelism, jobs },
          entry: this.program.entryOf(index),
          ...{ scoreboard: this.scoreboard, sharesListeners: hasHelper },
          ...{ moving: this.moving?.init ?? null, heapRatio: recycleAtHeapRatio },
          timed: isTimed(this.#options),
          timesRequests: timesRequests(this.#options),
          ...{ overload: this.#overload, offers: this.#offers.words },
          env: environmentWith(env),
        },
        (request) => this.#answer(slot, request),
      );
      return this.#join(worker);
    } catch (error) {
      throw workerError(index, error);
    }
  }

  #answer(slot: number, request: Request): Reply {
    if (request.kind === 'open') return this.listeners.open(slot, request.listen);
    if (request.kind === 'arena') return answerArena(request.arena);
    this.listeners.release(slot, request.grant, request.fds);
    return { ok: true, released: true };
  }

  #join(worker: WorkerHandle): WorkerHandle {
    worker.on('message', (message) => this.#heard(worker, message));
    worker.on('lost', () => this.#announcer.error(lostError(worker.index)));
    if (this.#plan.slots.isSpare(worker.slot)) {
      worker.on('exit', (exit) => {
        const closes = this.#closes ? 'closed' : 'finished';
        this.#onEnded(worker, exit, worker.endIsExpected ? closes : 'died', null);
      });
    }
    return worker;
  }

  #heard(worker: WorkerHandle, message: FromWorker): void {
    switch (message.kind) {
      case 'up':
        this.#joinMoving(worker);
        this.#announcer.up(worker);
        break;
      case 'own':
        this.#onOwn(worker.slot, message.address, message.listening);
        break;
      case 'signal-interest':
        this.signals.interestChanged(message.signal);
        break;
      case 'undeliverable':
        this.moving?.deliver(message.entry, message.full ? worker.slot : null);
        break;
      case 'left':
        this.moving?.left(message.worker);
        break;
      case 'moved':
        this.#announcer.moved(message.move);
        break;
      case 'heap':
        this.#recycle(worker, message.ratio);
        break;
      case 'job':
        this.jobs.ask(worker, message.id, message.ref, message.port);
        break;
      case 'job-cancel':
        this.jobs.cancel(worker, message.id);
        break;
      default:
        this.sources.heard(worker, message);
    }
  }

  #onListening(slot: number, address: ListenAddress): void {
    const worker = this.#at(slot);
    if (worker !== null) this.#announcer.listening(worker, address);
  }

  #onOwn(slot: number, address: ListenAddress, listening: boolean): void {
    if (!listening) {
      this.own.remove(slot, address);
      return;
    }
    this.own.add(slot, address);
    this.#onListening(slot, address);
  }

  #onEnded(
    worker: WorkerHandle,
    { code, error: cause }: WorkerExit,
    reason: EndReason,
    restartInMs: number | null,
  ): void {
    this.listeners.abandon(worker.slot);
    this.jobs.abandon(worker);
    this.own.ended(worker.slot);
    this.signals.ended(worker);
    this.moving?.ended(worker.slot);
    this.sources.ended(worker);
    const error = cause === undefined ? null : workerError(worker.index, cause);
    this.#whole.ended({ worker: this.#announcer.infoOf(worker), code, error, reason, restartInMs });
  }

  /** From here on `worker` gives, and is given, connections. */
  #joinMoving({ slot, wakeId, state }: WorkerHandle): void {
    if (this.#moves && wakeId !== null && state !== 'exited') this.moving?.arrived(slot, wakeId);
  }

  #wantSpare(): boolean {
    if (this.#closes) return false;
    try {
      return this.spares.start();
    } catch (error) {
      this.#announcer.error(error as GyreError);
      return false;
    }
  }

  async #evacuate(worker: WorkerHandle): Promise<void> {
    this.withdraw(worker);
    await this.moving?.evacuate(worker.slot);
  }

  #recycle(worker: WorkerHandle, heapRatio: number): void {
    if (this.#closes || worker.state !== 'serving') return;
    if (this.#plan.slots.isSpare(worker.slot)) {
      worker.retire(null);
      return;
    }
    const now = performance.now();
    if (now - (this.#recycledAtMs.get(worker.index) ?? Number.NEGATIVE_INFINITY) < RECYCLE_MS)
      return;
    this.#recycledAtMs.set(worker.index, now);
    this.#announcer.recycled(worker, heapRatio);
    const { ended } = this.supervisor.replace(worker.index, { drainMs: this.#options.drainMs });
    ended.catch((error) => {
      this.#recycledAtMs.delete(worker.index); // it is as full as before, and says so again
      this.#announcer.error(error as GyreError);
    });
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
