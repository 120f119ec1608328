/**
 * native/queue_watch.cc: it watches the accept queue of a listening socket, and accepts when it is
 * asked to. What it has accepted is its own until somebody says otherwise.
 */
import { type File, Violation } from './kernel.js';
import type { Tcp } from './net.js';
import { point } from './points.js';
import type { Thread } from './thread.js';

export class QueueWatch implements Tcp {
  readonly thread: Thread;
  readonly fd: number;
  readonly file: File | undefined;
  readonly atEnd = false;
  watched = false;
  /** The word that says what was accepted last; -1: somebody else has it. */
  readonly #accepted: Int32Array;
  readonly #onReady: () => void;
  #started = false;
  #referenced = true;
  #closed = false;

  constructor(thread: Thread, fd: number, accepted: Int32Array, onReady: () => void) {
    this.thread = thread;
    this.fd = fd;
    this.file = thread.world.kernel.fileAt(fd);
    this.#accepted = accepted;
    this.#onReady = onReady;
    accepted[0] = -1;
    thread.world.enter(this);
  }

  get label(): string {
    return `accept ${this.fd}`;
  }

  get taken(): boolean {
    return this.thread.world.kernel.fileAt(this.fd) !== this.file;
  }

  get readable(): boolean {
    const { file } = this;
    if (!this.#started || this.taken) return false;
    return file?.kind === 'listening' && file.queue.length > 0;
  }

  get keeps(): boolean {
    return this.#started && this.#referenced;
  }

  happen(): void {
    this.#onReady();
  }

  closeAtEnd(by: string): void {
    const [accepted = -1] = this.#accepted;
    if (accepted >= 0) this.thread.world.kernel.close(accepted, by);
    this.#release(by);
  }

  #release(by: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#started = false;
    this.thread.world.leave(this);
    this.thread.world.kernel.close(this.fd, by);
  }

  /** What JavaScript gets. */
  get methods(): object {
    const { world } = this.thread;
    return {
      start: () => {
        const error = this.#started ? 0 : world.fails('epoll_ctl');
        if (error === 0) this.#started = true;
        return error;
      },
      stop: () => {
        this.#started = false;
        this.watched = false;
      },
      ref: () => {
        this.#referenced = true;
      },
      unref: () => {
        this.#referenced = false;
      },
      accept: () => {
        point('call');
        if (this.#closed)
          throw new Violation(`${this.thread.name} accepts from what it has closed`);
        const fd = world.kernel.accept(this.fd);
        this.#accepted[0] = fd < 0 ? -1 : fd;
        // From here on it is lost with this thread, until the thread has said whose it is.
        const file = world.kernel.fileAt(fd);
        if (file?.kind === 'stream') file.connection.hadBy = this.thread;
        world.afterCall();
        return fd;
      },
      close: () => {
        point('call');
        this.#release(this.thread.name);
        world.afterCall();
      },
    };
  }
}
