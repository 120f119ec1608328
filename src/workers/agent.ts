/**
 * The part of gyre that lives beside the application, in a worker thread or, for
 * `workers: 'inline'`, on the main thread: it listens through main, counts, and
 * ends the worker when told. Called on that one thread only.
 */
import { attachLoop, hasHelper, type LoopHooks } from '../native.js';
import type {
  FromWorker,
  MovingInit,
  OverloadInit,
  SystemFields,
  ToWorker,
  TracedMove,
} from '../protocol.js';
import { ConnectionTable, nativeTable } from '../scheduler/connection-table.js';
import { Hand } from '../scheduler/hand.js';
import { Capacity, isLimited } from '../scheduler/limits.js';
import { Mailboxes } from '../scheduler/mailbox.js';
import { seededRandom } from '../scheduler/random.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import { Accepting } from './accepting.js';
import { Connections } from './connections.js';
import { Departure } from './departure.js';
import { cutOff, Leaving } from './draining.js';
import { Events } from './events.js';
import { Listening, type ListenTransport } from './listening.js';
import { Mail } from './mail.js';
import { Outbox } from './outbox.js';
import { Outstanding } from './outstanding.js';
import { Overflow } from './overflow.js';
import { report } from './report.js';
import { Rounds } from './rounds.js';
import { setEventsControl, setMovingControl } from './self.js';
import { Shutdown } from './shutdown.js';
import { scheduleImmediate } from './timers.js';
import { Timing } from './timing.js';
import { type Counts, Tracking } from './tracking.js';

interface AgentInit {
  /** Its rows in shared memory. */
  readonly slot: number;
  /** Slots of workers that accept by themselves; a spare's is not below it. */
  readonly accepting: number;
  readonly scoreboard: Int32Array<SharedArrayBuffer>;
  /** Null where connections do not move. */
  readonly moving: MovingInit | null;
  readonly offers: Int32Array<SharedArrayBuffer>;
  /** Whether somebody may want to know how many requests there are, and how long iterations take. */
  readonly timed: boolean;
  /** And how long requests take. */
  readonly timesRequests: boolean;
  readonly overload: OverloadInit;
  /** Null where the thread opens its own sockets. */
  readonly transport: ListenTransport | null;
  send(message: FromWorker): void;
  /** Whether events alone keep this thread alive, from now on. */
  keepAlive(on: boolean): void;
  deliver(signal: NodeJS.Signals): void;
  /** Ends the worker. */
  exit(): void;
}

export class Agent {
  readonly #init: AgentInit;
  readonly #connections: Connections;
  readonly #accepting: Accepting;
  /** Null where requests have no limit. */
  readonly #outstanding: Outstanding | null;
  readonly #listening: Listening;
  readonly #leaving: Leaving;
  readonly #loop: LoopHooks | null;
  readonly #tracking: Tracking | null;
  readonly #mail: Mail | null;
  readonly #departure: Departure | null;
  readonly #events: Events;
  readonly #timing: Timing | null;
  readonly #shutdown = new Shutdown();
  #draining = false;
  /** It was told to end now: what it still has is to be cut off. */
  #stopped = false;

  constructor(init: AgentInit) {
    this.#init = init;
    const board = Scoreboard.attach(init.scoreboard);
    const row = board.own(init.slot);
    const { slot } = init;
    const { limits, overload, descriptorsMax } = init.overload;
    const capacity = new Capacity(board, init.accepting, limits);
    const eased = () => this.#accepting.eased();
    this.#connections = new Connections(row, capacity, {
      isGiven: (socket) => this.#mail?.opened(socket) ?? false,
      eased,
    });
    this.#accepting = new Accepting({
      ...{ slot, overload, descriptorsMax, board, row, capacity },
      connections: this.#connections,
    });
    this.#outstanding = isLimited(limits.outstanding)
      ? new Outstanding({ slot, row, capacity, refuses: overload === 'refuse', eased })
      : null;
    this.#listening = new Listening(init.transport, this.#accepting, {
      listening: (server) => {
        this.#leaving.follow(server);
        this.#outstanding?.guard(server);
      },
      accepting: (fd, listener, on) => this.#tracking?.accepting(fd, listener, on),
      ready: () => init.send({ kind: 'ready' }),
      own: (address, listening) => init.send({ kind: 'own', address, listening }),
      failed: (error) => init.send({ kind: 'listen-failed', error, system: systemFields(error) }),
    });
    this.#leaving = new Leaving(this.#listening, this.#connections);
    const moving =
      init.moving === null ? null : this.#joinMoving(init.moving, board, row, capacity);
    this.#tracking = moving?.tracking ?? null;
    this.#mail = moving?.mail ?? null;
    this.#departure = moving?.departure ?? null;
    const onWake = () => {
      this.#mail?.read();
      this.#accepting.lookAgain();
    };
    this.#loop = hasHelper
      ? attachLoop(
          init.scoreboard,
          row.loopsIndex,
          row.heartbeatIndex,
          onWake,
          moving?.rounds ?? null,
          init.timed ? row.iterations : null,
        )
      : null;
    this.#tracking?.install();
    setMovingControl(this.#tracking);
    this.#events = new Events(init);
    setEventsControl({
      on: (name, handler) => this.#events.on(name, handler),
      emit: (name, payload, options) => this.#events.emit(name, payload, options),
      ready: () => this.#listening.declareReady(),
      onShutdown: (handler) => this.#shutdown.on(handler),
    });
    this.#connections.install();
    this.#outstanding?.install();
    this.#listening.install();
    this.#timing = init.timed
      ? new Timing(board.requestTimes(init.slot), init.timesRequests)
      : null;
    this.#timing?.install();
  }

  /** What this worker needs to give connections and to be given some. */
  #joinMoving(moving: MovingInit, board: Scoreboard, row: WorkerWriter, capacity: Capacity) {
    const { slot, accepting, send } = this.#init;
    const { rings, roundMs, batchMax, chaos, trace } = moving;
    const table = ConnectionTable.attach(moving.table);
    const mailboxes = Mailboxes.attach(moving.mailboxes);
    const counts: Counts = {
      held: (by) => row.held(by),
      opened: (fd) => row.opened(fd),
      reached: (fd) => row.reached(fd),
      left: (socket) => this.#connections.left(socket),
      ...{ words: row.words, messagesIndex: row.messagesIndex },
    };
    const tracking = new Tracking(table, slot, counts, (server) =>
      this.#listening.listenerOf(server),
    );
    const mail = new Mail({
      ...{ reader: mailboxes.reader(slot), table, row, tracking },
      ...{ listening: this.#listening, connections: this.#connections },
      undeliverable: (entry, full) => send({ kind: 'undeliverable', entry, full }),
    });
    const hand = new Hand(row.words, row.handIndex, row.connectionsIndex);
    const outbox = new Outbox({
      ...{ mailboxes, giver: slot, board, table },
      left: (worker) => send({ kind: 'left', worker }),
    });
    const rounds = new Rounds({
      ...{ worker: slot, workers: accepting, spare: slot >= accepting },
      ...{ roundMs, batchMax, chaos },
      rings: rings[slot] ?? [],
      traced: trace ? (move: TracedMove) => send({ kind: 'moved', move }) : null,
      random: seededRandom(moving.seed + 1 + slot), // the governor has the seed itself
      ...{ board, row, table, tracking, capacity, outbox, hand },
    });
    const giver = { slot, accepting, board, outbox, hand };
    this.#accepting.overflow = new Overflow({ ...giver, capacity });
    const departure = new Departure({ ...giver, table, tracking, send });
    return { tracking, mail, departure, rounds: rounds.settings(nativeTable(table)) };
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
      case 'report':
        report(message).then(this.#init.send);
        break;
      case 'signal':
        this.#init.deliver(message.signal);
        break;
      case 'stop':
        this.#stopped = true;
        this.#init.exit();
        break;
      case 'drain':
        if (this.#draining) this.#leaving.hasten();
        this.#leave(() => this.#leaving.drain(message.serve));
        break;
      case 'retire':
        this.#leave(() => this.#retire(message.heir));
        break;
      default:
        this.#events.receive(message);
    }
  }

  /** Ends this worker after `done`. What was begun first goes on. */
  #leave(done: () => Promise<void>): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#events.leave();
    done()
      .then(() => this.#events.idle())
      .then(() => this.#shutdown.run())
      // Not before node has told of what the application did not catch.
      .then(() => scheduleImmediate(() => this.#init.exit()));
  }

  #retire(heir: number | null): Promise<void> {
    const [tracking, departure] = [this.#tracking, this.#departure];
    if (tracking === null || departure === null) return this.#leaving.drain(false);
    return this.#leaving.retire({ tracking, departure }, heir);
  }

  /**
   * The thread ends after this turn, whatever the reason: what can go on elsewhere does. Node
   * would still read from the rest, and answer 400 because its parsers are gone.
   */
  end(): void {
    // Others listen on: the servers are not closed, which would say that nobody shall.
    this.#listening.cease();
    if (!this.#stopped) this.#departure?.giveAll(null, true);
    for (const socket of this.#connections) cutOff(socket);
  }

  /** Cuts off every connection and stops listening. */
  disconnect(): void {
    for (const server of this.#listening.servers()) server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  /** Undoes what was installed, on a thread that goes on afterwards. */
  uninstall(): void {
    this.#leaving.undo();
    this.#listening.uninstall();
    this.#connections.uninstall();
    this.#outstanding?.uninstall();
    this.#tracking?.uninstall();
    this.#timing?.uninstall();
    setMovingControl(null);
    setEventsControl(null);
    this.#loop?.detach();
  }
}

function systemFields(error: Error & SystemFields): SystemFields {
  const { code, errno, syscall, address, port } = error;
  return { code, errno, syscall, address, port };
}
