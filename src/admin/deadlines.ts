/**
 * How long a client of the endpoint may keep a connection for what it has to do: send a request,
 * read an answer, or come up with the next request. Main thread only. Node's own time limits are
 * looked at by a timer that never rests; these exist while a connection does.
 */
import type { Socket } from 'node:net';

/** The limit. A scrape takes milliseconds. No evidence for more or less. */
const LIMIT_MS = 10_000;

const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n';

export class Deadlines {
  readonly #limitMs: number;
  readonly #timers = new Map<Socket, NodeJS.Timeout>();

  constructor(limitMs = LIMIT_MS) {
    this.#limitMs = limitMs;
  }

  /** The peer of `socket` has the limit to send a request. */
  awaitRequest(socket: Socket): void {
    const seen = socket.bytesRead;
    this.#begin(socket, () => {
      if (socket.bytesRead === seen) {
        socket.destroy();
        return;
      }
      socket.end(TOO_LATE);
      socket.destroySoon();
    });
  }

  /** The peer of `socket` has the limit to read the answer. */
  awaitReading(socket: Socket): void {
    this.#begin(socket, () => socket.destroy());
  }

  /** The peer of `socket` reads a long answer: the limit without progress is too long. */
  awaitProgress(socket: Socket): void {
    this.end(socket);
    socket.setTimeout(this.#limitMs); // node's http server destroys it then
  }

  /** It is closed, or has all the time that things take here. */
  end(socket: Socket): void {
    socket.setTimeout(0);
    clearTimeout(this.#timers.get(socket));
    this.#timers.delete(socket);
  }

  #begin(socket: Socket, late: () => void): void {
    this.end(socket);
    if (!socket.destroyed) this.#timers.set(socket, setTimeout(late, this.#limitMs).unref());
  }
}
