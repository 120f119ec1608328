/**
 * Many clients of test/fixtures/apps/loaded.js, each with one connection that it keeps.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { RuntimeOptions } from '../../src/index.js';
import { type Facts, Host, type HostOptions } from '../moving/host.js';
import { type Answer, KeptAlive } from '../moving/kept-alive.js';
import { app, HOST, portOf } from '../support/app.js';

export const LOADED = app('loaded.js');

export function startLoaded(
  t: Test,
  options: Partial<RuntimeOptions> = {},
  how: HostOptions = {},
): Promise<Host> {
  return Host.start(t, { entry: LOADED, workers: 2, spares: 0, ...options }, how);
}

export interface Client {
  readonly connection: KeptAlive;
  /** What became of its first request: null while it waits. */
  answer: Answer | Error | null;
  /** `performance.now()` at that. */
  at: number;
}

/** So many clients that have connected and asked. */
export class Crowd {
  readonly clients: Client[] = [];
  readonly #to: { host: string; port: number };

  constructor(t: Test, facts: Facts) {
    this.#to = { host: HOST, port: portOf(facts) };
    t.teardown(() => this.close());
  }

  /** More clients, which ask at once. */
  join(count: number, path = '/'): Client[] {
    const joined = Array.from({ length: count }, () => {
      const client: Client = { connection: new KeptAlive(this.#to), answer: null, at: 0 };
      const settle = (answer: Answer | Error) => {
        client.answer = answer;
        client.at = performance.now();
      };
      client.connection.ask(path).then(settle, settle);
      return client;
    });
    this.clients.push(...joined);
    return joined;
  }

  /** Those that were answered 200 and have not left. */
  get served(): Client[] {
    return this.#with((answer) => !(answer instanceof Error) && answer?.status === 200);
  }

  get refused(): Client[] {
    return this.#with((answer) => !(answer instanceof Error) && answer?.status === 503);
  }

  /** Those that lost their connection instead. */
  get failed(): Client[] {
    return this.#with((answer) => answer instanceof Error);
  }

  get waiting(): Client[] {
    return this.#with((answer) => answer === null);
  }

  leave(clients: readonly Client[]): void {
    for (const client of clients) {
      client.connection.close();
      this.clients.splice(this.clients.indexOf(client), 1);
    }
  }

  close(): void {
    this.leave([...this.clients]);
  }

  /** Resolves once `holds`; after `tries` times 10 ms in any case. */
  async when(holds: () => boolean, tries = 2_000): Promise<boolean> {
    for (let i = 0; !holds(); i++) {
      if (i === tries) return false;
      await sleep(10);
    }
    return true;
  }

  #with(is: (answer: Client['answer']) => boolean): Client[] {
    return this.clients.filter(({ answer }) => is(answer));
  }
}
