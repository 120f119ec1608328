/**
 * An example as its reader runs it: `gyre run` as a process, with two workers, which says each move.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { ListenAddress, Status } from '../../src/index.js';
import { get, HOST, portOf, ROOT } from '../support/app.js';
import { gyre, type Running } from '../support/running.js';

/** The path of an example. */
export function example(...names: string[]): string {
  return path.join(ROOT, 'examples', ...names);
}

/** The bounded wait for what has no event here. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries++) {
    if (tries === 3_000) throw new Error(`it never came to be: ${what}`);
    await sleep(10);
  }
}

export interface ServedOptions {
  /** More flags of `gyre run`. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

export class Served {
  readonly run: Running;
  readonly #facts: {
    readonly addresses: ListenAddress[];
    readonly admin: { readonly endpoint: ListenAddress | null };
  };
  #moved = 0;
  /** Of standard error, what is no lifecycle event. */
  #said = '';

  private constructor(run: Running, facts: string) {
    this.run = run;
    this.#facts = JSON.parse(facts);
    let rest = run.stderr;
    const take = (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
    };
    take('');
    run.child.stderr?.on('data', take);
  }

  /** Resolves when all its workers listen. */
  static async start(t: Test, file: string, options: ServedOptions = {}): Promise<Served> {
    const { args = [], env = {} } = options;
    const run = gyre(
      t,
      [
        ...['run', '--json', '--trace-moves', '--workers', '2', '--admin', `${HOST}:0`],
        ...[...args, file],
      ],
      { PORT: '0', ...env },
    );
    const [line] = await run.says(/^\{"event":"listening".*$/m);
    return new Served(run, line);
  }

  get port(): number {
    return portOf(this.#facts);
  }

  get adminPort(): number {
    const { endpoint } = this.#facts.admin;
    return portOf({ addresses: endpoint === null ? [] : [endpoint] });
  }

  /** Connections that went from one worker to another so far. */
  get moved(): number {
    return this.#moved;
  }

  async snapshot(): Promise<Status> {
    return JSON.parse((await get({ port: this.adminPort, path: '/snapshot' })).body);
  }

  /** Calls `connect`, a bounded number of times, until each worker has `count` open connections. */
  async untilEachHas(count: number, connect: () => Promise<unknown>): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { workers } = await this.snapshot();
      const own = workers.filter(({ spare }) => !spare);
      if (own.every(({ connections }) => connections >= count)) return;
      if (tries === 100) throw new Error('the kernel gives one worker everything');
      await connect();
    }
  }

  /** SIGTERM, after which it ends well, and has said nothing but what it did. */
  async drain(t: Test): Promise<void> {
    this.run.child.kill('SIGTERM');
    t.same(await this.run.ended(), { code: 0, signal: null }, 'it drained');
    t.equal(this.#said, '', 'and complained of nothing');
  }

  #take(line: string): void {
    if (!line.startsWith('{"event":')) {
      this.#said += `${line}\n`;
      return;
    }
    const told = JSON.parse(line) as { event: string; moved?: number };
    if (told.event === 'move') this.#moved += told.moved ?? 0;
    if (told.event === 'error') this.#said += `${line}\n`;
  }
}
