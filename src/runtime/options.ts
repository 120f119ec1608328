/**
 * The options of `createRuntime`: what each means, and its default. Types and constants only;
 * resolved-options.ts checks them.
 */
import type { ResourceLimits } from 'node:worker_threads';
import type { AdminOptions } from '../admin/options.js';
import type { ListenerOptions } from '../listener-options.js';
import type { Placement } from '../scheduler/placement.js';
import type { CapabilityName } from './capabilities.js';
import type { JobPoolOptions } from './job-options.js';

/** Options of `createRuntime`. Unknown keys and values out of range are errors at the call. */
export interface RuntimeOptions {
  /**
   * The program that every worker runs, ES module or CommonJS, unchanged: a path
   * (relative to the current directory, as with `node app.js`) or a `file:` URL.
   * Required.
   */
  entry: string | URL;
  /**
   * How many workers. `'auto'`: one for each CPU in the affinity mask that the
   * process inherited, no more than its cgroup CPU quota pays for, at least 1. A
   * number: 1 to 512. `'inline'`: no thread at all; the entry runs on the calling
   * thread, for profilers that know no threads. Default `'auto'`.
   */
  workers?: number | 'auto' | 'inline';
  /**
   * How many standby workers there may be: threads that run the program like the
   * others, are bound to no CPU, accept nothing by themselves, and are given connections only
   * while every worker stands still, so that the operating system shares the CPUs out
   * between them and whatever occupies the workers. One is started when it is first needed and
   * ends after a minute in which it was not, or later if it still has a connection. 0: none. At
   * most 1,024, with two for each worker. `'auto'`: none for one worker, 4 for up to 4, 2 for up
   * to 8, and 1 for more. None for `workers: 'inline'` and where connections do not move.
   * Default `'auto'`.
   */
  spares?: number | 'auto';
  /**
   * Whether each worker is bound to one CPU. `'soft'`: bound where possible; with
   * more workers than CPUs they share. A worker that waits for its CPU because other processes
   * use it may also run on the CPUs next to it, ring by ring up to all that the process may use, until
   * there is room again; the events `widen` and `narrow` tell. That is the governor's work, so with
   * `scheduler.move: false` a worker stays bound. `'hard'`: bound for good, and an
   * error if that is impossible. `'off'`: not bound. A list of CPU numbers: worker i
   * is bound to the i-th for good, and `'auto'` means as many workers as the list has.
   * Default `'soft'`.
   */
  pin?: 'soft' | 'hard' | 'off' | readonly number[];
  /**
   * On which CPUs fewer workers than CPUs are bound, and in what order. `'divergent'`: spread
   * over memory nodes, packages, cores and threads, so that each has as much of the machine to
   * itself as there is. `'collaborative'`: close together, for workers that share much memory. No
   * effect with `pin: 'off'` or a list of CPUs. Default `'divergent'`.
   */
  placement?: Placement;
  /** `process.argv.slice(2)` of the workers. Default: none. */
  args?: readonly string[];
  /**
   * How many workers `resize()` may ask for: shared memory is made for so many at the start.
   * From the number of workers to 512. Default: the number of CPUs that the process may use, or
   * that of the workers if it is greater.
   */
  maxWorkers?: number;
  /** Added to the workers' `process.env`; `undefined` removes a name. Default: nothing. */
  env?: Readonly<Record<string, string | undefined>>;
  /**
   * Names the runtime in messages, and its threads (`NAME-w0`, …, cut at 15 bytes) in
   * top and debuggers. 1 to 64 characters. Default `'gyre'`.
   */
  name?: string;
  /**
   * V8's limits for each worker, in MB, as in `new Worker()`. `maxOldGenerationSizeMb`:
   * at least 16. `maxYoungGenerationSizeMb`: at least 1. `codeRangeSizeMb`: 8 to 2,048, or
   * 0: V8 decides. `stackSizeMb`: 1 to 4,096. Anything else could end the whole process
   * at its start. A worker that outgrows its heap later ends, or, as Node has it, may take
   * the process with it. Default: V8's own.
   */
  resourceLimits?: Readonly<ResourceLimits>;
  /**
   * Length of the kernel's accept queue for a `listen()` that names none, for each
   * worker's socket; the kernel cuts it at `net.core.somaxconn`. 1 to 65,535.
   * Default 511, Node's own.
   */
  backlog?: number;
  /** Capabilities without which `createRuntime` must fail. Default: none. */
  require?: readonly CapabilityName[];
  /**
   * Whether SIGTERM and SIGINT drain this runtime, and a second one ends the process
   * at once. Default false: signals are the embedder's.
   */
  handleSignals?: boolean;
  /**
   * How long `close()` and a signal wait for what is in flight, in ms. 0: not at all;
   * Infinity: as long as it takes. At most 2,147,483,647 otherwise. Default 10,000.
   */
  drainMs?: number;
  /**
   * How long a worker may take until it listens, in ms, before a warning says so and
   * `createRuntime` resolves without it. Infinity: forever. 1 to
   * 2,147,483,647 otherwise. Default 10,000.
   */
  startMs?: number;
  /**
   * How many deaths of workers within `restartsWithinMs` the runtime puts up with. A worker that
   * dies (an uncaught error, `process.exit()`, out of memory, or ended for `hangMs`) is started
   * again on its CPU: at once if it had served for a second, else after a delay that doubles from
   * 100 ms up to 10 s, give or take a quarter. One death more, and the runtime emits `error` with
   * ERR_GYRE_RESTARTS and closes. 0 to 1,000,000, or Infinity. Default 60.
   */
  restarts?: number;
  /** In ms; 1 to 2,147,483,647. Default 60,000. */
  restartsWithinMs?: number;
  /**
   * After how long a worker that does not return to its event loop is replaced, in ms: what can
   * move is taken from it first, then its thread is terminated. 0: never. 100 to
   * 2,147,483,647 otherwise. Default 30,000.
   */
  hangMs?: number;
  /**
   * The share of what its old generation may hold (`resourceLimits.maxOldGenerationSizeMb`, or
   * V8's default) that a worker may have in use after a full garbage collection: one with more
   * is replaced as in a reload, every 10 s at most. Out of memory it would end, and might take the
   * process with it. 0: never. 0.1 to 0.99 otherwise. Default 0.9.
   */
  recycleAtHeapRatio?: number;
  /**
   * Whether the function that a worker stands still in is looked for when others wait for it: see
   * the event `stall` and `snapshot().blamed`. At most ten times a second; each time pauses the
   * worker for a millisecond or so, and the inspector, which is used for it, keeps V8 from some
   * optimizations. Not for `workers: 'inline'`, nor with
   * `scheduler: { move: false }`; without effect where connections cannot move. Default false.
   */
  blame?: boolean;
  /**
   * What `close()` and a signal do with new connections. `'refuse'`: none is accepted any more.
   * `'serve'`: each worker accepts until it has no connection left, so that a balancer has time to
   * notice. In either case answers carry `Connection: close`. Default `'refuse'`.
   */
  closing?: 'refuse' | 'serve';
  /**
   * Most open connections: in all workers together, or what the object says. One that moves to
   * another worker is none more, so a worker may come to have more than its own limit, but never
   * all together more than the sum. 1 to 2,147,483,647, or Infinity: any number. Default: any number.
   */
  maxConnections?: number | LimitOptions;
  /**
   * Most HTTP/1 requests that have begun and are not answered, likewise. WebSockets are
   * connections and no requests; HTTP/2 is not counted. With `overload: 'wait'` only new connections
   * are kept waiting for it: those that are open are served. Default: any number.
   */
  maxOutstanding?: number | LimitOptions;
  /**
   * What becomes of those beyond. `'wait'`: a worker that has no room accepts nothing, and new
   * connections wait in the kernel's queue (see `backlog`), up to when there is room. `'refuse'`: new
   * connections are accepted, answered 503 with `Retry-After: 1` and `Connection: close`, and
   * closed; those of a server that speaks something else than HTTP/1 are just closed, and so are
   * TLS connections. Requests on open connections are answered 503 and keep their connection.
   *
   * Sockets that a worker opened itself (`exclusive: true`, `listen({ handle })`, `workers: 'inline'`)
   * accept whatever comes, so theirs cannot wait. Default `'wait'`.
   */
  overload?: 'wait' | 'refuse';
  /**
   * What is different at single addresses. A key is `'PORT'` or `':PORT'` for every address
   * of the machine, or `'HOST:PORT'` with a numeric host as `server.address()` shows it, IPv6 in
   * brackets. A server may say the same of itself: `server.listen({ port, gyre: { move: false } })`.
   * Default: nothing.
   */
  listeners?: Readonly<Record<string, ListenerOptions>>;
  /**
   * CPU-bound functions that `run(name, value)` runs off the workers: by name the file, a path or a
   * `file:` URL, ES module or CommonJS. The function is its default export, or the one
   * after `#` in a URL: `new URL('./images.js#resize', import.meta.url)`. Default: none;
   * `run()` takes URLs as well.
   */
  jobs?: Readonly<Record<string, string | URL>>;
  /** The threads that run jobs. Default: see each. */
  jobPool?: JobPoolOptions;
  /** How connections move between workers. Default: see each. */
  scheduler?: SchedulerOptions;
  /**
   * Where operators look: a live page, metrics, probes, a snapshot, events, and `POST /reload`, over
   * HTTP on the main thread. A text is short for `{ listen: TEXT }`.
   * Default: off.
   */
  admin?: string | AdminOptions;
  /**
   * Where a HAProxy asks how much of its traffic this runtime wants (its `agent-check`):
   * `'HOST:PORT'` with a numeric host, or `'PORT'` on 127.0.0.1. Whoever connects is told a
   * percentage and nothing else. Default: off.
   */
  agentCheck?: string;
}

/** How many there may be. 1 to 2,147,483,647, or Infinity: any number. */
export interface LimitOptions {
  /** In all workers and spares together. Default: any number. */
  total?: number;
  /** In each worker and spare; one that leaves after a reload counts by itself. Default: any number. */
  perWorker?: number;
}

/** The option `scheduler` of `createRuntime`. */
export interface SchedulerOptions {
  /**
   * Whether live connections move: half of what waits for a worker to a neighbour with less
   * to do. Where that is impossible `runtime.capabilities.move` says why. Default true.
   */
  move?: boolean;
  /**
   * After an iteration of its loop of so long, in ms, a worker looks at what waits for it and
   * gives half of it away by itself, unless the iteration was long because of many short events.
   * A worker that hardly sleeps because of them gives a few away ten times a second. 0: after
   * every iteration; Infinity: never, only the governor moves. Fractions are allowed; 0 to 1,000
   * otherwise. Default 1.
   */
  roundMs?: number;
  /**
   * How often the governor looks at the workers while any of them has something to do, in
   * ms. One that from one look to the next got nothing done, and was stuck in something and not
   * only without a CPU, is rescued. 1 to 1,000. Default 1: a look costs microseconds.
   */
  tickMs?: number;
  /** Most connections that one pause or round of a worker may move. 1 to 256. Default 64. */
  batchMax?: number;
  /** Seed of the random choice among equally good neighbours: an integer. Default: random. */
  seed?: number;
  /**
   * For tests of an application: also moves connections at random, idle ones too, as fast
   * as it can. Default false.
   */
  chaos?: boolean;
  /**
   * Whether every move is explained by an event `move` of the runtime. Each is then a message to
   * main. Default false.
   */
  trace?: boolean;
}

export const DEFAULTS = Object.freeze({
  workers: 'auto',
  spares: 'auto',
  pin: 'soft',
  placement: 'divergent',
  name: 'gyre',
  backlog: 511,
  handleSignals: false,
  drainMs: 10_000,
  startMs: 10_000,
  restarts: 60,
  restartsWithinMs: 60_000,
  hangMs: 30_000,
  recycleAtHeapRatio: 0.9,
  closing: 'refuse',
  blame: false,
  overload: 'wait',
} as const);

export const SCHEDULER_DEFAULTS = Object.freeze({
  move: true,
  roundMs: 1,
  tickMs: 1,
  batchMax: 64,
  chaos: false,
  trace: false,
} as const);
