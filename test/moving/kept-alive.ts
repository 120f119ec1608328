/**
 * One keep-alive connection of an HTTP client, which fails instead of connecting a second
 * time: what is asked over it shows who serves that connection now.
 */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { buffer } from 'node:stream/consumers';
import tls from 'node:tls';
import type { Test } from 'tap';

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export class KeptAlive {
  readonly socket: net.Socket;
  readonly #client: typeof http | typeof https;
  readonly #agent: http.Agent;

  /** @param to with a `ca`, over TLS */
  constructor(to: net.TcpNetConnectOpts & tls.ConnectionOptions) {
    const secure = to.ca !== undefined;
    this.#client = secure ? https : http;
    this.socket = secure ? tls.connect(to) : net.connect(to);
    this.socket.on('error', () => {}); // the request on it fails as well
    let connected = false;
    const options = { keepAlive: true, maxSockets: 1 };
    this.#agent = new this.#client.Agent(options);
    Object.assign(this.#agent, {
      createConnection: () => {
        if (connected) throw new Error('the connection was lost');
        connected = true;
        return this.socket;
      },
    });
  }

  /** Resolves when the head of the answer is there. */
  async begin(path = '/', body?: Buffer): Promise<http.IncomingMessage> {
    const method = body === undefined ? 'GET' : 'POST';
    const request = this.#client.request({ agent: this.#agent, path, method });
    request.on('error', () => {}); // once it is answered: whoever reads the answer is told, too
    request.end(body);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    return response;
  }

  async ask(path = '/', body?: Buffer): Promise<Answer> {
    const response = await this.begin(path, body);
    const { statusCode = 0, headers } = response;
    return { status: statusCode, headers, body: await buffer(response) };
  }

  close(): void {
    this.socket.destroy();
    this.#agent.destroy();
  }
}

/** One that ends with its test. */
export function keepAlive(t: Test, to: ConstructorParameters<typeof KeptAlive>[0]): KeptAlive {
  const connection = new KeptAlive(to);
  t.teardown(() => connection.close());
  return connection;
}
