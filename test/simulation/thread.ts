/**
 * A simulated thread: its event loop, whose next event the simulation chooses, and its end, after
 * which the kernel closes one by one what its handles had. It can be stopped at any point of what
 * it runs, while others go on, and ended there.
 */
import { EventEmitter } from 'node:events';
import type { Loop } from './addon.js';
import { Ended, type JobQueue, type Later } from './jobs.js';
import { Violation } from './kernel.js';
import type { Tcp } from './net.js';
import { points } from './points.js';
import type { Port } from './ports.js';
import type { Realm, Surroundings } from './realm.js';
import type { World } from './world.js';

export type ThreadKind = 'main' | 'worker' | 'governor';

export class Timer implements Choice {
  readonly label = 'timer';
  readonly #thread: Thread;
  readonly work: () => void;
  readonly ms: number;
  readonly repeats: boolean;
  at: number;
  keeps = true;

  constructor(thread: Thread, work: () => void, ms: number, repeats: boolean) {
    this.#thread = thread;
    this.work = work;
    this.ms = ms;
    this.repeats = repeats;
    this.at = thread.world.now + ms;
  }

  happen(): void {
    if (this.repeats) this.at = this.#thread.world.now + this.ms;
    else this.#thread.timers.delete(this);
    this.work();
  }

  unref(): this {
    this.keeps = false;
    return this;
  }

  ref(): this {
    this.keeps = true;
    return this;
  }
}

/** Something that a thread could do next. */
export interface Choice {
  readonly label: string;
  happen(): void;
}

/** An event that waits for its turn. */
class Event implements Choice {
  readonly label: string;
  readonly work: () => void;
  /** It may ask main something and wait for the answer. */
  readonly asks: boolean;
  readonly #queue: Event[];

  constructor(label: string, work: () => void, asks: boolean, queue: Event[]) {
    this.label = label;
    this.work = work;
    this.asks = asks;
    this.#queue = queue;
  }

  happen(): void {
    this.#queue.shift();
    this.work();
  }
}

/** How the simulation tells one end from another. */
export type End = 'exit' | 'uncaught' | 'terminated' | 'out of memory' | 'finished';

export class Thread implements JobQueue {
  readonly world: World;
  readonly name: string;
  readonly kind: ThreadKind;
  readonly id: number;
  /** What the sources find as `process`. */
  readonly process: SimulatedProcess;
  /** What its sources find around them, and those that it does not share. */
  surroundings: Surroundings = { globals: {}, modules: {} };
  realm: Realm | null = null;
  readonly ports: Port[] = [];
  readonly handles = new Set<Tcp>();
  readonly timers = new Set<Timer>();
  readonly #immediates: Event[] = [];
  readonly #events: Event[] = [];
  readonly #ticks: (() => void)[] = [];
  readonly #jobs: (() => void)[] = [];
  readonly #unhandled: [Later<unknown>, unknown][] = [];
  loop: Loop | null = null;
  /** It is in a callback of the program until then, and what it does after that. */
  busy: { readonly until: number; readonly then: () => void } | null = null;
  /** Until then it is in a system call, and nothing ends it. */
  blocked = 0;
  /** It is in the middle of a step: it runs, or others run instead of it. */
  onStack = false;
  /** The governor holds it at a safepoint. */
  paused = false;
  /** It is to be ended as soon as V8 can. */
  doomed: End | null = null;
  /** It runs no more JavaScript. */
  end: End | null = null;
  /** Nothing is left of it. */
  gone = false;
  /** What main told it, and when last. */
  readonly told = new Map<string, number>();
  error: unknown;
  exitCode = 0;
  /** Its exit handlers run, or have run. */
  exits = false;
  /** Called when nothing is left of it. */
  onGone: () => void = () => {};
  /** Descriptors of its loop. */
  readonly own: number[] = [];
  /** What else the environment's end stops. */
  readonly cleanups: (() => void)[] = [];
  /** It closes its servers when that is the next thing to do, and that asks main. */
  leaves = false;

  constructor(world: World, name: string, kind: ThreadKind, id: number) {
    this.world = world;
    this.name = name;
    this.kind = kind;
    this.id = id;
    this.process = new SimulatedProcess(this);
  }

  post(label: string, work: () => void, asks = false): void {
    this.#events.push(new Event(label, work, asks, this.#events));
  }

  tick(work: () => void): void {
    this.#ticks.push(work);
  }

  job(work: () => void): void {
    this.#jobs.push(work);
  }

  unhandled(promise: Later<unknown>, reason: unknown): void {
    this.#unhandled.push([promise, reason]);
  }

  timer(work: () => void, ms: number, repeats: boolean): Timer {
    // As Node has it: not below 1 ms, and what is no number of ms is 1.
    const delay = ms >= 1 && ms <= 2 ** 31 - 1 ? ms : 1;
    const timer = new Timer(this, work, delay, repeats);
    this.timers.add(timer);
    return timer;
  }

  clear(timer: Timer | undefined | null): void {
    if (timer) this.timers.delete(timer);
  }

  immediate(work: () => void): void {
    this.#immediates.push(new Event('immediate', work, true, this.#immediates));
  }

  /** Whether it runs JavaScript, now or later. */
  get lives(): boolean {
    return this.end === null;
  }

  /** When its next timer is due, or it is no longer busy; Infinity: never. */
  get wakesAt(): number {
    if (!this.lives) return Number.POSITIVE_INFINITY;
    if (this.busy !== null) return this.busy.until;
    let at = Number.POSITIVE_INFINITY;
    for (const timer of this.timers) if (timer.at < at) at = timer.at;
    return at;
  }

  /** Nothing waits for it. */
  get sleeps(): boolean {
    if (!this.lives || this.onStack || this.paused || this.busy !== null) return false;
    return this.doomed === null && !this.ready(true, null);
  }

  /** It is in a callback of the program for `ms`, and then does the rest of it. */
  burn(ms: number, then: () => void): void {
    this.busy = { until: this.world.now + ms, then };
  }

  /** The same, in a system call that nothing interrupts. */
  block(ms: number, then: () => void): void {
    this.burn(ms, then);
    this.blocked = this.world.now + ms;
  }

  /** Main tells it something. */
  hears(message: unknown): void {
    const { kind } = message as { kind?: string };
    if (kind === undefined) return;
    this.told.set(kind, this.world.now);
    if (kind === 'drain' || kind === 'retire') this.leaves = true;
  }

  readonly #ending: Choice = { label: 'ends', happen: () => this.#tearDown() };
  readonly #ended: Choice = {
    label: 'is ended',
    happen: () => this.finish(this.doomed as End),
  };
  readonly #returning: Choice = { label: 'returns', happen: () => this.#resume() };
  readonly #finishing: Choice = { label: 'is done', happen: () => this.#finishByItself() };

  /**
   * Whether there is anything that it could do next.
   *
   * @param asks whether it may wait for main
   * @param found gets what it could do; null: nobody wants to know
   */
  ready(asks: boolean, found: Choice[] | null): boolean {
    if (this.onStack || this.paused || this.gone) return false;
    if (this.blocked > this.world.now) return false;
    const only = (choice: Choice) => found === null || found.push(choice) > 0;
    if (!this.lives) return only(this.#ending);
    if (this.doomed !== null) return only(this.#ended);
    if (!asks && this.leaves) return false;
    if (this.busy !== null) return this.busy.until <= this.world.now && only(this.#returning);
    return this.#loopIsReady(asks, found) || (!this.#keeps && only(this.#finishing));
  }

  /** The same, of what its loop has. */
  #loopIsReady(asks: boolean, found: Choice[] | null): boolean {
    const before = found?.length ?? 0;
    for (const queue of [this.#events, this.#immediates]) {
      const event = queue[0];
      if (event === undefined || (event.asks && !asks)) continue;
      if (found === null) return true;
      found.push(event);
    }
    for (const port of this.ports) {
      if (!port.has || (this.kind === 'worker' && !asks)) continue;
      if (found === null) return true;
      found.push(port);
    }
    const due = this.#due();
    if (due !== null) {
      if (found === null) return true;
      found.push(due);
    }
    if (this.loop?.woken) {
      if (found === null) return true;
      found.push(this.loop);
    }
    for (const handle of this.handles) {
      if (!handle.watched || !handle.readable) continue;
      if (found === null) return true;
      found.push(handle);
    }
    return found !== null && found.length > before;
  }

  /** Whether something keeps its loop from ending. */
  get #keeps(): boolean {
    if (this.kind === 'main' || this.loop?.woken) return true;
    for (const handle of this.handles) if (handle.keeps) return true;
    if (this.#events.length > 0 || this.#immediates.length > 0) return true;
    if (this.cleanups.length > 0 && !this.world.watcher?.stopped) return true;
    for (const timer of this.timers) if (timer.keeps) return true;
    return this.ports.some(({ keeps }) => keeps);
  }

  #resume(): void {
    const { then } = this.busy as { then: () => void };
    this.busy = null;
    if (this.loop !== null) this.loop.long = true;
    then();
  }

  #due(): Timer | null {
    let due: Timer | null = null;
    for (const timer of this.timers) {
      if (timer.at <= this.world.now && (due === null || timer.at < due.at)) due = timer;
    }
    return due;
  }

  /** One callback, and what it leaves for its end. */
  run(choice: Choice): void {
    const { world } = this;
    const before = world.running;
    const { left } = points;
    world.running = this;
    this.onStack = true;
    if (this.loop !== null) this.loop.busySince ??= world.now;
    points.left = world.untilNextPoint();
    try {
      try {
        choice.happen();
        this.#settle();
      } catch (error) {
        if (error instanceof Ended) throw error;
        this.#uncaught(error);
      }
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
    } finally {
      world.running = before;
      this.onStack = false;
      points.left = left;
    }
  }

  #settle(): void {
    for (;;) {
      const work = this.#ticks.shift() ?? this.#jobs.shift();
      if (work === undefined) break;
      work();
    }
    for (const [promise, reason] of this.#unhandled.splice(0)) {
      if (!promise.handled) throw reason;
    }
  }

  #uncaught(error: unknown): void {
    if (error instanceof Violation) throw error;
    if (this.kind !== 'worker') {
      throw new Violation(`uncaught on ${this.name}: ${(error as Error).stack ?? error}`);
    }
    this.error = error;
    this.#exit('uncaught', 1);
  }

  /** `process.exit()`. */
  exit(code = 0): never {
    this.#exit('exit', code);
    throw new Ended();
  }

  #exit(how: End, code: number): void {
    if (!this.exits) {
      this.exits = true;
      this.exitCode = code;
      this.process.emit('exit', code);
    }
    this.finish(how);
    throw new Ended();
  }

  #finishByItself(): void {
    this.exits = true;
    this.process.emit('exit', 0);
    this.finish('finished');
  }

  /** It runs nothing more; the environment is torn down in steps that follow. */
  finish(how: End): void {
    if (this.end !== null) return;
    this.end = how;
    if (how === 'terminated' || how === 'out of memory') this.exitCode = 1;
    if (how === 'out of memory') {
      this.error = Object.assign(new Error('out of memory'), { code: 'ERR_WORKER_OUT_OF_MEMORY' });
    }
    this.world.log(`${this.name} has ended: ${how}`);
    this.timers.clear();
    this.#ticks.length = 0;
    this.#jobs.length = 0;
    this.#unhandled.length = 0;
    this.busy = null;
  }

  #tearDown(): void {
    const [handle] = this.handles;
    const by = `the end of ${this.name}`;
    if (handle !== undefined) {
      handle.closeAtEnd(by);
      return;
    }
    this.loop?.detach();
    for (const cleanup of this.cleanups) cleanup();
    for (const fd of this.own) this.world.kernel.close(fd, by);
    for (const port of this.ports) port.close();
    this.gone = true;
    this.onGone();
  }

  /** The process's exit in other words than the worker's own. */
  get what(): string {
    return `${this.name} (${this.end ?? 'running'})`;
  }
}

/** `process`, as far as the sources use it. */
class SimulatedProcess extends EventEmitter {
  readonly argv: readonly string[] = ['node', 'gyre'];
  readonly execPath = 'node';
  readonly env = {};
  readonly platform = 'linux';
  readonly versions = process.versions;
  readonly stdout = new Stream();
  readonly stderr = new Stream();
  readonly #thread: Thread;

  constructor(thread: Thread) {
    super();
    this.setMaxListeners(0);
    this.#thread = thread;
  }

  exit = (code?: number): never => this.#thread.exit(code);
  nextTick = (work: () => void): void => this.#thread.tick(work);
  emitWarning = (text: string): void => this.#thread.world.log(`warning: ${text}`);
  hrtime = {
    bigint: (): bigint => BigInt(Math.round(this.#thread.world.now * 1e6)),
  };
}

class Stream {
  readonly isTTY = false;
  write(): boolean {
    return true;
  }
}
