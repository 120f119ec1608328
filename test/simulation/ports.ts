/** Message ports and worker threads: what the sources find as `node:worker_threads`. */
import { EventEmitter } from 'node:events';
import { Later } from './jobs.js';
import type { Thread } from './thread.js';
import type { World } from './world.js';

export class Port {
  owner: Thread;
  peer: Port | null = null;
  label = 'message';
  readonly queue: unknown[] = [];
  /** It keeps its thread from ending. */
  keeps = false;
  #listener: ((message: never) => void) | null = null;
  #closed = false;

  constructor(owner: Thread) {
    this.owner = owner;
    owner.ports.push(this);
  }

  /** It has been passed to another thread. */
  give(owner: Thread): void {
    this.owner.ports.splice(this.owner.ports.indexOf(this), 1);
    this.owner = owner;
    owner.ports.push(this);
  }

  /** Whether there is a message for its listener. */
  get has(): boolean {
    return this.queue.length > 0 && this.#listener !== null;
  }

  happen(): void {
    const message = this.queue.shift();
    this.owner.world.detail(() => `  ${JSON.stringify(message, shown).slice(0, 120)}`);
    this.#listener?.(message as never);
  }

  on(_: 'message', listener: (message: never) => void): this {
    this.#listener = listener;
    this.keeps = true;
    return this;
  }

  postMessage(message: unknown): void {
    const { peer } = this;
    if (this.#closed || peer === null || peer.#closed) return;
    peer.queue.push(message);
    peer.owner.hears(message);
  }

  receive(): { message: unknown } | undefined {
    return this.queue.length === 0 ? undefined : { message: this.queue.shift() };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener = null;
    const at = this.owner.ports.indexOf(this);
    if (at >= 0) this.owner.ports.splice(at, 1);
  }

  unref(): void {
    this.keeps = false;
  }
}

/** A message as a trace shows it. */
function shown(_: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value;
}

interface WorkerOptions {
  readonly workerData: unknown;
  readonly transferList: readonly Port[];
  readonly name: string;
}

/** `node:worker_threads` of `thread`. */
export function workerThreadsOf(world: World, thread: Thread, workerData: unknown): object {
  class MessageChannel {
    readonly port1 = new Port(thread);
    readonly port2 = new Port(thread);
    constructor() {
      this.port1.peer = this.port2;
      this.port2.peer = this.port1;
    }
  }
  class Worker extends EventEmitter {
    readonly threadId: number;
    readonly #started: Thread;
    constructor(file: string, options: WorkerOptions) {
      super();
      const started = world.startThread(file, options.name, options.workerData);
      this.#started = started;
      this.threadId = started.id;
      for (const port of options.transferList) port.give(started);
      started.onGone = () => {
        thread.post(`${started.name} has gone`, () => {
          world.mourn(started);
          if (started.error !== undefined) this.emit('error', started.error);
          this.emit('exit', started.exitCode);
        });
      };
    }
    terminate(): Later<unknown> {
      world.terminate(this.#started);
      return new Later(() => {});
    }
  }
  const threads = {
    ...{ MessageChannel, Worker, workerData, isMainThread: thread.kind === 'main' },
    parentPort: null,
    receiveMessageOnPort: (port: Port) => port.receive(),
  };
  return Object.assign(threads, { default: threads, __esModule: true });
}
