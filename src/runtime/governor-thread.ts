/**
 * The governor as main sees it. Main thread only.
 */
import path from 'node:path';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { FromGovernor, GovernorInit, ToGovernor } from '../protocol.js';

/** By path, because main must not import what runs in workers. */
const GOVERNOR = path.join(__dirname, '..', 'workers', 'governor.js');

export class GovernorThread {
  /** Resolves to null if connections can move on this system, else to why not. */
  readonly checked: Promise<string | null>;
  readonly #thread: Worker;
  readonly #control: MessagePort;
  readonly #waiting = new Map<number, () => void>();
  readonly #exited: Promise<void>;
  #over = false;

  /** @param died called if the thread ends without having been stopped */
  constructor(init: GovernorInit, died: (error: unknown) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#control = port1;
    this.#thread = new Worker(GOVERNOR, {
      workerData: { init, control: port2 },
      transferList: [port2],
      name: `${init.name} governor`,
      stdout: false,
    });
    this.checked = new Promise((resolve) => {
      this.#control.on('message', (message: FromGovernor) => {
        if (message.kind === 'checked') resolve(message.unfit);
        else this.#settle(message.worker);
      });
      this.#thread.on('exit', () => resolve('the governor ended before it had checked'));
    });
    let failure: unknown;
    this.#thread.on('error', (error) => {
      failure = error;
    });
    this.#exited = new Promise((resolve) => {
      this.#thread.on('exit', () => {
        const stopped = this.#over;
        this.#over = true;
        this.#control.close();
        for (const worker of [...this.#waiting.keys()]) this.#settle(worker);
        resolve();
        if (!stopped) died(failure);
      });
    });
  }

  /** Begins. `peers`: what wakes each worker's loop. */
  watch(peers: readonly number[]): void {
    this.#post({ kind: 'watch', peers });
  }

  /** Resolves when the governor will put nothing more into the mailbox of `worker`. */
  ended(worker: number): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.set(worker, resolve);
      this.#post({ kind: 'ended', worker });
    });
  }

  /** Resolves when its threads have ended. */
  stop(): Promise<void> {
    if (!this.#over) {
      this.#over = true;
      this.#post({ kind: 'stop' });
    }
    return this.#exited;
  }

  #post(message: ToGovernor): void {
    this.#control.postMessage(message);
  }

  #settle(worker: number): void {
    this.#waiting.get(worker)?.();
    this.#waiting.delete(worker);
  }
}
