/**
 * The part of gyre that lives beside the application, in a worker thread or, for
 * `workers: 'inline'`, on the main thread: it listens through main, counts, and
 * ends the worker when told. Called on that one thread only.
 */
import { attachLoop, hasHelper, type LoopHooks } from '../native.js';
import type {
  FromWorker,
  ListenRequest,
  MovingInit,
  OpenReply,
  SystemFields,
  ToWorker,
} from '../protocol.js';
import { ConnectionTable, nativeTable } from '../scheduler/connection-table.js';
import { Mailboxes } from '../scheduler/mailbox.js';
import { seededRandom } from '../scheduler/random.js';
import { Scoreboard, type WorkerWriter } from '../scheduler/scoreboard.js';
import { Connections } from './connections.js';
import { drain, followSessions } from './draining.js';
import { Listening } from './listening.js';
import { Mail } from './mail.js';
import { Outbox } from './outbox.js';
import { Rounds } from './rounds.js';
import { setMovingControl } from './self.js';
import { Tracking } from './tracking.js';

export interface AgentInit {
  readonly index: number;
  /** Workers that accept by themselves; a spare's index is not below it. */
  readonly count: number;
  readonly scoreboard: Int32Array<SharedArrayBuffer>;
  /** Null where connections do not move. */
  readonly moving: MovingInit | null;
  /** Null where the thread opens its own sockets. */
  readonly transport: {
    open(listen: ListenRequest): OpenReply;
    release(grant: number | null, fds: readonly number[]): void;
  } | null;
  send(message: FromWorker): void;
  deliver(signal: NodeJS.Signals): void;
  /** Ends the worker. */
  exit(): void;
}

export class Agent {
  readonly #init: AgentInit;
  readonly #connections: Connections;
  readonly #listening: Listening;
  readonly #loop: LoopHooks | null;
  readonly #tracking: Tracking | null;
  readonly #mail: Mail | null;
  #draining = false;

  constructor(init: AgentInit) {
    this.#init = init;
    const board = Scoreboard.attach(init.scoreboard);
    const row = board.own(init.index);
    this.#connections = new Connections(row, (socket) => this.#mail?.opened(socket) ?? false);
    this.#listening = new Listening(init.transport, {
      listening: followSessions,
      accepting: (fd, listener, on) => this.#tracking?.accepting(fd, listener, on),
      ready: () => init.send({ kind: 'ready' }),
      own: (address, listening) => init.send({ kind: 'own', address, listening }),
      failed: (error) => init.send({ kind: 'listen-failed', error, system: systemFields(error) }),
    });
    const moving = init.moving === null ? null : this.#joinMoving(init.moving, board, row);
    this.#tracking = moving?.tracking ?? null;
    this.#mail = moving?.mail ?? null;
    const onWake = () => this.#mail?.read();
    this.#loop = hasHelper
      ? attachLoop(
          init.scoreboard,
          row.loopsIndex,
          row.heartbeatIndex,
          onWake,
          moving?.rounds ?? null,
        )
      : null;
    this.#tracking?.install();
    setMovingControl(this.#tracking);
    this.#connections.install();
    this.#listening.install();
  }

  /** What this worker needs to give connections and to be given some. */
  #joinMoving(moving: MovingInit, board: Scoreboard, row: WorkerWriter) {
    const { index, count, send } = this.#init;
    const { rings, roundMs, batchMax, chaos } = moving;
    const table = ConnectionTable.attach(moving.table);
    const mailboxes = Mailboxes.attach(moving.mailboxes);
    const tracking = new Tracking(table, index, row, (server) =>
      this.#listening.listenerOf(server),
    );
    const mail = new Mail(mailboxes.reader(index), this.#listening, tracking, (entry, full) =>
      send({ kind: 'undeliverable', entry, full }),
    );
    const outbox = new Outbox(mailboxes, index, board, table, (worker) =>
      send({ kind: 'left', worker }),
    );
    const settings = {
      ...{ worker: index, workers: count, spare: index >= count, roundMs, batchMax, chaos },
      rings: rings[index] ?? [],
      random: seededRandom(moving.seed + 1 + index), // the governor has the seed itself
    };
    const rounds = new Rounds(settings, board, row, table, tracking, outbox);
    return { tracking, mail, rounds: rounds.settings(nativeTable(table)) };
  }

  get wakeId(): number | null {
    return this.#loop?.wakeId ?? null;
  }

  receive(message: ToWorker): void {
    switch (message.kind) {
      case 'adopt':
        this.#listening.adopt(message.grant, message.fd);
        break;
      case 'yield':
        this.#listening.yield(message.grant, message.fd);
        break;
      case 'signal':
        this.#init.deliver(message.signal);
        break;
      case 'stop':
        this.#init.exit();
        break;
      case 'drain':
        if (this.#draining) return;
        this.#draining = true;
        drain(this.#listening, this.#connections).then(() => this.#init.exit());
    }
  }

  /** Cuts off every connection and stops listening. */
  disconnect(): void {
    for (const server of this.#listening.servers()) server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  /** Undoes what was installed, on a thread that goes on afterwards. */
  uninstall(): void {
    this.#listening.uninstall();
    this.#connections.uninstall();
    this.#tracking?.uninstall();
    setMovingControl(null);
    this.#loop?.detach();
  }
}

function systemFields(error: Error & SystemFields): SystemFields {
  const { code, errno, syscall, address, port } = error;
  return { code, errno, syscall, address, port };
}
