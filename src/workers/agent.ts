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
  OverloadInit,
  SystemFields,
  ToWorker,
  TracedMove,
} from '../protocol.js';
import { ConnectionTable, nativeTable } from '../scheduler/connection-table.js';
import { Capacity, isLimited } from '../scheduler/limits.js';
import { Mailboxes } from '../scheduler/mailbox.js';
import { seededRandom } from '../scheduler/random.js';
import { Scoreboard, type WorkerWriter } from '../scheduler/scoreboard.js';
import { Accepting } from './accepting.js';
import { Connections } from './connections.js';
import { Departure } from './departure.js';
import { cutOff, drain, followSessions, retire } from './draining.js';
import { Events } from './events.js';
import { Listening } from './listening.js';
import { Mail } from './mail.js';
import { Outbox } from './outbox.js';
import { Outstanding } from './outstanding.js';
import { Overflow } from './overflow.js';
import { report } from './report.js';
import { Rounds } from './rounds.js';
import { setEventsControl, setMovingControl } from './self.js';
import { Shutdown } from './shutdown.js';
import { Timing } from './timing.js';
import { type Counts, Tracking } from './tracking.js';

/** Captured at load: an application may install fake timers. */
const scheduleImmediate = setImmediate;

export interface AgentInit {
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
  readonly transport: {
    open(listen: ListenRequest): OpenReply;
    release(grant: number | null, fds: readonly number[]): void;
  } | null;
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
    const settings = { slot, overload, descriptorsMax };
    this.#accepting = new Accepting(settings, board, row, capacity, this.#connections);
    this.#outstanding = isLimited(limits.outstanding)
      ? new Outstanding(slot, row, capacity, overload === 'refuse', eased)
      : null;
    this.#listening = new Listening(init.transport, this.#accepting, {
      listening: (server) => {
        followSessions(server);
        this.#outstanding?.guard(server);
      },
      accepting: (fd, listener, on) => this.#tracking?.accepting(fd, listener, on),
      ready: () => init.send({ kind: 'ready' }),
      own: (address, listening) => init.send({ kind: 'own', address, listening }),
      failed: (error) => init.send({ kind: 'listen-failed', error, system: systemFields(error) }),
    });
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
      connectionsIndex: row.connectionsIndex,
    };
    const tracking = new Tracking(table, slot, counts, (server) =>
      this.#listening.listenerOf(server),
    );
    const mail = new Mail(
      ...([mailboxes.reader(slot), this.#listening, tracking, this.#connections] as const),
      (entry, full) => send({ kind: 'undeliverable', entry, full }),
    );
    const left = (worker: number) => send({ kind: 'left', worker });
    const { words, connectionsIndex } = row;
    const outbox = new Outbox(mailboxes, slot, board, table, left, words, connectionsIndex);
    const settings = {
      ...{ worker: slot, workers: accepting, spare: slot >= accepting },
      ...{ roundMs, batchMax, chaos },
      rings: rings[slot] ?? [],
      traced: trace ? (move: TracedMove) => send({ kind: 'moved', move }) : null,
      random: seededRandom(moving.seed + 1 + slot), // the governor has the seed itself
    };
    const rounds = new Rounds(settings, board, row, table, tracking, outbox, capacity);
    const who = { slot, accepting, hand: row.handIndex };
    this.#accepting.overflow = new Overflow(who, board, capacity, outbox);
    const departure = new Departure(who, board, table, tracking, outbox, send);
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
        this.#leave(() => drain(this.#listening, this.#connections, message.serve));
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
    if (this.#tracking === null || this.#departure === null) {
      return drain(this.#listening, this.#connections, false);
    }
    return retire(this.#listening, this.#connections, this.#tracking, this.#departure, heir);
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
