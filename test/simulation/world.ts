/**
 * One run: the runtime as it is, on a kernel, threads and a clock that are not, with clients and an
 * operator. A seed decides what happens next, at every step; the same seed, the same run.
 */
import { constants } from 'node:os';
import type { Runtime } from '../../src/index.js';
import type { RuntimeOptions } from '../../src/runtime/options.js';
import type { ResolvedOptions } from '../../src/runtime/resolved-options.js';
import { below, type Random, seededRandom } from '../../src/scheduler/random.js';
import { addonOf, type Loop, type Watcher } from './addon.js';
import { Connection, type Wish } from './client.js';
import { Invariants } from './invariants.js';
import { Ended, jobsGoTo, Later } from './jobs.js';
import { type Call, Kernel, Violation } from './kernel.js';
import { type Net, netOf, type Tcp } from './net.js';
import { type Point, points } from './points.js';
import { workerThreadsOf } from './ports.js';
import { type Program, runProgram } from './program.js';
import type { Realm, Sources, Surroundings } from './realm.js';
import { type Choice, Thread } from './thread.js';

const { EMFILE, ENFILE, ENOMEM } = constants.errno;

/** Where src/native.ts looks for the native helper. */
const ADDON = '/gyre/build/Release/gyre.node';

/** Of all threads. */
const CLOCK = {
  performance: { now: () => current.now },
  Math: Object.assign(Object.create(Math), { random: () => current.random() / 2 ** 32 }),
};

/** What a run consists of. */
export interface Plan {
  readonly workers: number;
  readonly maxWorkers: number;
  readonly spares: number;
  readonly descriptors: number;
  readonly clients: number;
  /** Steps until faults cease, and all must come to rest. */
  readonly steps: number;
  readonly ports: readonly number[];
  readonly restarts: number;
  /** In ten thousand: */
  readonly preempts: number; // points at which others run
  readonly kills: number; // of these at which the thread is ended
  readonly fails: number; // calls
  readonly operates: number; // steps
  readonly limits: Pick<RuntimeOptions, 'maxConnections' | 'maxOutstanding' | 'overload'>;
  readonly wishes: readonly Wish[];
}

/** Nested steps while a thread is stopped in the middle of one, and how deep that may go. */
const NESTED_MAX = 6;
const DEPTH_MAX = 4;
/** A step takes up to so long. */
const STEP_MS = 0.2;
/** Steps in which all must come to rest. */
const REST_STEPS = 40_000;

export class World {
  readonly plan: Plan;
  readonly kernel: Kernel;
  readonly random: Random;
  readonly loops = new Map<number, Loop>();
  /** Those of which main has not heard that they have gone. */
  readonly threads: Thread[] = [];
  /** By descriptor. */
  readonly handles: (Tcp | undefined)[] = [];
  readonly clients: Connection[] = [];
  readonly programs = new Map<string, Program>();
  readonly invariants: Invariants;
  readonly main: Thread;
  readonly options: ResolvedOptions;
  readonly trace: string[] | null;
  now = 1000;
  hash = 0;
  running: Thread;
  watcher: Watcher | null = null;
  runtime: Runtime | null = null;
  /** Nothing fails any more. */
  calm = false;
  closing = false;
  steps = 0;
  /** Slots of workers that accept by themselves are below `accepting`. */
  slots = { accepting: 0 };
  #depth = 0;
  /** What a thread could do, while one of it is chosen. */
  readonly #choices: Choice[] = [];
  #threads = 0;
  #connections = 0;
  readonly #sources: Sources;

  constructor(seed: number, plan: Plan, sources: Sources, traces: boolean) {
    this.plan = plan;
    this.#sources = sources;
    this.random = seededRandom(seed);
    this.trace = traces ? [] : null;
    this.invariants = new Invariants(this);
    this.kernel = new Kernel(plan.descriptors, {
      fails: (call) => this.fails(call),
      closed: (connection, by) => this.invariants.closed(connection, by),
      reset: (connection, by) => this.invariants.reset(connection, by),
    });
    current = this;
    Violation.first = null;
    jobsGoTo(() => this.running);
    points.left = Number.POSITIVE_INFINITY;
    points.reached = (kind) => this.#reached(kind);
    points.wait = (words, at, value, ms) => this.#wait(words, at, value, ms);
    this.main = this.#newThread('main', 'main', null);
    this.running = this.main;
    const { shared } = sources;
    const { resolveOptions } = shared.load<{ resolveOptions(given: object): ResolvedOptions }>(
      'runtime/resolved-options',
    );
    this.programs.set('/app-0', { start: 'serves', ports: plan.ports });
    this.options = resolveOptions({
      ...{ entry: '/app-0', workers: plan.workers, maxWorkers: plan.maxWorkers, pin: 'off' },
      ...plan.limits,
      ...{ spares: plan.spares, restarts: plan.restarts, restartsWithinMs: 10_000 },
      ...{ drainMs: 500, startMs: 500, hangMs: 200, recycleAtHeapRatio: 0 },
      scheduler: { seed, tickMs: 1 },
    });
    this.slots.accepting = 2 * plan.maxWorkers;
    const { startRuntime } = shared.load<{
      startRuntime(options: ResolvedOptions, inline: unknown): PromiseLike<Runtime>;
    }>('runtime/launch');
    this.main.post('starts', () => {
      this.invariants.settles('start', startRuntime(this.options, null), (runtime) => {
        this.runtime = runtime as Runtime;
        this.invariants.follow(this.runtime);
      });
    });
  }

  log(text: string): void {
    for (let i = 0; i < text.length; i++) {
      this.hash = (Math.imul(this.hash, 31) + text.charCodeAt(i)) | 0;
    }
    this.trace?.push(`${this.now.toFixed(2)} ${'  '.repeat(this.#depth)}${text}`);
  }

  /** For a reader only. */
  detail(text: () => string): void {
    this.trace?.push(text());
  }

  below(bound: number): number {
    return below(this.random, bound);
  }

  /** True once in a while: `often` in ten thousand. */
  chance(often: number): boolean {
    return often > 0 && this.below(10_000) < often;
  }

  fails(call: Call): number {
    if (this.calm || !this.chance(this.plan.fails)) return 0;
    this.log(`${call} fails`);
    this.invariants.failed(call);
    if (call === 'epoll_ctl') return -ENOMEM;
    return this.below(2) === 0 ? -EMFILE : -ENFILE;
  }

  /** `handle` is the one over its descriptor from now on. */
  enter(handle: Tcp): void {
    const { fd, thread } = handle;
    if (this.handles[fd] !== undefined) {
      throw new Violation(`${thread.name} has ${fd}, and so has another`);
    }
    this.handles[fd] = handle;
    thread.handles.add(handle);
  }

  /** No longer: it is about to close that. */
  leave(handle: Tcp): void {
    this.handles[handle.fd] = undefined;
    handle.thread.handles.delete(handle);
  }

  /** Not every connection may be served at once. */
  get #isLimited(): boolean {
    const { maxConnections, maxOutstanding } = this.plan.limits;
    return maxConnections !== undefined || maxOutstanding !== undefined;
  }

  cannotPause(): boolean {
    return !this.calm && this.chance(this.plan.fails);
  }

  readable(fd: number): boolean {
    const file = this.kernel.fileAt(fd);
    if (file?.kind !== 'stream') return false;
    return file.received > file.consumed || file.connection.state === 'closed by client';
  }

  /** Points that the thread which now begins to run passes before something happens. */
  untilNextPoint(): number {
    if (this.running.doomed !== null) return 1;
    if (this.calm || !this.chance(this.plan.preempts)) return Number.POSITIVE_INFINITY;
    return 1 + this.below(80);
  }

  /** Just after a system call things go wrong more often: something is somebody's whom nobody knows yet. */
  afterCall(): void {
    if (this.calm || !this.chance(this.plan.preempts)) return;
    points.left = Math.min(points.left, 1 + this.below(8));
  }

  #reached(kind: Point): void {
    const { running } = this;
    if (running.end !== null) throw new Ended();
    // V8 ends a thread at the entry of a function or the turn of a loop, and nowhere else.
    const mortal = running.kind !== 'main';
    if (mortal && running.doomed === null && !this.calm) {
      if (this.chance(this.plan.kills)) running.doomed = 'out of memory';
    }
    if (mortal && kind === 'enter' && running.doomed !== null) {
      running.finish(running.doomed);
      throw new Ended();
    }
    if (running.doomed === null) this.#nest();
    points.left = running.end === null ? this.untilNextPoint() : 1;
  }

  /** Others run, while the running thread is in the middle of something. */
  #nest(): void {
    if (this.#depth >= DEPTH_MAX) return;
    const { left } = points;
    this.#depth++;
    for (let n = 1 + this.below(NESTED_MAX); n > 0; n--) this.step();
    this.#depth--;
    points.left = left;
  }

  #wait(words: Int32Array, at: number, value: number, ms: number): void {
    const { running } = this;
    if (this.main.onStack) throw new Error('main cannot answer: it is in the middle of something');
    const until = this.now + ms;
    this.#depth++;
    while (Atomics.load(words, at) === value && running.doomed === null) {
      if (this.now > until) break;
      this.step();
    }
    this.#depth--;
    if (running.doomed === null) return;
    running.finish(running.doomed);
    throw new Ended();
  }

  #newThread(name: string, kind: Thread['kind'], workerData: unknown): Thread {
    const thread = new Thread(this, name, kind, this.#threads++);
    const surroundings = this.#surround(thread, workerData, netOf(thread));
    thread.surroundings = surroundings;
    thread.realm = this.#sources.realm(surroundings);
    this.threads.push(thread);
    return thread;
  }

  /** As `new Worker(file)`. */
  startThread(file: string, name: string, workerData: unknown): Thread {
    if (this.fails('open') !== 0) {
      throw Object.assign(new Error('no thread'), { code: 'ERR_WORKER_INIT_FAILED' });
    }
    const kind = file.endsWith('governor-bootstrap.js') ? 'governor' : 'worker';
    const thread = this.#newThread(`${name} #${this.#threads}`, kind, workerData);
    this.invariants.started(thread, workerData);
    for (let i = 0; i < 2; i++) {
      const fd = this.kernel.other();
      if (fd >= 0) thread.own.push(fd);
    }
    const module = kind === 'governor' ? 'workers/governor-bootstrap' : 'workers/bootstrap';
    thread.post('starts', () => thread.realm?.load(module), true);
    return thread;
  }

  /** Main hears that `thread` has gone. */
  mourn(thread: Thread): void {
    this.threads.splice(this.threads.indexOf(thread), 1);
  }

  terminate(thread: Thread): void {
    if (thread.end !== null || thread.doomed !== null) return;
    this.log(`${thread.name} is terminated`);
    this.invariants.terminated(thread);
    thread.doomed = 'terminated';
  }

  stays(socket: object): void {
    const { _handle } = socket as { _handle: { file: { connection: Connection } } };
    _handle.file.connection.stays = true;
  }

  /** What `thread` has around its sources. */
  #surround(thread: Thread, workerData: unknown, net: Net): Surroundings {
    return {
      globals: {
        ...CLOCK,
        process: thread.process,
        globalThis: {},
        queueMicrotask: (work: () => void) => thread.job(work),
        setTimeout: (work: () => void, ms: number) => thread.timer(work, ms, false),
        setInterval: (work: () => void, ms: number) => thread.timer(work, ms, true),
        setImmediate: (work: (...args: unknown[]) => void, ...args: unknown[]) =>
          thread.immediate(() => work(...args)),
        clearTimeout: (timer: never) => thread.clear(timer),
        clearInterval: (timer: never) => thread.clear(timer),
      },
      modules: {
        'node:worker_threads': workerThreadsOf(this, thread, workerData),
        'node:net': net.net,
        'node:diagnostics_channel': net.channels,
        'node:module': this.#moduleOf(thread, net),
        'node:timers/promises': {
          setImmediate: () => new Later((resolve) => thread.immediate(resolve)),
          setTimeout: (ms: number) => new Later((resolve) => thread.timer(resolve, ms, false)),
        },
        [ADDON]: addonOf(thread),
      },
    };
  }

  #moduleOf(thread: Thread, net: Net): object {
    const module = {
      ...{ syncBuiltinESMExports() {}, __esModule: true },
      runMain: (entry: string) => {
        const program = this.programs.get(entry) as Program;
        const self = thread.realm?.load<{ getMovingControl(): never }>('workers/self');
        this.log(`${thread.name} runs ${entry}`);
        runProgram(program, thread, net, () => self?.getMovingControl() ?? null);
      },
    };
    return Object.assign(module, { default: module });
  }

  // What happens next.

  /** One event of somebody. False if nothing can happen but that time passes. */
  step(): void {
    this.steps++;
    this.now += (STEP_MS * this.below(100)) / 100;
    const choice = this.below(100);
    if (choice < 25 && this.#clientActs()) return;
    if (choice < 30 && this.watcher?.sees) {
      this.log('the watcher looks');
      this.watcher.tick();
      this.now += 1;
      return;
    }
    if (choice < 33 && !this.calm && this.#operatorActs()) return;
    if (this.#threadActs()) return;
    if (this.#clientActs()) return;
    this.#timePasses();
  }

  #threadActs(): boolean {
    const asks = !this.main.onStack;
    const { threads } = this;
    // Whoever comes first of those that can, from anybody on: as good as one of these at random.
    const from = this.below(threads.length);
    let thread: Thread | undefined;
    const choices = this.#choices;
    choices.length = 0;
    for (let i = 0; i < threads.length && choices.length === 0; i++) {
      thread = threads[(from + i) % threads.length] as Thread;
      thread.ready(asks, choices);
    }
    if (thread === undefined || choices.length === 0) return false;
    const choice = choices[this.below(choices.length)] as Choice;
    this.log(`${thread.name}: ${choice.label}`);
    const { lives } = thread;
    thread.run(choice);
    if (lives && thread.lives && thread.busy === null) this.#iterationEnds(thread);
    return true;
  }

  /** After one callback or several. */
  #iterationEnds(thread: Thread): void {
    const { loop } = thread;
    if (loop === null || (this.below(3) > 0 && !thread.sleeps)) return;
    if (!this.calm && this.chance(500)) loop.long = true;
    const said = loop.iterate(!this.calm && this.chance(20));
    if (said === null) return;
    this.log(`${thread.name}: round`);
    thread.run(said);
  }

  /** Loops begin to watch what they do not watch yet, and sleep then. True: something was ready there. */
  #loopsGoOn(): boolean {
    let found = false;
    for (const thread of this.threads) {
      if (!thread.sleeps || ![...thread.handles].some((each) => !each.watched && each.readable))
        continue;
      this.#iterationEnds(thread);
      found ||= !thread.sleeps;
    }
    return found;
  }

  #timePasses(): void {
    if (this.#depth > 0) return; // whoever is in the middle of something goes on
    if (this.#loopsGoOn()) return;
    let next = Number.POSITIVE_INFINITY;
    for (const thread of this.threads) next = Math.min(next, thread.wakesAt);
    if (this.watcher?.sees) {
      this.watcher.tick();
      next = Math.min(next, this.now + 20);
    }
    if (next === Number.POSITIVE_INFINITY) {
      if (this.calm) this.invariants.nothingHappens();
      this.now += 1;
      return;
    }
    this.now = Math.max(this.now, next);
  }

  // Clients.

  #clientActs(): boolean {
    const open = this.clients.filter(({ state }) => state === 'open');
    if (this.calm) {
      const unsent = open.filter((client) => client.unsent);
      const client = unsent[this.below(Math.max(unsent.length, 1))];
      client?.send('answer', false);
      return client !== undefined || this.#makesRoom(open);
    }
    if (this.runtime === null || this.closing) return false;
    if (open.length < this.plan.clients && this.below(3) === 0) {
      this.#connect();
      return true;
    }
    const client = open[this.below(Math.max(open.length, 1))];
    if (client === undefined) return false;
    if (client.unsent) client.send('answer', false);
    else if (client.idle && this.below(20) === 0) this.#leave(client);
    else if (client.idle && !client.stays) {
      const wish = this.plan.wishes[this.below(this.plan.wishes.length)] as Wish;
      this.log(`client ${client.id}: ${wish}`);
      client.send(wish, this.below(8) === 0);
    } else return false;
    return true;
  }

  #connect(): void {
    const { ports } = this.plan;
    const port = ports[this.below(ports.length)] as number;
    const mayBeRefused = this.options.overload === 'refuse';
    const connection = new Connection(++this.#connections, port, mayBeRefused);
    const sockets = this.kernel.listening(port);
    this.log(`client ${connection.id} connects to ${port}`);
    if (sockets.length === 0) {
      this.invariants.refused(connection);
      return;
    }
    sockets[this.below(sockets.length)]?.queue.push(connection);
    this.clients.push(connection);
    if (this.below(2) === 0) connection.send('answer', false);
  }

  #leave(client: Connection): void {
    this.log(`client ${client.id} leaves`);
    client.leave();
  }

  /** Where there is a limit and nothing else happens: what was answered goes, if somebody waits. */
  #makesRoom(open: readonly Connection[]): boolean {
    if (!this.#isLimited || open.every(({ stream }) => stream !== null)) return false;
    const idle = open.filter((client) => client.idle && client.stream !== null);
    const client = idle[this.below(Math.max(idle.length, 1))];
    if (client !== undefined) this.#leave(client);
    return client !== undefined;
  }

  // The operator.

  #operatorActs(): boolean {
    const { runtime } = this;
    if (runtime === null || this.closing || this.#depth > 0) return false;
    if (!this.chance(this.plan.operates * 33)) return false;
    const what = this.below(10);
    const { maxWorkers, ports } = this.plan;
    if (what < 4) {
      const start = (['serves', 'serves', 'serves', 'late', 'fails', 'silent'] as const)[
        this.below(6)
      ];
      const entry = `/app-${this.programs.size}`;
      this.programs.set(entry, { start: start ?? 'serves', ports });
      this.#asksFor(
        `reload ${start}`,
        () => runtime.reload({ entry, drainMs: 300 }),
        (failed) => this.invariants.reloaded(entry, failed),
      );
    } else if (what < 8) {
      const count = 1 + this.below(maxWorkers);
      this.#asksFor(
        `resize ${count}`,
        () => runtime.resize(count),
        (failed) => this.invariants.resized(count, failed),
      );
    } else if (what === 8) {
      this.#asksFor(
        'reload',
        () => runtime.reload(),
        () => {},
      );
    } else if (this.below(4) === 0) {
      this.close();
    } else return false;
    return true;
  }

  #asksFor(what: string, ask: () => PromiseLike<unknown>, done: (failed: boolean) => void): void {
    this.log(`operator: ${what}`);
    this.main.post(what, () => {
      this.invariants.settles(
        what,
        ask(),
        () => done(false),
        () => done(true),
      );
    });
  }

  close(): void {
    if (this.closing) return;
    this.closing = true;
    this.log('operator: close');
    this.main.post('close', () => {
      const closed = (this.runtime as Runtime).close();
      this.invariants.settles('close', closed, () => this.invariants.closedAll());
    });
  }

  /** Messages that were answered so far. */
  get answered(): number {
    const messages = this.clients.flatMap((client) => client.messages);
    return messages.filter(({ answered }) => answered).length;
  }

  /** The whole run. @throws Violation */
  run(): void {
    while (this.steps < this.plan.steps) {
      this.step();
      this.invariants.check();
    }
    this.calm = true;
    this.log('calm');
    this.#until('every client is answered', () => this.invariants.rests);
    this.invariants.atRest();
    this.close();
    this.#until('the runtime has closed', () => this.invariants.over);
    this.invariants.atEnd();
  }

  #until(what: string, holds: () => boolean): void {
    for (let left = REST_STEPS; !holds(); left--) {
      if (left === 0)
        throw new Violation(`not after ${REST_STEPS} steps: ${what}: ${this.invariants.waiting}`);
      this.step();
      this.invariants.check();
    }
  }
}

/** The run that goes on. */
let current: World;

/** A property of whatever `of` returns at the moment. */
function atTheMoment(of: () => object): object {
  return new Proxy(
    {},
    {
      get: (_, name) => Reflect.get(of(), name),
      set: (_, name, value) => Reflect.set(of(), name, value),
    },
  );
}

/** What is around sources that all threads share: what the running thread has. */
function shareSurroundings(): Surroundings {
  const running = () => current.running.surroundings;
  const globals = Object.fromEntries(
    [
      ...['queueMicrotask', 'setTimeout', 'setInterval', 'setImmediate'],
      ...['clearTimeout', 'clearInterval'],
    ].map((name) => [
      name,
      (...args: unknown[]) => (running().globals[name] as (...args: unknown[]) => unknown)(...args),
    ]),
  );
  const modules = Object.fromEntries(
    [
      ...['node:worker_threads', 'node:diagnostics_channel', 'node:module'],
      ...['node:timers/promises', ADDON],
    ].map((name) => [name, atTheMoment(() => running().modules[name] as object)]),
  );
  const ownNet = () => running().modules['node:net'] as { Server: { prototype: object } };
  const net = Object.create(atTheMoment(ownNet), {
    Server: { value: { prototype: atTheMoment(() => ownNet().Server.prototype) } },
    default: { get: () => net },
  });
  const process = Object.create(
    atTheMoment(() => current.running.process),
    { nextTick: { value: (work: () => void) => current.running.tick(work) } },
  );
  return {
    globals: {
      ...CLOCK,
      ...globals,
      globalThis: globals,
      process,
    },
    modules: {
      ...modules,
      'node:net': net,
      'workers/self': atTheMoment(() => (current.running.realm as Realm).load('workers/self')),
      'node:fs': {
        constants: { R_OK: 4 },
        existsSync: () => true,
        readFileSync: (file: string) => {
          if (file.endsWith('limits')) return `Max open files  ${current.plan.descriptors}`;
          throw new Error(`there is no ${file}`);
        },
      },
      'node:fs/promises': { access: () => Later.resolve() },
      'runtime/stack': { stackOf: () => Later.resolve(null) },
      'runtime/sysfs': { readTopology: () => null },
      'workers/self-check': { selfCheck: () => Later.resolve(null) },
    },
  };
}

export const SHARED_SURROUNDINGS = shareSurroundings();
