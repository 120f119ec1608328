/**
 * HTTP connections that came from another worker and have had no message here yet.
 * Worker's thread only.
 *
 * To this worker's server such a connection is a new one whose first request is overdue:
 * it would be answered 408 after `headersTimeout`, and not be among the idle connections that
 * `server.close()` closes. To its client it is one that is kept alive. So it gets
 * `keepAliveTimeout`, and node's own list of a server's connections
 * (`http.server.connections`, in Node 20 to 26) is made to say so: a waiting connection is
 * idle, and has not expired. From the first byte of its first message on all is node's again.
 * Nobody is told of that byte; whoever wants to know asks the socket whether it has read any.
 */
import type { Socket } from 'node:net';
import { type ConnectionsList, type HttpSocket, listOf } from './connection-list.js';
import { cancelTimeout, scheduleTimeout } from './timers.js';

/** What node adds to `keepAliveTimeout` where there is no `keepAliveTimeoutBuffer`, in ms. */
const BUFFER_DEFAULT_MS = 1_000;

/** Of an http.Server; durations in ms, 0 is never. */
export interface HttpServer {
  readonly keepAliveTimeout?: number;
  readonly keepAliveTimeoutBuffer?: number;
}

interface WaitingSocket extends Socket {
  parser?: unknown;
  server?: HttpServer;
}

export class Waiting {
  /** With the timer that ends each. */
  readonly #sockets = new Map<WaitingSocket, NodeJS.Timeout | undefined>();
  readonly #told = new WeakSet<ConnectionsList>();

  /** Whether connections of `server`, which listens, can wait. */
  static worksFor(server: object): boolean {
    return listOf(server) !== null;
  }

  /** `socket` was adopted by an HTTP server and has no message yet. */
  begin(socket: WaitingSocket): void {
    const { server } = socket;
    if (server === undefined) return;
    const list = listOf(server);
    if (list !== null && !this.#told.has(list)) this.#tell(server, list);
    const { keepAliveTimeout = 0, keepAliveTimeoutBuffer = BUFFER_DEFAULT_MS } = server;
    const expire = () => {
      // To node this is what it is of a connection that it has kept alive itself.
      if (this.has(socket)) socket.emit('timeout');
      this.end(socket);
    };
    const timer =
      keepAliveTimeout > 0
        ? scheduleTimeout(expire, keepAliveTimeout + keepAliveTimeoutBuffer).unref()
        : undefined;
    this.#sockets.set(socket, timer);
  }

  /** Whether it had no byte of a message yet. */
  has(socket: WaitingSocket): boolean {
    return this.#sockets.has(socket) && socket.bytesRead === 0;
  }

  /** Its first message has begun, or it has closed. */
  end(socket: WaitingSocket): void {
    cancelTimeout(this.#sockets.get(socket));
    this.#sockets.delete(socket);
  }

  #tell(server: HttpServer, list: ConnectionsList): void {
    const { idle, expired } = list;
    list.idle = () => {
      const own = [...this.#sockets.keys()].filter(
        (socket) => socket.server === server && this.has(socket),
      );
      return [...idle.call(list), ...own.map((socket) => ({ socket: socket as HttpSocket }))];
    };
    // Node no longer looks at one that it has called expired until a message begins.
    list.expired = (headersTimeout, requestTimeout) =>
      expired
        .call(list, headersTimeout, requestTimeout)
        .filter(({ socket }) => socket === null || !this.has(socket as WaitingSocket));
    this.#told.add(list);
  }
}
