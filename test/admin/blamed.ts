/** Load for test/fixtures/apps/blamed.js, under which connections move and somebody is to blame. */
import type { Test } from 'tap';
import { keepAlive } from '../moving/kept-alive.js';
import { HOST } from '../support/app.js';

/** Until `done`, bounded: one of 16 connections keeps its worker busy, and those behind it move. */
export async function stallUntil(
  t: Test,
  port: number,
  done: () => boolean | Promise<boolean>,
): Promise<void> {
  const connections = Array.from({ length: 16 }, () => keepAlive(t, { host: HOST, port }));
  for (let round = 0; round < 200 && !(await done()); round++) {
    await Promise.all(connections.map((each, i) => each.ask(i === 0 ? '/slow' : '/')));
  }
  for (const connection of connections) connection.close();
}
