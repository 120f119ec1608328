/**
 * How long a client of the endpoint may keep a connection for what it has to do: send a request,
 * read an answer, or come up with the next request. Main thread only. Node's own time limits are
 * looked at by a timer that never rests; these exist while a connection does.
 */
import type { Socket } from 'node:net';

/** A scrape takes milliseconds. No evidence for more or less. */
const LIMIT_MS = 10_000;

const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n';

export class Deadlines {
  readonly #timers = new Map<Socket, NodeJS.Timeout>();

  /** The peer of `socket` has LIMIT_MS to send a request. */
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

  /** The peer of `socket` has LIMIT_MS to read the answer. */
  awaitReading(socket: Socket): void {
    this.#begin(socket, () => socket.destroy());
  }

  /** The peer of `socket` reads a long answer: LIMIT_MS without progress is too long. */
  awaitProgress(socket: Socket): void {
    this.end(socket);
    socket.setTimeout(LIMIT_MS); // node's http server destroys it then
  }

  /** It is closed, or has all the time that things take here. */
  end(socket: Socket): void {
    socket.setTimeout(0);
    clearTimeout(this.#timers.get(socket));
    this.#timers.delete(socket);
  }

  #begin(socket: Socket, late: () => void): void {
    this.end(socket);
    if (!socket.destroyed) this.#timers.set(socket, setTimeout(late, LIMIT_MS).unref());
  }
}
