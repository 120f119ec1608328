/**
 * Signals of the process, which node delivers to the main thread only: those that close the runtime,
 * and those that the application in some worker listens for, which are handed on. Main thread
 * only.
 *
 * There is one handler on `process` for each signal that somebody wants, and none for any other, so
 * that a signal nobody wants keeps its default action.
 */
import os from 'node:os';
import type { WorkerHandle } from './worker-handle.js';

const ALL = Object.keys(os.constants.signals) as NodeJS.Signals[];
const CLOSING: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];

interface SignalsOptions {
  /** Whether the runtime handles those that close it. */
  readonly handleSignals: boolean;
  /** Every thread of a worker or spare. */
  threads(): readonly WorkerHandle[];
  /** One of those that close it has come. */
  closes(signal: NodeJS.Signals): void;
}

export class Signals {
  /** Those that the runtime handles itself. */
  readonly ours: readonly NodeJS.Signals[];
  readonly #options: SignalsOptions;
  readonly #handlers = new Map<NodeJS.Signals, () => void>();

  constructor(options: SignalsOptions) {
    this.#options = options;
    this.ours = options.handleSignals ? CLOSING : [];
  }

  /** From here on those that close the runtime do. */
  begin(): void {
    for (const signal of this.ours) this.#want(signal);
  }

  /** Those that the application listens for, in any thread. */
  get handled(): readonly NodeJS.Signals[] {
    const threads = this.#options.threads();
    return ALL.filter((signal) => threads.some((each) => each.handles(signal)));
  }

  /** Some thread began or ceased to listen for `signal`. */
  interestChanged(signal: NodeJS.Signals): void {
    if (this.ours.includes(signal)) return;
    const threads = this.#options.threads();
    if (threads.some((each) => each.state !== 'exited' && each.handles(signal))) this.#want(signal);
    else this.#drop(signal);
  }

  /** The thread of `worker` has ended. */
  ended(worker: WorkerHandle): void {
    for (const signal of ALL) if (worker.handles(signal)) this.interestChanged(signal);
  }

  /** Every signal has its default action again. */
  close(): void {
    for (const signal of [...this.#handlers.keys()]) this.#drop(signal);
  }

  #received(signal: NodeJS.Signals): void {
    if (this.ours.includes(signal)) {
      this.#options.closes(signal);
      return;
    }
    for (const worker of this.#options.threads()) {
      if (worker.handles(signal)) worker.signal(signal);
    }
  }

  #want(signal: NodeJS.Signals): void {
    if (this.#handlers.has(signal)) return;
    const handler = () => this.#received(signal);
    try {
      process.on(signal, handler);
    } catch {
      return; // SIGKILL and SIGSTOP: node refuses them on the main thread, too
    }
    this.#handlers.set(signal, handler);
  }

  #drop(signal: NodeJS.Signals): void {
    const handler = this.#handlers.get(signal);
    if (handler !== undefined) process.removeListener(signal, handler);
    this.#handlers.delete(signal);
  }
}
