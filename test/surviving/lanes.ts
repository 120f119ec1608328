/**
 * Keep-alive connections to test/fixtures/apps/survivor.js, each of which asks, waits for the
 * answer, and asks again: whether anybody notices what happens to the workers meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Facts } from '../moving/host.js';
import { KeptAlive, keepAlive } from '../moving/kept-alive.js';
import { HOST, portOf } from '../support/app.js';

export interface Served {
  readonly threadId: number;
  readonly program: string;
}

/** Resolves with what `connection` is told; rejects if it is not told anything. */
export async function served(connection: KeptAlive): Promise<Served> {
  const { status, body } = await connection.ask();
  if (status !== 200) throw new Error(`status ${status}`);
  return JSON.parse(String(body));
}

/** `count` connections that have been served once, and then ask nothing. */
export async function idleConnections(t: Test, facts: Facts, count: number): Promise<KeptAlive[]> {
  const to = { host: HOST, port: portOf(facts) };
  const idle = Array.from({ length: count }, () => keepAlive(t, to));
  for (const connection of idle) await served(connection);
  return idle;
}

export class Lanes {
  readonly #connections: readonly KeptAlive[];
  readonly #all: Promise<void>;
  readonly #last: Served[] = [];
  readonly lost: string[] = [];
  answers = 0;
  #over = false;

  /** @param restMs what each waits between an answer and its next question */
  constructor(t: Test, facts: Facts, count: number, restMs: number) {
    const to = { host: HOST, port: portOf(facts) };
    this.#connections = Array.from({ length: count }, () => new KeptAlive(to));
    t.teardown(() => this.#close());
    this.#all = Promise.all(
      this.#connections.map(async (connection, lane) => {
        // Once more when it is over: whoever has not been seen to fail yet does so now.
        for (let last = false; !last; ) {
          last = this.#over;
          try {
            this.#last[lane] = await served(connection);
          } catch (error) {
            this.lost.push(`lane ${lane}: ${(error as Error).message}`);
            return;
          }
          this.answers++;
          if (!last) await sleep(restMs);
        }
      }),
    ).then(() => {});
  }

  /** Ends, and resolves with who answered last on each connection. */
  async stop(): Promise<readonly Served[]> {
    this.#over = true;
    await this.#all;
    this.#close();
    return this.#last;
  }

  #close(): void {
    this.#over = true;
    for (const connection of this.#connections) connection.close();
  }
}
