/**
 * The governor dies, and another rescues in its place.
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import workerThreads, { type Worker } from 'node:worker_threads';
import t from 'tap';
import { keepAlive } from '../moving/kept-alive.js';
import { app, HOST, portOf, start } from '../support/app.js';
import { served } from './lanes.js';

/** Threads that this process has started, by name. */
const started: { name: string | undefined; thread: Worker }[] = [];
const NodeWorker = workerThreads.Worker;
workerThreads.Worker = class extends NodeWorker {
  constructor(file: string | URL, options: workerThreads.WorkerOptions) {
    super(file, options);
    started.push({ name: options.name, thread: this });
  }
};

function governors(): Worker[] {
  return started.filter(({ name }) => name === 'gyre governor').map(({ thread }) => thread);
}

t.test('another governor rescues after the death of the first', async (t) => {
  const warned: string[] = [];
  const collect = (warning: Error & { code?: string }) => warned.push(`${warning.code}`);
  process.on('warning', collect);
  t.teardown(() => process.off('warning', collect));
  const runtime = await start(t, app('survivor.js'), { workers: 2, spares: 0, hangMs: 0 });
  const to = { host: HOST, port: portOf(runtime) };
  const [first] = governors();
  await first?.terminate();
  while (governors().length < 2) await delay(5);
  await once(governors()[1] as Worker, 'online');
  t.same(warned, ['GYRE_GOVERNOR_DIED']);

  const connections = Array.from({ length: 16 }, () => keepAlive(t, to));
  for (const connection of connections) await served(connection);
  const stuck = keepAlive(t, to);
  stuck.ask('/loop').catch(() => {});
  while (!runtime.workers.some(({ stuckMs }) => stuckMs > 20)) await delay(5);
  // Half of them wait for the one that never returns.
  await Promise.all(connections.map(served));
  t.ok(runtime.snapshot().workers.some(({ rescued }) => rescued > 0));
  await runtime.close({ drainMs: 0 });
  t.equal(governors().length, 2, 'and no more are started');
});
