/**
 * Asking an admin endpoint: whole requests, raw bytes, and its event stream.
 */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { ListenAddress, Runtime, Status, WorkerStatus } from '../../src/index.js';
import { type Answer, send } from '../support/app.js';

export type Where = { socketPath: string } | { host: string; port: number };

export function whereOf(address: ListenAddress | null): Where {
  if (address === null) throw new Error('it listens nowhere');
  if (address.family === 'unix') return { socketPath: address.path };
  return { host: address.address, port: address.port };
}

export interface Asked {
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
  readonly agent?: http.Agent;
}

/** One request, on a connection of its own unless an agent is given. */
export function ask(where: Where, target: string, asked: Asked = {}): Promise<Answer> {
  const { body, ...how } = asked;
  return send({ ...where, path: target, ...how }, body);
}

/** What comes back for `bytes`, until the endpoint hangs up. */
export async function sendRaw(where: Where, ...bytes: string[]): Promise<string> {
  const socket = 'port' in where ? net.connect(where) : net.connect(where.socketPath);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {}); // 'close' follows
  for (const each of bytes) socket.write(each);
  await once(socket, 'close');
  return text;
}

export async function statusOf({ admin }: Runtime): Promise<Status> {
  const { status, body } = await ask(whereOf(admin.endpoint), '/snapshot');
  if (status !== 200) throw new Error(`${status}: ${body}`);
  return JSON.parse(body) as Status;
}

/** Asks until `holds`; the last answer in any case. Bounded by some 10 s. */
export async function statusWhen(
  runtime: Runtime,
  holds: (status: Status) => boolean,
): Promise<Status> {
  let status = await statusOf(runtime);
  for (let tries = 0; tries < 1_000 && !holds(status); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    status = await statusOf(runtime);
  }
  return status;
}

export function sumOf(
  { workers }: Status,
  key: keyof { [K in keyof WorkerStatus as WorkerStatus[K] extends number ? K : never]: 0 },
): number {
  return workers.reduce((total, worker) => total + worker[key], 0);
}

/** Values of one metric, in the order in which they stand; `series` begins as the line does. */
export function valuesIn(text: string, series: string): number[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(series) && !line.startsWith('#'))
    .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
}

export interface StreamEvent {
  readonly id: number;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** The stream of events, as it comes. */
export class EventStream {
  readonly events: StreamEvent[] = [];
  readonly response: http.IncomingMessage;
  /** Resolves when the stream has ended. */
  readonly ended: Promise<unknown>;

  private constructor(response: http.IncomingMessage) {
    this.response = response;
    this.ended = once(response, 'close');
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) this.#read(block);
      response.emit('event');
    });
    response.on('error', () => {});
  }

  static async open(where: Where, headers: http.OutgoingHttpHeaders = {}): Promise<EventStream> {
    const request = http.get({ ...where, path: '/events', agent: false, headers });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    return new EventStream(response);
  }

  /** Resolves with the first event of that name. */
  async has(name: string, holds: (event: StreamEvent) => boolean = () => true) {
    for (;;) {
      const found = this.events.find((each) => each.event === name && holds(each));
      if (found !== undefined) return found;
      if (this.response.destroyed) throw new Error(`the stream ended without ${name}`);
      await Promise.race([once(this.response, 'event'), this.ended]);
    }
  }

  close(): void {
    this.response.destroy();
  }

  #read(block: string): void {
    const fields = Object.fromEntries(
      block
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
    );
    if (fields.event === undefined) return;
    const data = JSON.parse(fields.data ?? 'null') as Record<string, unknown>;
    this.events.push({ id: Number(fields.id), event: fields.event, data });
  }
}
