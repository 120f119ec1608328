/**
 * Who the calling thread is. Kept on the global object under a registered symbol,
 * so that a server which imports its own copy of gyre sees the same as the copy
 * that started it.
 */
import type { Socket } from 'node:net';
import type { EventHandler, Handled } from '../events.js';
import type { RunOptions } from '../job-request.js';
import type { ShutdownHandler } from './shutdown.js';

/** What a worker knows of itself. Frozen. */
export interface WorkerSelf {
  /** 0 to `count` - 1; of a spare, `count` or more. */
  readonly index: number;
  /** CPU that this thread is pinned to, or null if it is not. */
  readonly cpu: number | null;
  /** How many workers the runtime was started with, spares not counted. */
  readonly count: number;
  /** Whether it is a spare, which serves only while every worker stands still. */
  readonly spare: boolean;
}

/** What an application may say about its own connections. */
export interface MovingControl {
  hold(socket: Socket): void;
  release(socket: Socket): boolean;
}

/** What prom-client's registries can do, as far as gyre asks. */
export interface MetricsRegistry {
  /** Every metric with its values. */
  getMetricsAsJSON(): Promise<unknown>;
}

/** What runs the jobs of an application. */
export interface JobRunner {
  run(job: string | URL, value: unknown, options: RunOptions): Promise<unknown>;
}

/** What an application may say about events, and about its own beginning and end. */
export interface EventsControl {
  on(name: string, handler: EventHandler): () => void;
  emit(name: string, payload: unknown, options: unknown): Promise<Handled>;
  ready(): void;
  onShutdown(handler: ShutdownHandler): () => void;
}

const KEY = Symbol.for('gyre.worker');
const MOVING = Symbol.for('gyre.moving');
const REGISTRIES = Symbol.for('gyre.registries');
const JOBS = Symbol.for('gyre.jobs');
const EVENTS = Symbol.for('gyre.events');
const holder = globalThis as unknown as {
  [KEY]?: WorkerSelf;
  [MOVING]?: MovingControl;
  [REGISTRIES]?: Set<MetricsRegistry>;
  [JOBS]?: JobRunner;
  [EVENTS]?: EventsControl;
};

/** Registries that the application named; add to it. */
export function namedRegistries(): Set<MetricsRegistry> {
  const registries = holder[REGISTRIES] ?? new Set();
  if (holder[REGISTRIES] === undefined) {
    Object.defineProperty(holder, REGISTRIES, { value: registries });
  }
  return registries;
}

/** Called once, by the bootstrap, before any user code. */
export function setSelf(self: WorkerSelf | null): void {
  if (self === null) delete holder[KEY];
  else Object.defineProperty(holder, KEY, { value: Object.freeze(self), configurable: true });
}

/** Called once, by the agent, where connections move; null at its end. */
export function setMovingControl(control: MovingControl | null): void {
  if (control === null) delete holder[MOVING];
  else Object.defineProperty(holder, MOVING, { value: control, configurable: true });
}

/** Null where connections do not move. */
export function getMovingControl(): MovingControl | null {
  return holder[MOVING] ?? null;
}

/** Called once, by the bootstrap, before any user code; null at the end of an inline worker. */
export function setJobRunner(runner: JobRunner | null): void {
  if (runner === null) delete holder[JOBS];
  else Object.defineProperty(holder, JOBS, { value: runner, configurable: true });
}

/** Null on a thread that gyre did not start, and in a thread of the job pool. */
export function getJobRunner(): JobRunner | null {
  return holder[JOBS] ?? null;
}

/** Called once, by the agent; null at its end. */
export function setEventsControl(control: EventsControl | null): void {
  if (control === null) delete holder[EVENTS];
  else Object.defineProperty(holder, EVENTS, { value: control, configurable: true });
}

/** Null on a thread that gyre did not start. */
export function getEventsControl(): EventsControl | null {
  return holder[EVENTS] ?? null;
}

/** This thread's worker, or null on a thread that gyre did not start. */
export function getSelf(): WorkerSelf | null {
  return holder[KEY] ?? null;
}
