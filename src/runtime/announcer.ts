/**
 * What the user of a runtime hears of it: makes events, errors and warnings of what its parts tell.
 * Threads and slots become workers here. Main thread only.
 *
 * What nobody listens for is not lost: an error is written to stderr, and a failure of a source is a
 * warning.
 */
import type { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import { GyreError } from '../errors.js';
import type { ListenAddress, Repinning, TracedMove } from '../protocol.js';
import type { Rings } from '../scheduler/neighbourhood.js';
import type { RuntimeEvents, WorkerEnd, WorkerInfo } from './api.js';
import { ringOf } from './move-counts.js';
import type { Slots } from './slots.js';
import type { SourceFailure } from './sources/api.js';
import { shown, stackOf } from './stack.js';
import { stuckMsOf, type WorkerHandle } from './worker-handle.js';

/** Kinds of failures of which a warning tells where nobody listens. */
const WARNINGS_MAX = 100;

interface AnnouncerOptions {
  /** Of the runtime. */
  readonly name: string;
  readonly slots: Slots;
  /** Of every worker that there may be. */
  readonly rings: readonly Rings[];
}

export class Announcer {
  readonly #emitter: EventEmitter<RuntimeEvents>;
  readonly #options: AnnouncerOptions;
  /** Failures of which a warning has told. */
  readonly #warned = new Set<string>();

  constructor(emitter: EventEmitter<RuntimeEvents>, options: AnnouncerOptions) {
    this.#emitter = emitter;
    this.#options = options;
  }

  /** `worker` as its user knows it. */
  infoOf(worker: WorkerHandle): WorkerInfo {
    const { index, slot, cpu, threadId, tid, state } = worker;
    const spare = this.#options.slots.isSpare(slot);
    return { index, cpu, threadId, tid, state, spare, stuckMs: stuckMsOf(worker) };
  }

  up(worker: WorkerHandle): void {
    this.#emitter.emit('worker', this.infoOf(worker));
  }

  listening(worker: WorkerHandle, address: ListenAddress): void {
    this.#emitter.emit('listening', address, this.infoOf(worker));
  }

  ended(end: WorkerEnd): void {
    this.#emitter.emit('exit', end);
    if (end.error !== null) this.error(end.error, end.worker.cpu);
  }

  stalled(worker: WorkerHandle, stack: readonly string[]): void {
    this.#emitter.emit('stall', { worker: this.infoOf(worker), stack });
  }

  recycled(worker: WorkerHandle, heapRatio: number): void {
    this.#emitter.emit('recycle', { worker: this.infoOf(worker), heapRatio });
  }

  repinned(worker: WorkerHandle, { wider, rings, cpus }: Repinning): void {
    const event = wider ? 'widen' : 'narrow';
    this.#emitter.emit(event, { worker: this.infoOf(worker), rings, cpus });
  }

  moved(move: TracedMove): void {
    const { slots, rings } = this.#options;
    const [from, to] = [slots.indexOf(move.from), slots.indexOf(move.to)];
    this.#emitter.emit('move', { ...move, from, to, ring: ringOf(rings, from, to) });
  }

  /** Resolves when it was told, with what `worker` is executing if that can be seen. */
  async hung(worker: WorkerHandle, stuckMs: number): Promise<void> {
    const stack = (await stackOf(worker.threadId))?.map(shown) ?? null;
    this.#emitter.emit('hang', { worker: this.infoOf(worker), stuckMs, stack });
    const where = stack === null ? '' : ` in ${stack[0]}`;
    this.error(
      new GyreError(
        'ERR_GYRE_HUNG',
        `worker ${worker.index} has not returned to its event loop for ${Math.round(stuckMs)} ms${where}; it is replaced`,
        { worker: worker.index },
      ),
    );
  }

  /** @param cpu of the worker concerned */
  error(error: GyreError, cpu: number | null = null): void {
    if (this.#emitter.listenerCount('error') > 0) {
      this.#emitter.emit('error', error);
      return;
    }
    process.stderr.write(`${this.#options.name}: ${described(error, cpu)}\n`);
  }

  /** Of a source: a firing was not handled as it should. */
  failure(failure: SourceFailure): void {
    if (this.#emitter.listenerCount('failure') > 0) {
      this.#emitter.emit('failure', failure);
      return;
    }
    const { name, error } = failure;
    const key = `${error.code} ${name}`;
    if (error.code === 'ERR_GYRE_CLOSED' || this.#warned.has(key)) return;
    if (this.#warned.size === WARNINGS_MAX) return;
    this.#warned.add(key);
    process.emitWarning(error.message, { type: 'GyreWarning', code: error.code });
  }

  governorDied(cause: unknown, restartInMs: number): void {
    process.emitWarning(
      `the governor has died, so nothing is taken from workers that stand still until another starts in ${restartInMs} ms: ${inspect(cause)}`,
      { type: 'GyreWarning', code: 'GYRE_GOVERNOR_DIED' },
    );
  }
}

/** What became of a worker, in words. */
function described({ message, worker, cause }: GyreError, cpu: number | null): string {
  if (cause === undefined) return message;
  const text = cause instanceof Error && cause.stack ? cause.stack : inspect(cause);
  const where = cpu === null ? '' : ` on CPU ${cpu}`;
  return `worker ${worker}${where} died of an uncaught error:\n${text}`;
}
