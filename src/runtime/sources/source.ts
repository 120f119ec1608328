/**
 * What all sources have in common: a name, counts, and that a source which is not concurrent does
 * not fire while a firing of its has not settled. Main thread only.
 */
import type { GyreError } from '../../errors.js';
import { type EventKind, type Handled, type Handling, NO_KEY } from '../../events.js';
import type { FromWorker } from '../../protocol.js';
import type { WorkerHandle } from '../worker-handle.js';
import type { Source, SourceCounts, SourceFailure, SourceInfo } from './api.js';

/** One firing, until it has settled. */
export interface Firing {
  readonly id: number;
  readonly source: SourceBase;
  readonly name: string;
  readonly handling: Handling;
  readonly payload: unknown;
  /** Handlers that have begun it. */
  tries: number;
  /** The last worker that ended while it handled it. */
  lostBy: WorkerHandle | null;
  /** Nobody has it. */
  waits: boolean;
}

export type Outcome =
  | { readonly what: 'handled'; readonly handled: Handled }
  | {
      readonly what: 'failed' | 'lost' | 'timedOut' | 'unhandled' | 'cancelled';
      readonly error: GyreError;
    };

/** What a source needs of the others. */
export interface SourceContext {
  nextId(): number;
  /**
   * A name that no open source has.
   *
   * @throws GyreError `ERR_GYRE_SOURCE_NAME`
   */
  freeName(name: unknown): string;
  /** Has it handled; `source.settled()` says when. */
  submit(firing: Firing): void;
  /** Takes back what nobody has begun. */
  cancel(source: SourceBase): void;
  failed(failure: SourceFailure): void;
  /** It fires no more, and its name is free. */
  closed(source: SourceBase): void;
  /** Workers that have a handler for `name`. */
  handlers(name: string): number;
}

type Counts = { -readonly [Key in keyof SourceCounts]: SourceCounts[Key] };

export abstract class SourceBase implements Source {
  readonly id: number;
  readonly kind: EventKind;
  readonly name: string;
  protected readonly handling: Handling;
  protected readonly context: SourceContext;
  protected readonly counts: Counts = {
    ...{ fired: 0, handled: 0, failed: 0, lost: 0, timedOut: 0, unhandled: 0, cancelled: 0 },
    ...{ skipped: 0, retried: 0, takenBack: 0, dropped: null },
  };
  /** Firings that nobody has. */
  waiting = 0;
  #unsettled = 0;
  /** Handlers of firings that have timed out, which are still at work. */
  #late = 0;
  #closed = false;
  readonly #whenSettled: (() => void)[] = [];

  constructor(kind: EventKind, name: string, handling: Handling, context: SourceContext) {
    this.id = context.nextId();
    this.kind = kind;
    this.name = name;
    this.handling = handling;
    this.context = context;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get collaborates(): string | null {
    return this.handling.collaborates;
  }

  /** Resolves when it has closed and nothing of it is left. */
  get gone(): Promise<void> {
    return this.settledAll();
  }

  info(): SourceInfo {
    const { collaborates } = this.handling;
    return {
      ...{ name: this.name, kind: this.kind, ...this.counts },
      concurrent: this.handling.concurrent,
      tries: this.handling.tries,
      placement: collaborates === null ? 'divergent' : 'collaborative',
      collaborates: collaborates === NO_KEY ? null : collaborates,
      running: this.#unsettled - this.waiting,
      waiting: this.waiting,
      handlers: this.context.handlers(this.name),
    };
  }

  close(): Promise<void> {
    this.end();
    return this.gone;
  }

  /** Resolves when no firing is unsettled, and no handler at work. */
  protected settledAll(): Promise<void> {
    if (this.#unsettled + this.#late === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenSettled.push(resolve));
  }

  /** It fires no more. */
  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.stop();
    this.context.cancel(this);
    this.context.closed(this);
  }

  /** Whether a firing has to settle before it may fire again. */
  protected get busy(): boolean {
    return this.#unsettled > 0 && !this.handling.concurrent;
  }

  protected get unsettled(): number {
    return this.#unsettled;
  }

  /** @param before called before the firing can settle */
  protected fire(
    payload: unknown,
    handling = this.handling,
    before?: (firing: Firing) => void,
  ): Firing {
    const { name } = this;
    const id = this.context.nextId();
    const firing: Firing = {
      ...{ id, source: this, name, handling, payload },
      ...{ tries: 0, lostBy: null, waits: false },
    };
    this.counts.fired++;
    this.#unsettled++;
    before?.(firing);
    this.context.submit(firing);
    return firing;
  }

  /** Of a firing whose worker has ended, or which was taken back: it is given to another one. */
  goesOn(why: 'retried' | 'takenBack'): void {
    this.counts[why]++;
  }

  /** Called once for each firing. */
  settled(firing: Firing, outcome: Outcome): void {
    this.counts[outcome.what]++;
    this.#unsettled--;
    if (outcome.what !== 'handled') this.report(firing.id, 1, outcome.error, firing.payload);
    this.#tellWhenSettled();
    if (!this.#closed && !this.busy) this.free(outcome);
  }

  /** A firing is about to time out, and its handler is still at work; or it no longer is. */
  late(by: 1 | -1): void {
    this.#late += by;
    this.#tellWhenSettled();
  }

  #tellWhenSettled(): void {
    if (this.#unsettled + this.#late > 0) return;
    for (const resolve of this.#whenSettled.splice(0)) resolve();
  }

  protected report(id: number | null, times: number, error: GyreError, payload: unknown): void {
    this.context.failed({ name: this.name, kind: this.kind, id, times, error, payload });
  }

  /** The workers that handle its name have changed. */
  handlersChanged(): void {}

  /** The thread of `worker` has ended. */
  workerEnded(_worker: WorkerHandle): void {}

  /** What `worker` says of the source that it knows as `id`. */
  heard(worker: WorkerHandle, message: FromWorker): void {
    if (message.kind === 'close-source') this.end();
    else this.heardMore(worker, message);
  }

  protected heardMore(_worker: WorkerHandle, _message: FromWorker): void {}

  /** It may fire again. `last` is what became of the firing that has settled. */
  protected abstract free(last: Outcome): void;

  /** It ceases to listen, watch or count. */
  protected abstract stop(): void;
}
