/**
 * One program, test/fixtures/apps/obeys.js, in two workers of node:cluster or of gyre, and what its
 * operator can do in both.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import net, { type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import type { Test } from 'tap';
import { app, ROOT, start } from '../support/app.js';
import { Running } from '../support/running.js';

const PROGRAM = app('obeys.js');
const ARGS = ['--one', 'two'];

/** Values that come, in their order, and who waits for them. */
class Queue<T> {
  readonly #values: T[] = [];
  readonly #waiting: ((value: T) => void)[] = [];

  push(value: T): void {
    const first = this.#waiting.shift();
    if (first === undefined) this.#values.push(value);
    else first(value);
  }

  next(): Promise<T> {
    const [first] = this.#values.splice(0, 1);
    if (first !== undefined) return Promise.resolve(first);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

interface Said {
  hello?: string;
  held?: number;
  call?: number;
  result?: unknown;
}

/** A worker, as who it obeys sees it. */
export class Obedient {
  /** `pid:threadId`: what its servers answer. */
  readonly id: string;
  /** How many requests it holds, whenever there is one more. */
  readonly held = new Queue<number>();
  readonly #socket: Socket;
  readonly #calls = new Map<number, (result: never) => void>();
  #last = 0;

  constructor(id: string, socket: Socket) {
    this.id = id;
    this.#socket = socket;
  }

  heard({ held, call, result }: Said): void {
    if (held !== undefined) this.held.push(held);
    if (call === undefined) return;
    this.#calls.get(call)?.(result as never);
    this.#calls.delete(call);
  }

  /** Resolves to what came of it; never, if the worker ended of it. */
  tell<Result = unknown>(act: string, ...args: unknown[]): Promise<Result> {
    const call = ++this.#last;
    this.#socket.write(`${JSON.stringify({ call, act, args })}\n`);
    return new Promise((resolve) => {
      this.#calls.set(call, resolve);
    });
  }
}

/** Where workers report. */
class Control {
  readonly path: string;
  /** Those that serve, in the order in which they came to. */
  readonly workers = new Queue<Obedient>();
  readonly #server: net.Server;

  constructor(t: Test, folder: string) {
    this.path = path.join(folder, 'control');
    this.#server = net.createServer((socket) => {
      let worker: Obedient | null = null;
      socket.on('error', () => {}); // it has ended, as its operator will tell
      readline.createInterface({ input: socket }).on('line', (line) => {
        const said = JSON.parse(line) as Said;
        if (said.hello !== undefined) {
          worker = new Obedient(said.hello, socket);
          this.workers.push(worker);
        } else worker?.heard(said);
      });
    });
    t.teardown(() => this.#server.close());
  }

  static async open(t: Test): Promise<Control> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'gyre-compat-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const control = new Control(t, folder);
    control.#server.listen(control.path);
    await once(control.#server, 'listening');
    return control;
  }
}

/** How a worker ended. */
export interface End {
  readonly code: number;
  /** Its operator wanted it to. */
  readonly planned: boolean;
  /** Code of the error that it died of, which node:cluster does not tell. */
  readonly error?: string;
}

export interface World {
  readonly kind: 'cluster' | 'gyre';
  /** Workers that begin to serve; the first two are those it starts with. */
  readonly workers: Queue<Obedient>;
  readonly ends: Queue<End>;
  /** Ports on which a worker has come to listen, once for each worker. */
  readonly ports: Queue<number>;
  /** The one of two workers that its operator can send away. */
  chosen(workers: readonly Obedient[]): Obedient;
  /** Sends that one away: it answers what it has, and ends. */
  retire(worker: Obedient): void;
  /** Ends all; resolves when nothing is left. */
  close(): Promise<void>;
}

export async function underCluster(t: Test): Promise<World> {
  const control = await Control.open(t);
  const file = path.join(ROOT, 'dist', 'test', 'compat', 'primary.js');
  const args = [file, PROGRAM, '2', ...ARGS];
  const primary = new Running(t, process.execPath, args, { CONTROL: control.path });
  const [ends, ports] = [new Queue<End>(), new Queue<number>()];
  const output = primary.child.stdout as NodeJS.ReadableStream;
  readline.createInterface({ input: output }).on('line', (line) => {
    const { event, port, ...end } = JSON.parse(line) as { event: string; port: number } & End;
    if (event === 'exit') ends.push(end);
    else ports.push(port);
  });
  const order = (line: string) => primary.child.stdin?.write(`${line}\n`);
  return {
    ...{ kind: 'cluster', workers: control.workers, ends, ports },
    chosen: ([worker]) => worker as Obedient,
    retire: ({ id }) => void order(`retire ${id.split(':')[0]}`),
    async close() {
      order('close');
      await primary.ended();
    },
  };
}

export async function underGyre(t: Test): Promise<World> {
  const control = await Control.open(t);
  const [ends, ports] = [new Queue<End>(), new Queue<number>()];
  const env = { CONTROL: control.path };
  const runtime = await start(t, PROGRAM, { workers: 2, spares: 0, args: ARGS, env });
  for (const address of runtime.addresses) {
    if (address.family === 'unix') continue;
    for (const _ of runtime.workers) ports.push(address.port);
  }
  runtime.on('listening', (address) => {
    if (address.family !== 'unix') ports.push(address.port);
  });
  runtime.on('error', () => {}); // told by its end
  runtime.on('exit', ({ code, reason, error }) => {
    ends.push({ code, planned: reason !== 'died', ...(error !== null && { error: error.code }) });
  });
  return {
    ...{ kind: 'gyre', workers: control.workers, ends, ports },
    chosen(workers) {
      const threadId = runtime.workers[1]?.threadId;
      return workers.find(({ id }) => id.endsWith(`:${threadId}`)) as Obedient;
    },
    retire: () => void runtime.resize(1),
    close: () => runtime.close(),
  };
}
