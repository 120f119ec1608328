/**
 * Keep-alive connections to test/fixtures/apps/stalls.js, whose threads stand still when asked.
 */
import type { Test } from 'tap';
import { HOST, portOf } from '../support/app.js';
import type { Facts } from './host.js';
import { type KeptAlive, keepAlive } from './kept-alive.js';

/** What test/fixtures/apps/stalls.js answers. */
export interface Told {
  readonly threadId: number;
  readonly connections: number;
}

export async function told(connection: KeptAlive): Promise<Told> {
  const { status, body } = await connection.ask();
  if (status !== 200) throw new Error(`status ${status}`);
  return JSON.parse(String(body));
}

export function connect(t: Test, facts: Facts): KeptAlive {
  return keepAlive(t, { host: HOST, port: portOf(facts) });
}

/**
 * Connects until each thread serves `count` of the connections, and closes those too many.
 * The first `count` are served by one thread.
 */
export async function connectToEach(t: Test, facts: Facts, count: number): Promise<KeptAlive[]> {
  const served = new Map(facts.workers.map(({ threadId }) => [threadId, [] as KeptAlive[]]));
  for (let tries = 0; [...served.values()].some(({ length }) => length < count); tries++) {
    if (tries === 50 * count) throw new Error('the kernel gives one worker everything');
    const connection = connect(t, facts);
    // A server that has as many as it will take closes it.
    const answer = await told(connection).catch(() => null);
    const own = answer === null ? undefined : served.get(answer.threadId);
    if (own !== undefined && own.length < count) own.push(connection);
    else connection.close();
  }
  return [...served.values()].flat();
}

export interface Stalled {
  readonly threadId: number;
  /** Resolves with the thread when it has gone on; rejects if it never did. */
  readonly ended: Promise<number>;
  isOver(): Promise<boolean>;
}

/** Makes the thread that serves `connection` stand still; resolves when it does. */
export async function stall(connection: KeptAlive, kind: string, file: string): Promise<Stalled> {
  const response = await connection.begin(`/stall?${kind}=${encodeURIComponent(file)}`);
  const lines = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const threadId = Number(String((await lines.next()).value));
  const ended = lines.next().then(({ value }) => (JSON.parse(String(value)) as Told).threadId);
  const over = ended.then(
    () => true,
    () => true,
  );
  return { threadId, ended, isOver: () => Promise.race([over, Promise.resolve(false)]) };
}

/** Whether what each server counts is what the clients see, within a bounded time. */
export async function countsAgree(t: Test, connections: readonly KeptAlive[]): Promise<void> {
  let seen: Told[] = [];
  const count = (thread: number) => seen.filter(({ threadId }) => threadId === thread).length;
  const agrees = () => seen.every((each) => each.connections === count(each.threadId));
  for (let tries = 0; tries === 0 || (!agrees() && tries < 100); tries++) {
    seen = await Promise.all(connections.map(told));
  }
  t.ok(agrees(), 'a connection counts where it is, and not where it was');
}
