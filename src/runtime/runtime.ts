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
import { durationMs, type ResolvedOptions } from './options.js';
import { planWorkers } from './plan.js';
import { SignalRelay } from './signals.js';
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
}

/** The scoreboard at one moment. */
export interface Snapshot {
  /** `performance.now()` of the main thread, in ms. */
  readonly takenAtMs: number;
  readonly workers: readonly WorkerRow[];
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
  /** Mail of ended workers that is still being redelivered. */
  readonly #redelivering = new Set<Promise<void>>();
  #closing: Promise<void> | null = null;
  #started = false;
  /** Of the first worker that listened and then died while others still started. */
  #startError: GyreError | null = null;

  constructor(options: ResolvedOptions, capabilities: Capabilities, workers: number) {
    super();
    this.#options = options;
    this.capabilities = capabilities;
    this.#scoreboard = Scoreboard.create(workers, misalignmentOf);
    this.#listeners = new Listeners(capabilities.reusePort.available, options.backlog, {
      send: (worker, message) => this.#workers[worker]?.send(message),
      granted: (worker, address) => this.#onListening(worker, address),
    });
    this.#moving = this.#makeMoving(workers);
  }

  get addresses(): readonly ListenAddress[] {
    return [...this.#listeners.addresses(), ...[...this.#own.values()].flat()];
  }

  get workers(): readonly WorkerInfo[] {
    return this.#workers.map(infoOf);
  }

  snapshot(): Snapshot {
    const workers = this.#workers.map((worker) => this.#scoreboard.read(worker.index));
    return { takenAtMs: performance.now(), workers };
  }

  close(options: CloseOptions = {}): Promise<void> {
    const { drainMs = this.#options.drainMs } = options;
    durationMs('drainMs', drainMs, 0);
    this.#closing ??= this.#shutDown(drainMs, null);
    return this.#closing;
  }

  /** Spawns every worker and resolves when each listens. Rejects with the first error. */
  async start(
    cpus: readonly (number | null)[],
    inherited: readonly number[] | null,
    inline: InlineFactory,
  ): Promise<void> {
    const options = this.#options;
    try {
      const ready: Promise<void>[] = [];
      for (const [index, cpu] of cpus.entries()) {
        const worker =
          options.workers === 'inline'
            ? inline(options, this.#scoreboard)
            : this.#spawn(index, cpu, cpus.length, inherited);
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
    if (options.handleSignals) for (const signal of SHUTDOWN_SIGNALS) this.#relay.want(signal);
  }

  #makeMoving(workers: number): Moving | null {
    const { name, scheduler } = this.#options;
    const { move, ...rest } = scheduler;
    if (!move || !this.capabilities.move.available || workers < 2) return null;
    return new Moving(
      { ...rest, name, workers, scoreboard: this.#scoreboard.words },
      {
        workersOf: (listener) => this.#listeners.workersOf(listener),
        wakeIdOf: (worker) => this.#workers[worker]?.wakeId ?? null,
        died: (error) => this.#onGovernorDied(error),
      },
    );
  }

  async #startMoving(): Promise<void> {
    if (this.#moving === null) return;
    const unfit = await this.#moving.check();
    if (unfit === null) {
      this.#moving.start(this.#workers.map(({ wakeId }) => wakeId as number));
      return;
    }
    this.capabilities = without(this.capabilities, 'move', unfit);
    requireCapabilities(this.capabilities, this.#options.require);
  }

  #onGovernorDied(cause: unknown): void {
    process.emitWarning(`the governor has died, so connections move no more: ${inspect(cause)}`, {
      type: 'GyreWarning',
      code: 'GYRE_GOVERNOR_DIED',
    });
  }

  #spawn(
    index: number,
    cpu: number | null,
    count: number,
    inherited: readonly number[] | null,
  ): WorkerThread {
    const { entry, args, name, env, resourceLimits } = this.#options;
    const scoreboard = this.#scoreboard;
    const sharesListeners = hasHelper;
    const moving = this.#moving?.init ?? null;
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
          this.emit('worker', infoOf(worker));
          break;
        case 'own':
          this.#onOwn(worker.index, message.address, message.listening);
          break;
        case 'signal-interest':
          this.#onSignalInterest(message.signal);
          break;
        case 'undeliverable':
          this.#moving?.deliver(message.entry, message.full ? worker.index : null);
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
    const worker = this.#workers[index];
    if (worker !== undefined) this.emit('listening', address, infoOf(worker));
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
    if (this.#moving !== null) this.#redeliver(this.#moving, worker.index);
    const error = exit.error === undefined ? null : workerError(worker.index, exit.error);
    this.emit('exit', { worker: infoOf(worker), code: exit.code, error });
    if (error !== null && this.#started) this.#report(worker, error);
    else this.#startError ??= error;
    if (this.#started && this.#workers.every(({ state }) => state === 'exited')) {
      this.#closing ??= this.#shutDown(0, null);
    }
  }

  #redeliver(moving: Moving, worker: number): void {
    const done = moving.ended(worker).finally(() => this.#redelivering.delete(done));
    this.#redelivering.add(done);
  }

  #report(worker: WorkerHandle, error: GyreError): void {
    if (this.listenerCount('error') > 0) {
      this.emit('error', error);
      return;
    }
    const { cause } = error;
    const text = cause instanceof Error && cause.stack ? cause.stack : inspect(cause);
    const where = worker.cpu === null ? '' : ` on CPU ${worker.cpu}`;
    process.stderr.write(
      `${this.#options.name}: worker ${worker.index}${where} died of an uncaught error:\n${text}\n`,
    );
  }

  #onSignalInterest(signal: NodeJS.Signals): void {
    const ours = this.#options.handleSignals && SHUTDOWN_SIGNALS.includes(signal);
    if (ours) return;
    if (this.#workers.some((each) => each.state !== 'exited' && each.handles(signal))) {
      this.#relay.want(signal);
    } else {
      this.#relay.drop(signal);
    }
  }

  #onSignal(signal: NodeJS.Signals): void {
    if (!this.#options.handleSignals || !SHUTDOWN_SIGNALS.includes(signal)) {
      for (const worker of this.#workers) if (worker.handles(signal)) worker.signal(signal);
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
    for (const worker of this.#workers) {
      if (signal !== null && worker.handles(signal)) worker.signal(signal);
      else if (drainMs > 0) worker.drain();
    }
    const stop = () => {
      for (const worker of this.#workers) worker.stop();
    };
    let timer: NodeJS.Timeout | undefined;
    if (drainMs === 0) stop();
    else if (Number.isFinite(drainMs)) timer = setTimeout(stop, drainMs);
    await Promise.all(this.#workers.map((worker) => worker.ended()));
    clearTimeout(timer);
    await Promise.all(this.#redelivering);
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

function infoOf({ index, cpu, threadId, tid, state }: WorkerHandle): WorkerInfo {
  return { index, cpu, threadId, tid, state };
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
  const cpus = planWorkers(options, {
    capabilities,
    inherited,
    parallelism,
    quotaCpus: cpuQuota(),
    topology: inherited === null ? null : readTopology(),
  });

  // Besides checking the entry this makes libuv start its thread pool, now, while
  // this thread has the mask that the pool's threads shall inherit. A worker's
  // first file access would otherwise start them all on that worker's CPU.
  await checkEntry(options.entry);
  if (inherited !== null) widenInChildren(inherited);

  const runtime = new GyreRuntime(options, capabilities, cpus.length);
  await runtime.start(cpus, inherited, inline);
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
