/**
 * What a client is told for which there is no room: 503 with Retry-After over HTTP/1, and of
 * any other protocol, TLS among them, that the connection is closed. Worker's thread only.
 */
import net, { type Server, type Socket } from 'node:net';
import { speaksHttp1 } from './server-kind.js';
import { cancelTimeout, scheduleTimeout } from './timers.js';

/** After how many seconds a client is told to try again. No evidence for more or less. */
export const RETRY_AFTER_S = 1;

/** Without a body, so that it answers a HEAD as well. */
const ANSWER = [
  'HTTP/1.1 503 Service Unavailable',
  `Retry-After: ${RETRY_AFTER_S}`,
  'Connection: close',
  'Content-Length: 0',
  '\r\n',
].join('\r\n');

/** How long a client may take to ask, read the answer and close. No evidence for more or less. */
const LINGER_MS = 1_000;

/** Most that are being told at one time; further connections are closed at once. No evidence. */
const TOLD_MAX = 256;

/** A stream handle of node's that is connected. */
interface ConnectedHandle {
  close(): void;
}

export class Refusal {
  #told = 0;

  /** Refuses the connection of `handle`, which came for `server` and was not read. */
  refuse(server: Server, handle: ConnectedHandle): void {
    if (speaksHttp1(server) && this.#told < TOLD_MAX) this.#tell(handle);
    else handle.close();
  }

  /**
   * The answer goes out when the question comes: some clients take one that they did not ask for
   * yet for an error. And it is not closed with something unread, for which the kernel would
   * reset it, and the client might not see the answer.
   */
  #tell(handle: ConnectedHandle): void {
    this.#told++;
    const socket: Socket = new net.Socket({
      handle,
      allowHalfOpen: true,
    } as unknown as net.SocketConstructorOpts);
    const timer = scheduleTimeout(() => socket.destroy(), LINGER_MS);
    socket.on('error', () => {}); // the client has gone
    socket.once('data', () => socket.end(ANSWER));
    socket.once('end', () => socket.destroySoon());
    socket.once('close', () => {
      cancelTimeout(timer);
      this.#told--;
    });
    socket.resume();
  }
}
