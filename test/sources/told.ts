/**
 * What the handlers of test/fixtures/apps/events.js do, as they tell on a channel; and a runtime
 * that runs it in this process.
 */
import { once } from 'node:events';
import { BroadcastChannel } from 'node:worker_threads';
import type { Test } from 'tap';
import type { Runtime, RuntimeOptions, SourceFailure } from '../../src/index.js';
import { app, start } from '../support/app.js';

/** What main does is not told, and may come a moment later. */
const LOOK_MS = 20;

export interface Told {
  readonly what: 'begun' | 'settled' | 'aborted' | 'emitted';
  readonly name: string;
  readonly kind: string;
  readonly id: number;
  readonly attempt: number;
  readonly worker: number;
  readonly threadId: number;
  readonly program: string;
  // biome-ignore lint/suspicious/noExplicitAny: of every kind of event
  readonly payload?: any;
  /** What a handler of a descriptor read. */
  readonly read?: string | null;
  readonly code?: string;
  // biome-ignore lint/suspicious/noExplicitAny: as the application sees it
  readonly outcome?: any;
}

export class Listener {
  readonly all: Told[] = [];
  /** All but those of what waited when its source was closed, which may be any last firing. */
  readonly failures: SourceFailure[] = [];
  readonly errors: Error[] = [];
  readonly #channel = new BroadcastChannel('events');
  #changed: () => void = () => {};

  constructor(t: Test) {
    this.#channel.onmessage = (message) => {
      this.all.push((message as { data: Told }).data);
      this.#changed();
    };
    t.teardown(() => this.#channel.close());
  }

  follow(runtime: Runtime): void {
    runtime.on('failure', (failure) => {
      if (failure.error.code !== 'ERR_GYRE_CLOSED') this.failures.push(failure);
      this.#changed();
    });
    runtime.on('error', (error) => this.errors.push(error));
  }

  of(what: Told['what'], name?: string): Told[] {
    return this.all.filter(
      (told) => told.what === what && (name === undefined || told.name === name),
    );
  }

  /** Codes of the failures so far. */
  get codes(): string[] {
    return this.failures.map(({ error }) => error.code);
  }

  /** Resolves when `holds` does; it is asked whenever something is told, and now and then. */
  async until<T>(holds: () => T | false | undefined | null): Promise<T> {
    for (;;) {
      const held = holds();
      if (held) return held;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
        timer = setTimeout(resolve, LOOK_MS);
      });
      clearTimeout(timer);
    }
  }

  /** Resolves when `count` have been told of. */
  async count(count: number, what: Told['what'], name?: string): Promise<Told[]> {
    return this.until(() => this.of(what, name).length >= count && this.of(what, name));
  }
}

export interface Events {
  readonly runtime: Runtime;
  readonly told: Listener;
}

/** A runtime whose workers handle `names`. */
export async function events(
  t: Test,
  names: readonly string[] = ['job'],
  options: Partial<RuntimeOptions> = {},
): Promise<Events> {
  const told = new Listener(t);
  const runtime = await start(t, app('events.js'), {
    ...{ workers: 2, spares: 0, restarts: Number.POSITIVE_INFINITY },
    ...options,
    env: { NAMES: names.join(','), ...options.env },
  });
  told.follow(runtime);
  return { runtime, told };
}

/** The one worker of `runtime` is another thread than `threadId`, and serves. */
export async function replaced(runtime: Runtime, threadId: number): Promise<void> {
  while (!runtime.workers.every((worker) => worker.threadId !== threadId)) {
    await once(runtime, 'worker');
  }
}

/** What `promise` rejects with. */
export async function refusal(promise: Promise<unknown>): Promise<{
  readonly code: string;
  readonly message: string;
  readonly cause?: unknown;
}> {
  try {
    await promise;
  } catch (error) {
    return error as Awaited<ReturnType<typeof refusal>>;
  }
  throw new Error('it was not refused');
}
