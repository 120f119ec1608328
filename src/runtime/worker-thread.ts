/**
 * One worker as main sees it: the thread, its two ports and its state. Main
 * thread only.
 */
import { EventEmitter } from 'node:events';
import path from 'node:path';
import type { Readable } from 'node:stream';
import {
  MessageChannel,
  type MessagePort,
  type ResourceLimits,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';
import { thrown } from '../errors.js';
import { affinity, responds, setAffinity, stuckMs } from '../native.js';
import type {
  FromWorker,
  Reply,
  Request,
  TerminalShape,
  ToWorker,
  WorkerInit,
} from '../protocol.js';
import type { WorkerStateName } from '../scheduler/layout.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { SupervisorWriter } from '../scheduler/supervisor-writer.js';
import type { WorkerExit, WorkerHandle, WorkerHandleEvents } from './worker-handle.js';

/** By path, because main must not import what runs in workers. */
const BOOTSTRAP = path.join(__dirname, '..', 'workers', 'bootstrap.js');

/** An application that is handed one of these may end, by itself and without an error. */
const ENDING_SIGNALS: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGQUIT'];

/** How long a worker that was told to stop may take before its thread is terminated. */
const STOP_GRACE_MS = 1_000;

/**
 * Before a thread is terminated it must have run for so long without returning to its loop: one that
 * somebody had held may be on its way there. For as long as it does not run main looks again so
 * often, and waits for it so long at most.
 */
const RETRY_MS = 100;
const RESPONSE_TIMEOUT_US = 5_000;

/**
 * How long a thread may take to end once it is terminated. V8 interrupts JavaScript within
 * milliseconds, but nothing interrupts a system call. No evidence for more or less.
 */
const TERMINATE_MS = 5_000;

/** What is the thread's own: its ports, and what they and this process have. */
type Own = 'threadName' | 'scoreboard' | 'requests' | 'control' | 'answered' | 'stdio';

interface WorkerPlan extends Omit<WorkerInit, Own> {
  readonly env: NodeJS.ProcessEnv;
  /** Of the runtime. */
  readonly name: string;
  readonly resourceLimits: Readonly<ResourceLimits> | undefined;
  readonly scoreboard: Scoreboard;
}

/**
 * Runs `make` while this thread is bound to `cpu`. A new thread inherits its
 * creator's mask, so it starts on that CPU and its stack and heap are first touched
 * there, that is on that CPU's memory node.
 */
function pinned<T>(cpu: number | null, make: () => T): T {
  if (cpu === null) return make();
  const before = affinity();
  setAffinity([cpu]);
  try {
    return make();
  } finally {
    setAffinity(before);
  }
}

function terminalShape({ isTTY, columns, rows }: NodeJS.WriteStream): TerminalShape | null {
  return isTTY ? { columns, rows } : null;
}

export class WorkerThread extends EventEmitter<WorkerHandleEvents> implements WorkerHandle {
  readonly index: number;
  readonly slot: number;
  readonly cpu: number | null;
  readonly threadId: number;
  tid: number | null = null;
  listenError: Error | null = null;
  wakeId: number | null = null;
  readonly #signals = new Set<NodeJS.Signals>();
  readonly #thread: Worker;
  readonly #control: MessagePort;
  readonly #row: SupervisorWriter;
  #state: WorkerStateName = 'starting';
  #exit: WorkerExit | null = null;
  #error: unknown;
  #stopTimer: NodeJS.Timeout | undefined;
  #lostTimer: NodeJS.Timeout | undefined;
  #lost = false;
  /** It was told to end. */
  #told = false;
  /** The application was handed a signal upon which programs end. */
  #signalled = false;
  /** The application has called process.exit(). */
  #exiting = false;

  /** @param answer serves the worker's blocking requests; must not throw. */
  constructor(plan: WorkerPlan, answer: (request: Request) => Reply) {
    super();
    this.index = plan.index;
    this.slot = plan.slot;
    this.cpu = plan.cpu;
    this.#row = plan.scoreboard.supervise(plan.slot);
    this.#row.cpu(plan.cpu);
    this.#setState('starting');

    const control = new MessageChannel();
    const requests = new MessageChannel();
    const answered = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const { env, name, resourceLimits, scoreboard, ...more } = plan;
    const spare = plan.slot >= plan.accepting;
    const init: WorkerInit = {
      ...more,
      threadName: `${name}-${spare ? 's' : 'w'}${plan.index}`,
      scoreboard: scoreboard.words,
      control: control.port2,
      requests: requests.port2,
      answered,
      stdio: { stdout: terminalShape(process.stdout), stderr: terminalShape(process.stderr) },
    };
    this.#control = control.port1;
    this.#thread = pinned(
      plan.cpu,
      () =>
        new Worker(BOOTSTRAP, {
          workerData: init,
          transferList: [control.port2, requests.port2],
          env,
          name: `${name} ${spare ? 'spare' : 'worker'} ${plan.index}`,
          ...(resourceLimits && { resourceLimits }),
        }),
    );
    this.threadId = this.#thread.threadId;
    requests.port1.on('message', (message: { sequence: number; request: Request }) => {
      requests.port1.postMessage({ sequence: message.sequence, reply: answer(message.request) });
      Atomics.add(answered, 0, 1);
      Atomics.notify(answered, 0);
    });
    this.#control.on('message', (message: FromWorker) => this.#receive(message));
    this.#thread.on('error', (error) => {
      this.#error = thrown(error);
    });
    this.#thread.on('exit', (code) => {
      clearTimeout(this.#stopTimer);
      clearTimeout(this.#lostTimer);
      // What it sent last may not have been delivered, a connection among it.
      let last = receiveMessageOnPort(this.#control);
      for (; last !== undefined; last = receiveMessageOnPort(this.#control)) {
        this.#receive(last.message);
      }
      this.#control.close();
      requests.port1.close();
      this.#row.waker(0);
      this.#row.buried();
      this.#setState('exited');
      this.#exit = { code, error: this.#error };
      this.emit('exit', this.#exit);
    });
  }

  get state(): WorkerStateName {
    return this.#state;
  }

  send(message: ToWorker): void {
    if (this.#exit === null) this.#control.postMessage(message);
  }

  handles(signal: NodeJS.Signals): boolean {
    return this.#signals.has(signal);
  }

  get endIsExpected(): boolean {
    if (this.#told) return true;
    if (this.#exit === null || this.#exit.error !== undefined) return false;
    return this.#signalled || !this.#exiting;
  }

  drain(serve = false): void {
    this.#leave({ kind: 'drain', serve });
  }

  retire(heir: number | null): void {
    this.#leave({ kind: 'retire', heir });
  }

  #leave(message: ToWorker): void {
    this.#told = true;
    // One that retires is to hurry when all end; any other has been told already.
    if (this.#state === 'exited') return;
    if (this.#state === 'draining' && message.kind === 'retire') return;
    this.#setState('draining');
    this.send(message);
  }

  signal(signal: NodeJS.Signals): void {
    if (ENDING_SIGNALS.includes(signal)) this.#signalled = true;
    this.send({ kind: 'signal', signal });
  }

  /** Politely first, so that its exit handlers run. */
  stop(graceMs = STOP_GRACE_MS): void {
    if (this.#exit !== null) return; // and whether that was expected cannot change any more
    this.#told = true;
    if (this.#lost) return;
    if (this.#stopTimer !== undefined && graceMs > 0) return;
    this.send({ kind: 'stop' });
    clearTimeout(this.#stopTimer);
    if (graceMs === 0) this.#terminate();
    else this.#stopTimer = setTimeout(() => this.#terminate(), graceMs);
  }

  loopIdleMs(): number | null {
    return this.#exit === null ? this.#thread.performance.eventLoopUtilization().idle : null;
  }

  heapSnapshot(): Promise<Readable> {
    return this.#thread.getHeapSnapshot();
  }

  /**
   * Ends the thread while it is at something. One that comes back to its loop is told to end there:
   * terminated while it runs no JavaScript, it goes on in node's own code, of which not all
   * expects that (ARCHITECTURE.md, "Ending a thread").
   */
  terminate(): void {
    this.stop(0);
  }

  /** @param answeredAt when its thread was last seen to run; null: not, when it was looked at last */
  #terminate(answeredAt: number | null = null): void {
    this.#lostTimer ??= setTimeout(() => {
      this.#lost = true;
      this.emit('lost');
    }, TERMINATE_MS);
    const { wakeId } = this;
    // Without a loop that can be seen, or before it has a connection.
    const blindly = wakeId === null || this.#state === 'starting';
    const now = performance.now();
    const answers = blindly || responds(wakeId, RESPONSE_TIMEOUT_US);
    const stays = answeredAt !== null && wakeId !== null && stuckMs(wakeId) > now - answeredAt;
    if (blindly || (answers && stays)) void this.#thread.terminate();
    else this.#stopTimer = setTimeout(() => this.#terminate(answers ? now : null), RETRY_MS);
  }

  get lost(): boolean {
    return this.#lost && this.#exit === null;
  }

  ended(): Promise<void> {
    if (this.#exit !== null || this.#lost) return Promise.resolve();
    return new Promise((resolve) => {
      this.once('exit', () => resolve());
      this.once('lost', resolve);
    });
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'up':
        this.tid = message.tid;
        this.wakeId = message.wakeId;
        this.#row.waker(message.wakeId ?? 0);
        break;
      case 'ready':
        if (this.#state === 'starting') this.#setState('serving');
        break;
      case 'listen-failed':
        this.listenError = Object.assign(message.error, message.system);
        break;
      case 'signal-interest':
        if (message.on) this.#signals.add(message.signal);
        else this.#signals.delete(message.signal);
        break;
      case 'exiting':
        this.#exiting = true;
    }
    this.emit('message', message);
  }

  #setState(state: WorkerStateName): void {
    this.#state = state;
    this.#row.state(state);
  }
}
