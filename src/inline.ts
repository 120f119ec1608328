/**
 * `workers: 'inline'`: the worker's half of gyre on the main thread, for profilers
 * that follow one thread only. The one file that joins both halves.
 */
import { EventEmitter } from 'node:events';
import type { Readable } from 'node:stream';
import { getHeapSnapshot } from 'node:v8';
import { thrown } from './errors.js';
import { threadId } from './native.js';
import { TIMER_MS_MAX } from './option-checks.js';
import type { FromWorker, ToWorker } from './protocol.js';
import type { InlineFactory, InlineInit } from './runtime/assembly.js';
import type { WorkerExit, WorkerHandle, WorkerHandleEvents } from './runtime/worker-handle.js';
import type { WorkerStateName } from './scheduler/layout.js';
import { Agent } from './workers/agent.js';
import { runEntry } from './workers/entry.js';
import { JobClient } from './workers/jobs.js';
import { setJobRunner, setSelf } from './workers/self.js';
import { setArguments } from './workers/thread-process.js';

const scheduleImmediate = setImmediate;

class InlineWorker extends EventEmitter<WorkerHandleEvents> implements WorkerHandle {
  readonly index = 0;
  readonly slot = 0;
  readonly endIsExpected = true; // nobody starts another on this thread
  readonly cpu = null;
  readonly threadId = 0;
  readonly tid = threadId();
  listenError: Error | null = null;
  readonly wakeId = null; // nobody sends it anything
  readonly lost = false; // whoever would notice is stuck with it
  readonly #agent: Agent;
  readonly #jobs: JobClient;
  readonly #row;
  readonly #argv = process.argv;
  #state: WorkerStateName = 'starting';
  #exit: WorkerExit | null = null;
  /** While events keep the process alive: there is no port here that could. */
  #alive: NodeJS.Timeout | undefined;

  constructor({ options, scoreboard, offers, overload }: InlineInit) {
    super();
    const { entry, args, jobs } = options;
    this.#row = scoreboard.supervise(0);
    this.#setState('starting');
    if (this.tid !== null) scoreboard.own(0).begin(this.tid);
    setSelf({ index: 0, cpu: null, count: 1, spare: false });
    setArguments(entry, args);
    this.#jobs = new JobClient(jobs, (message) => this.#receive(message));
    setJobRunner(this.#jobs);
    this.#agent = new Agent({
      ...{ slot: 0, accepting: 1, offers },
      scoreboard: scoreboard.words,
      moving: null, // there is nobody to move to
      timed: false,
      timesRequests: false,
      overload,
      transport: null,
      // As a port does, at the call.
      send: (message) =>
        this.#receive(message.kind === 'emit' ? structuredClone(message) : message),
      keepAlive: (on) => {
        clearInterval(this.#alive);
        if (on) this.#alive = setInterval(() => {}, TIMER_MS_MAX);
      },
      deliver: () => {}, // node itself delivers signals on this thread
      exit: () => this.#end({ code: 0, error: undefined }),
    });
    // After the caller has subscribed to this worker's events.
    queueMicrotask(() => {
      this.emit('message', { kind: 'up', tid: this.tid, wakeId: this.#agent.wakeId });
      try {
        runEntry(entry);
      } catch (error) {
        this.#end({ code: 1, error: thrown(error) });
      }
    });
  }

  get state(): WorkerStateName {
    return this.#state;
  }

  handles(signal: NodeJS.Signals): boolean {
    // One listener is the runtime's own.
    return process.listenerCount(signal) > 1;
  }

  signal(): void {}

  send(message: ToWorker): void {
    if (this.#exit !== null) return;
    if (message.kind === 'job-failed') this.#jobs.failed(message);
    // A thread would hear of it in a later turn, and whoever sends it relies on that.
    else if (message.kind !== 'event') this.#agent.receive(message);
    else {
      scheduleImmediate(() => {
        if (this.#exit === null) this.#agent.receive(message);
      });
    }
  }

  drain(serve = false): void {
    if (this.#exit !== null) return;
    this.#setState('draining');
    this.send({ kind: 'drain', serve });
  }

  /** There is nobody to go on elsewhere. */
  retire(): void {
    this.drain();
  }

  loopIdleMs(): number | null {
    return this.#exit === null ? performance.eventLoopUtilization().idle : null;
  }

  async heapSnapshot(): Promise<Readable> {
    return getHeapSnapshot();
  }

  terminate(): void {
    this.stop();
  }

  stop(): void {
    this.#agent.disconnect();
    this.send({ kind: 'stop' });
  }

  ended(): Promise<void> {
    if (this.#exit !== null) return Promise.resolve();
    return new Promise((resolve) => this.once('exit', () => resolve()));
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'ready' && this.#state === 'starting') this.#setState('serving');
    if (message.kind === 'listen-failed') this.listenError = message.error;
    this.emit('message', message);
  }

  #end(exit: WorkerExit): void {
    if (this.#exit !== null) return;
    this.#exit = exit;
    clearInterval(this.#alive);
    this.#agent.uninstall();
    setSelf(null);
    setJobRunner(null);
    process.argv = this.#argv;
    this.#setState('exited');
    this.emit('exit', exit);
  }

  #setState(state: WorkerStateName): void {
    this.#state = state;
    this.#row.state(state);
  }
}

export const inline: InlineFactory = (init) => new InlineWorker(init);
