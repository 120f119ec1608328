/**
 * `GET /events`: what happens to the workers, as server-sent events. Main thread only. Nobody is
 * waited for: who does not read what it was sent is cut off.
 */
import type { ServerResponse } from 'node:http';
import type { GyreError } from '../errors.js';
import type { Runtime } from '../runtime/api.js';

/** Streams at a time. No evidence for more or less. */
const STREAMS_MAX = 16;
/** What may wait to be sent in one: thousands of events. */
const BACKLOG_BYTES = 256 * 1024;
/** How soon a client that was cut off should come again, in ms. */
const RETRY_MS = 2_000;

export const EVENT_NAMES = Object.freeze([
  ...['state', 'worker', 'listening', 'exit', 'hang', 'stall', 'recycle', 'widen', 'narrow'],
  ...['move', 'reload', 'close'],
]);

export class EventStreams {
  readonly #runtime: Runtime;
  readonly #streams = new Set<ServerResponse>();
  #last = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    runtime.on('worker', (worker) => this.#send('worker', { worker }));
    runtime.on('listening', (address, worker) => this.#send('listening', { address, worker }));
    runtime.on('exit', ({ error, ...end }) =>
      this.#send('exit', { ...end, error: error === null ? null : plain(error) }),
    );
    runtime.on('hang', (hang) => this.#send('hang', { ...hang }));
    runtime.on('stall', (stall) => this.#send('stall', { ...stall }));
    runtime.on('recycle', (recycling) => this.#send('recycle', { ...recycling }));
    runtime.on('widen', (repinning) => this.#send('widen', { ...repinning }));
    runtime.on('narrow', (repinning) => this.#send('narrow', { ...repinning }));
    runtime.on('move', (move) => this.#send('move', { ...move }));
    runtime.on('reload', () => this.#send('reload', {}));
  }

  get isFull(): boolean {
    return this.#streams.size >= STREAMS_MAX;
  }

  /** Answers with everything that happens from now on. */
  add(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.socket?.setNoDelay(true);
    this.#streams.add(response);
    response.on('close', () => this.#streams.delete(response));
    const { state, ready, workers, spares } = this.#runtime;
    response.write(`retry: ${RETRY_MS}\n\n`);
    write(response, 'state', { state, ready, workers, spares }, this.#last);
  }

  /** The last event, and the end of all streams. */
  close(): void {
    this.#send('close', {});
    for (const stream of this.#streams) stream.end();
  }

  #send(event: string, data: object): void {
    this.#last++;
    for (const stream of this.#streams) {
      write(stream, event, data, this.#last);
      if (stream.writableLength > BACKLOG_BYTES) stream.destroy();
    }
  }
}

function write(stream: ServerResponse, event: string, data: object, id: number): void {
  stream.write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function plain({ code, message, worker }: GyreError) {
  return { code, message, worker };
}
