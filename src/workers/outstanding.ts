/**
 * The HTTP/1 requests of this worker that have begun and are not answered: counted in its row of
 * the scoreboard, and refused when there are too many, if that is asked for. Worker's thread
 * only. Used only where there is a limit, because it costs a look into a Map per request.
 *
 * A request that is refused keeps its connection: to make the client connect again would cost
 * more than the answer.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { Capacity } from '../scheduler/limits.js';
import { PLACES_MAX } from '../scheduler/places.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import { REQUEST_START, RESPONSE_FINISH } from './channels.js';
import { RETRY_AFTER_S } from './refusal.js';
import { isHttp1 } from './server-kind.js';

/** How a server tells of a request; before each of them REQUEST_START is published. */
const REQUESTS: ReadonlySet<unknown> = new Set(['request', 'checkContinue', 'checkExpectation']);

interface Message {
  readonly response: ServerResponse;
  readonly socket: Socket;
  readonly server: Server;
}

interface OutstandingInit {
  readonly slot: number;
  readonly row: WorkerWriter;
  readonly capacity: Capacity;
  /** Whether those beyond the limit are refused. */
  readonly refuses: boolean;
  /** Called when there is one less. */
  readonly eased: () => void;
}

export class Outstanding {
  readonly #slot: number;
  readonly #row: WorkerWriter;
  readonly #capacity: Capacity;
  readonly #refuses: boolean;
  readonly #eased: () => void;
  /** Requests that are not answered, by connection. */
  readonly #open = new Map<Socket, number>();
  readonly #followed = new WeakSet<Socket>();
  /** Responses to requests beyond the limit. */
  readonly #beyond = new WeakSet<ServerResponse>();
  readonly #guarded = new WeakSet<Server>();
  readonly #closed: (this: Socket) => void;

  constructor(init: OutstandingInit) {
    this.#slot = init.slot;
    this.#row = init.row;
    this.#capacity = init.capacity;
    this.#refuses = init.refuses;
    this.#eased = init.eased;
    const self = this;
    this.#closed = function () {
      self.#less(this, self.#open.get(this) ?? 0);
    };
  }

  install(): void {
    subscribe(REQUEST_START, this.#onStart);
    subscribe(RESPONSE_FINISH, this.#onFinish);
  }

  uninstall(): void {
    unsubscribe(REQUEST_START, this.#onStart);
    unsubscribe(RESPONSE_FINISH, this.#onFinish);
  }

  /** `server` is about to listen. */
  guard(server: Server): void {
    if (!this.#refuses || this.#guarded.has(server) || !isHttp1(server)) return;
    this.#guarded.add(server);
    const self = this;
    const emit = server.emit as (this: Server, ...args: unknown[]) => boolean;
    const guarded = function (this: Server, ...args: unknown[]) {
      if (REQUESTS.has(args[0]) && self.#beyond.has(args[2] as ServerResponse)) {
        self.#refuse(args[2] as ServerResponse);
        return true;
      }
      return emit.apply(this, args);
    };
    Object.defineProperty(server, 'emit', {
      ...{ value: guarded, writable: true, configurable: true, enumerable: false },
    });
  }

  #onStart = (message: unknown): void => {
    const { socket, response, server } = message as Message;
    const max = this.#guarded.has(server) ? this.#capacity.requestsMax(this.#slot) : PLACES_MAX;
    if (!this.#row.beginRequest(max)) {
      this.#beyond.add(response);
      return;
    }
    this.#open.set(socket, (this.#open.get(socket) ?? 0) + 1);
    if (this.#followed.has(socket)) return;
    this.#followed.add(socket);
    // A response whose connection closes before its end does not finish.
    socket.once('close', this.#closed);
  };

  #onFinish = (message: unknown): void => {
    const { response, socket } = message as Message;
    if (!this.#beyond.has(response)) this.#less(socket, 1);
  };

  #less(socket: Socket, by: number): void {
    const open = this.#open.get(socket);
    if (open === undefined || by === 0) return;
    if (open > by) this.#open.set(socket, open - by);
    else this.#open.delete(socket);
    this.#row.endRequests(by);
    this.#eased();
  }

  #refuse(response: ServerResponse): void {
    this.#row.shed();
    response.writeHead(503, { 'Retry-After': RETRY_AFTER_S, 'Content-Length': 0 });
    response.end();
  }
}
