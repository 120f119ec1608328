/**
 * A keep-alive connection of a load generator: one request at a time, bytes made
 * beforehand, and no more work for a response than to see that it is right. node's own
 * http client costs several times as much, and what the client uses of the CPUs, the
 * servers lack.
 */
import net from 'node:net';
import { ResponseScanner } from './response.js';

/** What every application in apps/ answers. */
const BODY = 'hello world\n';

/** All connections of this thread read into it: each read is used up before the next. */
const buffer = Buffer.alloc(65_536);

/** `null` for a right answer. */
export type Answered = (error: Error | null) => void;

export function requestFor(path: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
}

export class Connection {
  readonly #socket: net.Socket;
  readonly #scanner = new ResponseScanner();
  #answered: Answered | null = null;
  /** Why it can be used no more. */
  #broken: Error | null = null;

  /** @param onLost called when it ends, or breaks, while no request is out. */
  private constructor(port: number, onLost: (error: Error) => void) {
    this.#socket = net.connect({
      ...{ host: '127.0.0.1', port, noDelay: true },
      onread: {
        buffer,
        callback: (bytes) => {
          this.#received(bytes);
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => {
      this.#broken ??= error;
    });
    this.#socket.once('close', () => {
      this.#broken ??= new Error('the server closed the connection');
      if (!this.#settle(this.#broken)) onLost(this.#broken);
    });
  }

  /** Resolves when it is connected. */
  static open(port: number, onLost: (error: Error) => void): Promise<Connection> {
    return new Promise((resolve, reject) => {
      let connected = false;
      const connection = new Connection(port, (error) =>
        connected ? onLost(error) : reject(error),
      );
      connection.#socket.once('connect', () => {
        connected = true;
        resolve(connection);
      });
    });
  }

  /** One at a time. `answered` is called once, later. */
  send(request: Buffer, answered: Answered): void {
    this.#answered = answered;
    if (this.#broken === null) this.#socket.write(request);
    else setImmediate(() => this.#settle(this.#broken));
  }

  /** Nothing is called any more. */
  destroy(): void {
    this.#socket.removeAllListeners('close').destroy();
  }

  #received(bytes: number): void {
    let error: Error | null = null;
    try {
      const body = this.#scanner.push(buffer.toString('latin1', 0, bytes));
      if (body === null) return;
      if (body !== BODY) error = new Error(`the body is ${JSON.stringify(body)}`);
      else if (this.#answered === null) error = new Error('a response that nobody asked for');
    } catch (reason) {
      error = reason as Error;
    }
    if (error !== null)
      this.#socket.destroy(error); // settles it as lost
    else this.#settle(null);
  }

  #settle(error: Error | null): boolean {
    const answered = this.#answered;
    this.#answered = null;
    answered?.(error);
    return answered !== null;
  }
}
