/**
 * `onShutdown()`: what a program does when its worker has served its last connection.
 */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { GyreError, Runtime, RuntimeOptions, WorkerEnd } from '../../src/index.js';
import { onShutdown } from '../../src/worker.js';
import { app, get, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';

t.setTimeout(60_000); // of all tests in this file together

/** A runtime of two workers that do as `what` says at their end, and what they have said so far. */
async function farewells(t: Test, what: string, options: Partial<RuntimeOptions> = {}) {
  const file = path.join(folder(t), 'farewells');
  const runtime = await start(t, app('farewell.js'), {
    ...{ workers: 2, spares: 0, env: { FAREWELLS: file, FAREWELL: what }, ...options },
  });
  const said = () =>
    existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').sort() : [];
  return { runtime, said };
}

/** A connection that is kept alive, and was answered once. */
async function keepAlive(t: Test, runtime: Runtime): Promise<http.Agent> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  await get({ port: portOf(runtime), agent });
  return agent;
}

function endsOf(runtime: Runtime) {
  const ends: WorkerEnd[] = [];
  const errors: GyreError[] = [];
  runtime.on('exit', (end) => ends.push(end));
  runtime.on('error', (error) => errors.push(error));
  return { ends, errors };
}

const BOTH = ['worker 0 with 0 connections', 'worker 1 with 0 connections'];

t.test('close() waits for it, when the last connection has gone', async (t) => {
  const { runtime, said } = await farewells(t, '');
  await keepAlive(t, runtime);
  await runtime.close();
  t.same(said(), BOTH);
});

t.test('reload() and resize() do, too, once for each worker', async (t) => {
  const { runtime, said } = await farewells(t, '');
  const agent = await keepAlive(t, runtime);
  await runtime.reload();
  t.same(said(), BOTH);
  await runtime.resize(1);
  t.same(said(), [...BOTH, 'worker 1 with 0 connections']);
  t.equal((await get({ port: portOf(runtime), agent })).body, 'hello\n');
});

t.test('what it throws is an uncaught error, and the worker ends all the same', async (t) => {
  const { runtime } = await farewells(t, 'throws', { workers: 1 });
  const { ends, errors } = endsOf(runtime);
  await runtime.reload();
  t.match(ends, [{ code: 1, error: { code: 'ERR_GYRE_WORKER_FAILED' }, restartInMs: null }]);
  t.match(String(errors[0]?.cause), /no farewell/);
  t.equal((await get(portOf(runtime))).body, 'hello\n');
});

t.test('it has until drainMs is over', async (t) => {
  const { runtime, said } = await farewells(t, 'never');
  const begun = performance.now();
  await runtime.close({ drainMs: 400 });
  t.ok(performance.now() - begun >= 400);
  t.same(said(), BOTH, 'what was sooner is done');
});

t.test('not in a death, and not without time', async (t) => {
  const { runtime, said } = await farewells(t, '');
  const ended = once(runtime, 'exit');
  await t.rejects(get({ port: portOf(runtime), path: '/dies' }));
  await ended;
  await runtime.close({ drainMs: 0 });
  t.same(said(), []);
});

t.test('inline, too', async (t) => {
  const file = path.join(folder(t), 'farewells');
  Object.assign(process.env, { FAREWELLS: file, FAREWELL: '' });
  const runtime = await start(t, app('farewell.js'), { workers: 'inline' });
  await runtime.close();
  // `worker` was looked up when this file was loaded.
  t.match(readFileSync(file, 'utf8'), /^worker \S+ with 0 connections\n$/);
});

t.test('elsewhere it is without effect', (t) => {
  t.doesNotThrow(() => onShutdown(() => {})());
  t.end();
});
