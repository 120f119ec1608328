/**
 * The runtime: starts the workers, serves their requests for sockets, and ends
 * them. Main thread only; it never touches a request.
 */
import { EventEmitter } from 'node:events';
import { constants as fsConstants } from 'node:fs';
import { access } from 'node:fs/promises';
import os from 'node:os';
import { inspect } from 'node:util';
import { GyreError, workerError } from '../errors.js';
import { affinity, hasHelper, misalignmentOf, widenInChildren } from '../native.js';
import type { ListenAddress, Reply, Request } from '../protocol.js';
import type { WorkerStateName } from '../scheduler/layout.js';
import { type Rings, ringsFor } from '../scheduler/neighbourhood.js';
import { Scoreboard, type WorkerRow } from '../scheduler/scoreboard.js';
import {
  type Capabilities,
  detectCapabilities,
  requireCapabilities,
  without,
} from './capabilities.js';
import { Listeners } from './listeners.js';
import { cpuQuota } from './machine.js';
import { Moving } from './moving.js';
import { durationMs, listenerAt, type ResolvedOptions } from './options.js';
import { planSpares, planWorkers } from './plan.js';
import { SignalRelay } from './signals.js';
import { Spares } from './spares.js';
import { readTopology } from './sysfs.js';
import type { WorkerExit, WorkerHandle } from './worker-handle.js';
import { WorkerThread } from './worker-thread.js';

/** A worker as `runtime.workers` lists it. */
export interface WorkerInfo {
  readonly index: number;
  /** CPU it is pinned to, or null. */
  readonly cpu: number | null;
  /** Node's number of its thread; 0 for `workers: 'inline'`. */
  readonly threadId: number;
  /** Kernel thread id, as top shows it; null before it runs and where there is none. */
  readonly tid: number | null;
  readonly state: WorkerStateName;
  /** Whether it is a spare. */
  readonly spare: boolean;
}

/** The scoreboard at one moment. */
export interface Snapshot {
  /** `performance.now()` of the main thread, in ms. */
  readonly takenAtMs: number;
  readonly workers: readonly WorkerRow[];
  /** Spares that run. */
  readonly spares: readonly WorkerRow[];
}

/** A worker that has ended. */
export interface WorkerEnd {
  readonly worker: WorkerInfo;
  /** Exit code: of `process.exit()` in it, 1 after an uncaught error. */
  readonly code: number;
  /** The uncaught error as {@link GyreError} with the original as `cause`, or null. */
  readonly error: GyreError | null;
}

export interface RuntimeEvents {
  /** A worker's thread runs. */
  worker: [worker: WorkerInfo];
  /** A worker listens on an address. Once for each worker and address. */
  listening: [address: ListenAddress, worker: WorkerInfo];
  /** A worker has ended, for whatever reason. */
  exit: [end: WorkerEnd];
  /**
   * A worker died of an uncaught error. Without a listener the error is written to
   * stderr, and the others go on.
   */
  error: [error: GyreError];
  /** Everything has ended: no thread, socket or timer is left. */
  close: [];
}

export interface CloseOptions {
  /**
   * How long to wait for what is in flight, in ms. 0: not at all; Infinity: as long as
   * it takes. Default: the option `drainMs` of `createRuntime`.
   */
  drainMs?: number;
}

/** The running whole, as `createRuntime` resolves to it. */
export interface Runtime extends EventEmitter<RuntimeEvents> {
  /** Where the workers listen now. */
  readonly addresses: readonly ListenAddress[];
  readonly workers: readonly WorkerInfo[];
  /** Standby workers that run now; see the option `spares`. */
  readonly spares: readonly WorkerInfo[];
  readonly capabilities: Capabilities;
  /** The scoreboard now. Words may be from slightly different moments. */
  snapshot(): Snapshot;
  /**
   * Stops accepting, answers what is in flight, and ends every worker; after
   * `drainMs` whatever is left is cut off. Resolves when no thread, descriptor or
   * timer is left. Further calls return the same promise.
   */
  close(options?: CloseOptions): Promise<void>;
}

/** Makes the worker of `workers: 'inline'`; injected, because main imports no worker code. */
export type InlineFactory = (options: ResolvedOptions, scoreboard: Scoreboard) => WorkerHandle;

const SHUTDOWN_SIGNALS: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];

class GyreRuntime extends EventEmitter<RuntimeEvents> implements Runtime {
  capabilities: Capabilities;
  readonly #options: ResolvedOptions;
  readonly #scoreboard: Scoreboard;
  readonly #listeners: Listeners;
  readonly #workers: WorkerHandle[] = [];
  readonly #relay = new SignalRelay((signal) => this.#onSignal(signal));
  /** Addresses of sockets that workers opened themselves: exclusive, inline. */
  readonly #own = new Map<number, ListenAddress[]>();
  readonly #moving: Moving | null;
  readonly #spares: Spares;
  /** What every worker is started with, and the spares later. */
  readonly #count: number;
  readonly #inherited: readonly number[] | null;
  /** Whether connections move: the system was found fit. */
  #moves = false;
  #closing: Promise<void> | null = null;
  #started = false;
  /** Workers that listened and ended while others still started, or the system was examined. */
  readonly #endedEarly: WorkerEnd[] = [];
  /** Of the first worker that listened and then died while others still started. */
  #startError: GyreError | null = null;

  constructor(
    options: ResolvedOptions,
    capabilities: Capabilities,
    /** Of each worker: as many as there are. */
    rings: readonly Rings[],
    inherited: readonly number[] | null,
  ) {
    super();
    const workers = rings.length;
    this.#options = options;
    this.capabilities = capabilities;
    this.#count = workers;
    this.#inherited = inherited;
    const spares = planSpares(options, capabilities, workers);
    this.#scoreboard = Scoreboard.create(workers + spares, misalignmentOf);
    this.#listeners = new Listeners(capabilities.reusePort.available, options.backlog, {
      isSpare: (worker) => worker >= workers,
      moves: (address) =>
        address.family !== 'unix' && listenerAt(options.listeners, address)?.move !== false,
      send: (worker, message) => this.#handle(worker)?.send(message),
      granted: (worker, address) => this.#onListening(worker, address),
    });
    this.#spares = new Spares(workers, spares, this.#scoreboard, {
      spawn: (index) => {
        const spare = this.#spawn(index, null);
        this.#follow(spare);
        return spare;
      },
    });
    this.#moving = this.#makeMoving(rings, workers + spares);
  }

  get addresses(): readonly ListenAddress[] {
    return [...this.#listeners.addresses(), ...[...this.#own.values()].flat()];
  }

  get workers(): readonly WorkerInfo[] {
    return this.#workers.map((worker) => this.#infoOf(worker));
  }

  get spares(): readonly WorkerInfo[] {
    return this.#spares.handles.map((spare) => this.#infoOf(spare));
  }

  snapshot(): Snapshot {
    const read = ({ index }: WorkerHandle) => this.#scoreboard.read(index);
    return {
      takenAtMs: performance.now(),
      workers: this.#workers.map(read),
      spares: this.#spares.handles.map(read),
    };
  }

  close(options: CloseOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    this.#closing ??= this.#shutDown(drainMs, null);
    return this.#closing;
  }

  /** Spawns every worker and resolves when each listens. Rejects with the first error. */
  async start(cpus: readonly (number | null)[], inline: InlineFactory): Promise<void> {
    const options = this.#options;
    try {
      const ready: Promise<void>[] = [];
      for (const [index, cpu] of cpus.entries()) {
        const worker =
          options.workers === 'inline'
            ? inline(options, this.#scoreboard)
            : this.#spawn(index, cpu);
        this.#workers.push(worker);
        this.#follow(worker);
        const becomes = this.#becomesReady(worker);
        becomes.catch(() => {}); // seen below, unless the next thread cannot even start
        ready.push(becomes);
      }
      await Promise.all(ready);
      await this.#startMoving();
      if (this.#startError !== null) throw this.#startError;
    } catch (error) {
      await this.close({ drainMs: 0 });
      throw error;
    }
    this.#started = true;
    // When whoever waits for the runtime has had a chance to listen.
    setImmediate(() => {
      for (const end of this.#endedEarly) this.#announceEnd(end);
    });
    if (options.handleSignals) for (const signal of SHUTDOWN_SIGNALS) this.#relay.want(signal);
  }

  /** @param slots workers and spares */
  #makeMoving(rings: readonly Rings[], slots: number): Moving | null {
    const { name, scheduler } = this.#options;
    const { move, ...rest } = scheduler;
    if (!move || !this.capabilities.move.available || slots < 2) return null;
    return new Moving(
      { ...rest, name, slots, rings, scoreboard: this.#scoreboard },
      {
        workersOf: (listener) => this.#listeners.workersOf(listener),
        wantSpare: () => this.#wantSpare(),
        died: (error) => this.#onGovernorDied(error),
      },
    );
  }

  async #startMoving(): Promise<void> {
    if (this.#moving === null) return;
    const unfit = await this.#moving.check();
    if (unfit !== null) {
      this.capabilities = without(this.capabilities, 'move', unfit);
      requireCapabilities(this.capabilities, this.#options.require);
      return;
    }
    this.#moves = true;
    this.#moving.start();
    for (const worker of this.#workers) this.#joinMoving(worker);
  }

  /** From here on `worker` gives, and is given, connections. */
  #joinMoving({ index, wakeId, state }: WorkerHandle): void {
    if (this.#moves && wakeId !== null && state !== 'exited') this.#moving?.arrived(index, wakeId);
  }

  #wantSpare(): boolean {
    if (this.#closing !== null) return false;
    try {
      return this.#spares.start();
    } catch (error) {
      this.#report(error as GyreError, null);
      return false;
    }
  }

  #onGovernorDied(cause: unknown): void {
    process.emitWarning(
      `the governor has died, so nothing is taken from workers that stand still: ${inspect(cause)}`,
      { type: 'GyreWarning', code: 'GYRE_GOVERNOR_DIED' },
    );
  }

  #handle(index: number): WorkerHandle | null {
    return this.#workers[index] ?? this.#spares.at(index);
  }

  #infoOf({ index, cpu, threadId, tid, state }: WorkerHandle): WorkerInfo {
    return { index, cpu, threadId, tid, state, spare: index >= this.#count };
  }

  #spawn(index: number, cpu: number | null): WorkerThread {
    const { entry, args, name, env, resourceLimits } = this.#options;
    const scoreboard = this.#scoreboard;
    const sharesListeners = hasHelper;
    const moving = this.#moving?.init ?? null;
    const count = this.#count;
    const inherited = this.#inherited;
    try {
      return new WorkerThread(
        {
          ...{ index, cpu, count, inherited, entry, args, name, resourceLimits },
          ...{ scoreboard, sharesListeners, moving },
          env: environment(env),
        },
        (request) => this.#answer(index, request),
      );
    } catch (error) {
      throw workerError(index, error);
    }
  }

  #answer(worker: number, request: Request): Reply {
    if (request.kind === 'open') return this.#listeners.open(worker, request.listen);
    this.#listeners.release(worker, request.grant, request.fds);
    return { ok: true, released: true };
  }

  #follow(worker: WorkerHandle): void {
    worker.on('message', (message) => {
      switch (message.kind) {
        case 'up':
          this.#joinMoving(worker);
          this.emit('worker', this.#infoOf(worker));
          break;
        case 'own':
          this.#onOwn(worker.index, message.address, message.listening);
          break;
        case 'signal-interest':
          this.#onSignalInterest(message.signal);
          break;
        case 'undeliverable':
          this.#moving?.deliver(message.entry, message.full ? worker.index : null);
          break;
        case 'left':
          this.#moving?.left(message.worker);
      }
    });
    worker.on('exit', (exit) => this.#onExit(worker, exit));
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

  #onListening(index: number, address: ListenAddress): void {
    const worker = this.#handle(index);
    if (worker !== null) this.emit('listening', address, this.#infoOf(worker));
  }

  #onOwn(index: number, address: ListenAddress, listening: boolean): void {
    const own = this.#own.get(index) ?? [];
    if (listening) {
      this.#own.set(index, [...own, address]);
      this.#onListening(index, address);
      return;
    }
    const gone = own.findIndex((each) => inspect(each) === inspect(address));
    this.#own.set(index, own.toSpliced(gone, 1));
  }

  #onExit(worker: WorkerHandle, exit: WorkerExit): void {
    this.#listeners.abandon(worker.index);
    this.#own.delete(worker.index);
    for (const signal of Object.keys(os.constants.signals)) {
      this.#onSignalInterest(signal as NodeJS.Signals);
    }
    this.#moving?.ended(worker.index);
    const error = exit.error === undefined ? null : workerError(worker.index, exit.error);
    const end = { worker: this.#infoOf(worker), code: exit.code, error };
    if (this.#started) {
      this.#announceEnd(end);
      return;
    }
    this.#startError ??= error;
    this.#endedEarly.push(end);
  }

  #announceEnd(end: WorkerEnd): void {
    this.emit('exit', end);
    if (end.error !== null) this.#report(end.error, end.worker.cpu);
    if (this.#workers.every(({ state }) => state === 'exited')) {
      this.#closing ??= this.#shutDown(0, null);
    }
  }

  #report(error: GyreError, cpu: number | null): void {
    if (this.listenerCount('error') > 0) {
      this.emit('error', error);
      return;
    }
    const { cause } = error;
    const text = cause instanceof Error && cause.stack ? cause.stack : inspect(cause);
    const where = cpu === null ? '' : ` on CPU ${cpu}`;
    process.stderr.write(
      `${this.#options.name}: worker ${error.worker}${where} died of an uncaught error:\n${text}\n`,
    );
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

  /** Workers and spares. */
  #all(): WorkerHandle[] {
    return [...this.#workers, ...this.#spares.handles];
  }

  #onSignal(signal: NodeJS.Signals): void {
    if (!this.#options.handleSignals || !SHUTDOWN_SIGNALS.includes(signal)) {
      for (const worker of this.#all()) if (worker.handles(signal)) worker.signal(signal);
      return;
    }
    // As a shell reports a process that the signal ended.
    if (this.#closing !== null) process.exit(128 + os.constants.signals[signal]);
    this.#closing = this.#shutDown(this.#options.drainMs, signal);
  }

  /**
   * @param signal what caused it: an application that listens for it is handed the
   *   signal and shuts itself down, within the same time.
   */
  async #shutDown(drainMs: number, signal: NodeJS.Signals | null): Promise<void> {
    this.#spares.close();
    const all = this.#all();
    for (const worker of all) {
      if (signal !== null && worker.handles(signal)) worker.signal(signal);
      else if (drainMs > 0) worker.drain();
    }
    const stop = () => {
      for (const worker of all) worker.stop();
    };
    let timer: NodeJS.Timeout | undefined;
    if (drainMs === 0) stop();
    else if (Number.isFinite(drainMs)) timer = setTimeout(stop, drainMs);
    await Promise.all(all.map((worker) => worker.ended()));
    clearTimeout(timer);
    await this.#moving?.stop();
    this.#listeners.close();
    this.#relay.close();
    this.emit('close');
  }
}

/** This process's environment with `changes`. A thread would take `undefined` for a text. */
function environment(changes: ResolvedOptions['env']): NodeJS.ProcessEnv {
  const all = Object.entries({ ...process.env, ...changes });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}

function endedEarly(worker: WorkerHandle, exit: WorkerExit): GyreError {
  if (exit.error !== undefined) return workerError(worker.index, exit.error);
  return new GyreError(
    'ERR_GYRE_WORKER_EXITED',
    `worker ${worker.index} ended with code ${exit.code} before it listened on anything`,
    { worker: worker.index, ...(worker.listenError && { cause: worker.listenError }) },
  );
}

function warnNotListening(worker: WorkerHandle, startMs: number): void {
  const failed = worker.listenError === null ? '' : `; ${worker.listenError.message}`;
  process.emitWarning(
    `worker ${worker.index} does not listen on anything after ${startMs} ms${failed}`,
    { type: 'GyreWarning', code: 'GYRE_NOT_LISTENING' },
  );
}

/** Everything after the options are known to be valid. */
export async function startRuntime(
  options: ResolvedOptions,
  inline: InlineFactory,
): Promise<Runtime> {
  const capabilities = detectCapabilities();
  requireCapabilities(capabilities, options.require);
  const inherited = capabilities.pin.available ? affinity() : null;
  const parallelism = os.availableParallelism();
  const topology = inherited === null ? null : readTopology();
  const quotaCpus = cpuQuota();
  const machine = { capabilities, inherited, parallelism, quotaCpus, topology };
  const cpus = planWorkers(options, machine);

  // Besides checking the entry this makes libuv start its thread pool, now, while
  // this thread has the mask that the pool's threads shall inherit. A worker's
  // first file access would otherwise start them all on that worker's CPU.
  await checkEntry(options.entry);
  if (inherited !== null) widenInChildren(inherited);

  const runtime = new GyreRuntime(options, capabilities, ringsFor(cpus, topology), inherited);
  await runtime.start(cpus, inline);
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
