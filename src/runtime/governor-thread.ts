/**
 * The governor as main sees it. Main thread only.
 */
import path from 'node:path';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { FromGovernor, GovernorInit, Repinning, ToGovernor, TracedMove } from '../protocol.js';

/** By path, because main must not import what runs in workers. */
const GOVERNOR = path.join(__dirname, '..', 'workers', 'governor-bootstrap.js');

interface GovernorEvents {
  /** Something was put into the mailbox of `worker`, which is gone. */
  left(worker: number): void;
  /** All workers stand still. */
  wantSpare(): void;
  /** `worker` has not returned to its loop for a while; `waits`: and something is ready for it. */
  stalled(worker: number, heartbeat: number, waits: boolean): void;
  /** What could be taken from `worker`, as main asked, has been. */
  evacuated(worker: number): void;
  repinned(repinning: Repinning): void;
  moved(move: TracedMove): void;
  /** The thread ended without having been stopped. */
  died(error: unknown): void;
}

export class GovernorThread {
  /** Resolves to null if connections can move on this system, else to why not. */
  readonly checked: Promise<string | null>;
  readonly #thread: Worker;
  readonly #control: MessagePort;
  readonly #exited: Promise<void>;
  #over = false;

  constructor(init: GovernorInit, events: GovernorEvents) {
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
        switch (message.kind) {
          case 'checked':
            resolve(message.unfit);
            break;
          case 'left':
            events.left(message.worker);
            break;
          case 'want-spare':
            events.wantSpare();
            break;
          case 'stalled':
            events.stalled(message.worker, message.heartbeat, message.waits);
            break;
          case 'evacuated':
            events.evacuated(message.worker);
            break;
          case 'repinned':
            events.repinned(message);
            break;
          case 'moved':
            events.moved(message.move);
        }
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
        resolve();
        if (!stopped) events.died(failure);
      });
    });
  }

  tell(message: ToGovernor): void {
    this.#control.postMessage(message);
  }

  /** Resolves when its threads have ended. */
  stop(): Promise<void> {
    if (!this.#over) {
      this.#over = true;
      this.tell({ kind: 'stop' });
    }
    return this.#exited;
  }
}
