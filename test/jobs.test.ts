/**
 * Jobs end to end: asked for by main and by workers, in real threads; what goes wrong with them, and
 * what is left of them.
 */
import { once } from 'node:events';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import type { Runtime, RuntimeOptions } from '../src/index.js';
import { affinity, hasLinuxParts } from '../src/native.js';
import { app, get, portOf, ROOT, start } from './support/app.js';
import { Gate } from './support/gate.js';
import { threads } from './support/proc.js';

/** No thread has its main module by then, so what is loaded is by what is under test. */
const loadsPiscina = () =>
  Object.keys(require.cache).some((file) => file.includes(path.join('piscina', 'dist')));

const FILE = path.join(ROOT, 'test', 'fixtures', 'jobs', 'functions.js');
const MODULE = path.join(ROOT, 'test', 'fixtures', 'jobs', 'module.mjs');
const fn = (name: string) => new URL(`#${name}`, pathToFileURL(FILE));
const NAMES = { echo: FILE, sum: new URL('#sum', pathToFileURL(MODULE)), module: MODULE };

t.setTimeout(120_000); // of all tests in this file together

const begin = (t: Test, options: Partial<RuntimeOptions> = {}): Promise<Runtime> =>
  start(t, app('asks.js'), { workers: 1, spares: 0, jobs: NAMES, ...options });

/** What a worker answers: the value of a job, or its error. */
async function ask(
  runtime: Runtime,
  job: string,
  value: unknown = null,
): Promise<{ value?: unknown; error?: { [key: string]: unknown } }> {
  const route = job.startsWith('/') ? job : `/${encodeURIComponent(job)}`;
  const query = encodeURIComponent(JSON.stringify(value));
  const { body } = await get({ port: portOf(runtime), path: `${route}?value=${query}` });
  return JSON.parse(body);
}

const jobThreads = () => threads().filter(({ name }) => /^gyre-j/.test(name));

/** Resolves when no thread of a pool is left. */
async function noThreads(t: Test): Promise<void> {
  for (const until = performance.now() + 5_000; performance.now() < until; ) {
    if (jobThreads().length === 0) break;
    await new Promise(setImmediate);
  }
  t.same(jobThreads(), []);
}

t.test('Piscina is loaded with the first job', async (t) => {
  const runtime = await begin(t);
  t.notOk(loadsPiscina());
  t.same(runtime.snapshot().jobs.threads, []);
  t.equal(await runtime.run('echo', 1), 1);
  t.ok(loadsPiscina());
  t.equal(runtime.snapshot().jobs.threads.length, 1);
});

t.test('functions of CommonJS and of modules, by name and by URL, from both sides', async (t) => {
  const runtime = await begin(t);
  const value = { a: [1, 'two', null] };
  t.same(await runtime.run('echo', value), value);
  t.same(await ask(runtime, 'echo', value), { value });
  t.equal(await runtime.run('sum', [1, 2, 3]), 6);
  t.same(await ask(runtime, 'sum', [1, 2, 3]), { value: 6 });
  t.same(await runtime.run('module', 5), { from: 'a module', value: 5 });
  t.same(await ask(runtime, 'module', 5), { value: { from: 'a module', value: 5 } });
  t.not(await runtime.run(fn('thread')), 0, 'in a thread of its own');
  t.equal(await runtime.run(String(fn('burn')), 0), await runtime.run(fn('thread')));
  t.same(await ask(runtime, '/copied'), { value: { text: 'before' } }, 'copied at the call');
  t.match(await ask(runtime, '/transfer'), { value: { bytes: 64, left: 0 } });
  t.match(await ask(runtime, '/moved'), { value: { bytes: 1_024 } });
  const buffer = new ArrayBuffer(32);
  t.equal(await runtime.run(fn('bytes'), buffer, { transfer: [buffer] }), 32);
  t.equal(buffer.byteLength, 0);
  const moved = await runtime.run<ArrayBuffer>(new URL('#moved', pathToFileURL(MODULE)), 16);
  t.equal(moved.byteLength, 16);
});

t.test('errors of functions are as Piscina has them', async (t) => {
  const runtime = await begin(t);
  const below = { name: 'RangeError', message: 'too far', cause: { message: 'below' } };
  await t.rejects(runtime.run(fn('fail'), 'too far'), below);
  t.match(await ask(runtime, '#fail', 'too far'), { error: { ...below, cause: 'below' } });
  await t.rejects(runtime.run(fn('failWith'), null), { message: 'null was thrown' });
  t.match(await ask(runtime, '#failWith', null), { error: { message: 'null was thrown' } });
  await t.rejects(runtime.run(fn('nothing')), { message: /exports no function nothing/ });
  t.match(await ask(runtime, '#nothing'), { error: { message: /exports no function nothing/ } });
  t.match(await ask(runtime, '#unsendable'), { error: { message: /could not be cloned/ } });
  const { failed, crashed, finished } = runtime.snapshot().jobs;
  t.same({ failed, crashed, finished }, { failed: 7, crashed: 0, finished: 0 });
  t.equal(runtime.snapshot().jobs.threads.length, 1, 'and the thread lives on');
});

t.test('a mistake is a coded error at the call, and nothing is done', async (t) => {
  const runtime = await begin(t);
  const unknown = { name: 'GyreError', code: 'ERR_GYRE_JOB_UNKNOWN' };
  const wrong: unknown[] = ['other', '', 'toString', '__proto__', 5, null, {}];
  for (const job of [...wrong, new URL('http://localhost/a.js'), new URL('file:///none.js')]) {
    await t.rejects(runtime.run(job as string), unknown, String(job));
  }
  t.match(await ask(runtime, 'other'), { error: unknown });
  t.match(await ask(runtime, 'file:///none.js'), { error: unknown });
  const unsendable = { name: 'GyreError', code: 'ERR_GYRE_JOB_VALUE' };
  await t.rejects(
    runtime.run('echo', () => 1),
    unsendable,
  );
  await t.rejects(runtime.run('echo', 1, { transfer: [1 as never] }), unsendable);
  t.match(await ask(runtime, '/unsendable'), { error: unsendable });
  const options: [unknown, string][] = [
    [{ sginal: 1 }, 'ERR_GYRE_OPTION_UNKNOWN'],
    [{ signal: 1 }, 'ERR_GYRE_OPTION_INVALID'],
    [{ transfer: {} }, 'ERR_GYRE_OPTION_INVALID'],
    [null, 'ERR_GYRE_OPTION_INVALID'],
  ];
  for (const [given, code] of options) {
    await t.rejects(runtime.run('echo', 1, given as object), { code });
  }
  t.match(await ask(runtime, '/option'), { error: { code: 'ERR_GYRE_OPTION_UNKNOWN' } });
  t.equal(runtime.snapshot().jobs.asked, 0);
  await t.rejects(begin(t, { jobs: { none: '/none.js' } }), { code: 'ERR_GYRE_JOB_UNKNOWN' });
});

t.test('the queue is first in, first out, and bounded', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 1, queueMax: 3 } });
  const gate = new Gate();
  const order: unknown[] = [];
  const jobs = [0, 1, 2, 3].map(async (name) => {
    order.push(await runtime.run(fn('wait'), { gate: gate.words, name }));
  });
  await gate.whenBegun(1);
  t.match(runtime.snapshot().jobs, { running: 1, waiting: 3 });
  await t.rejects(runtime.run('echo'), { code: 'ERR_GYRE_JOB_QUEUE_FULL' });
  t.match(await ask(runtime, 'echo'), { error: { code: 'ERR_GYRE_JOB_QUEUE_FULL' } });
  t.equal(gate.begun, 1);
  gate.open();
  await Promise.all(jobs);
  t.same(order, [0, 1, 2, 3]);
  t.match(runtime.snapshot().jobs, { running: 0, waiting: 0, refused: 2, finished: 4 });
});

t.test('what waits was copied when it was asked for', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 1 } });
  const gate = new Gate();
  const first = runtime.run(fn('wait'), { gate: gate.words });
  const value = { text: 'before' };
  const second = runtime.run('echo', value);
  value.text = 'after';
  gate.open();
  await first;
  t.same(await second, { text: 'before' });
});

t.test('a cancelled job settles at once, running or not', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 1 } });
  const gate = new Gate();
  const [running, waiting] = [new AbortController(), new AbortController()];
  const first = runtime.run(fn('wait'), { gate: gate.words }, { signal: running.signal });
  await gate.whenBegun(1);
  const second = runtime.run(fn('wait'), { gate: gate.words }, { signal: waiting.signal });
  const last = runtime.run('echo', 'last');
  waiting.abort('not now');
  await t.rejects(second, { name: 'AbortError', code: 'ABORT_ERR', cause: 'not now' });
  running.abort('enough');
  await t.rejects(first, { name: 'AbortError', code: 'ABORT_ERR', cause: 'enough' });
  t.equal(await last, 'last', 'the next one has a thread');
  t.equal(gate.begun, 1, 'what waited was never run');
  const late = AbortSignal.abort('before');
  await t.rejects(runtime.run('echo', 1, { signal: late }), {
    name: 'AbortError',
    cause: 'before',
  });
  const aborted = { name: 'AbortError', code: 'ABORT_ERR' };
  t.match(await ask(runtime, '/abort'), { error: { ...aborted, cause: 'enough' } });
  t.match(await ask(runtime, '/aborted'), { error: { ...aborted, cause: 'before' } });
  t.same(await ask(runtime, 'echo', 2), { value: 2 });
  // Main hears of the end of a job after the worker that asked for it.
  while (runtime.snapshot().jobs.running > 0) await turn();
  t.match(runtime.snapshot().jobs, { cancelled: 3, running: 0, waiting: 0 });
  t.equal(running.signal.aborted, true);
});

t.test('a job whose thread ends settles, and the next one has another', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 1 } });
  const crashed = { name: 'GyreError', code: 'ERR_GYRE_JOB_CRASHED' };
  const left = { ...crashed, cause: { message: 'worker exited with code: 3' } };
  const threw = { ...crashed, cause: { message: 'nobody caught this' } };
  const results = await Promise.allSettled([
    runtime.run(fn('exit'), 3),
    runtime.run(fn('crash')),
    runtime.run(fn('unsendable')),
    runtime.run('echo', 4),
  ]);
  t.match(results, [{ reason: left }, { reason: threw }, { reason: crashed }, { value: 4 }]);
  t.match(await ask(runtime, '#exit', 3), { error: { ...left, cause: left.cause.message } });
  t.match(await ask(runtime, '#crash'), { error: { ...threw, cause: threw.cause.message } });
  t.same(await ask(runtime, 'echo', 5), { value: 5 });
  t.match(runtime.snapshot().jobs, { crashed: 5, finished: 2, running: 0 });
});

t.test('a thread that dies after its job is reported', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 1 } });
  const reported = once(runtime, 'error');
  await runtime.run(fn('crashLater'));
  const [error] = await reported;
  t.match(error, { code: 'ERR_GYRE_JOB_CRASHED', cause: { message: 'after the job' } });
  t.equal(await runtime.run('echo', 1), 1);
});

t.test('a worker that dies leaves none of its jobs behind', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 2 } });
  runtime.on('error', () => {});
  void get({ port: portOf(runtime), path: '/die' }).catch(() => {});
  while (runtime.snapshot().jobs.waiting < 4) await new Promise(setImmediate);
  const own = runtime.run('echo', 'mine');
  const ended = once(runtime, 'exit');
  void get({ port: portOf(runtime), path: '/leave' }).catch(() => {});
  await ended;
  t.match(runtime.snapshot().jobs, { cancelled: 6, waiting: 0 });
  t.equal(await own, 'mine');
  t.equal(runtime.snapshot().jobs.running, 0);
});

t.test('a reload waits for the jobs of requests', async (t) => {
  const runtime = await begin(t);
  const answer = ask(runtime, '#burn', 300);
  while (runtime.snapshot().jobs.running < 1) await new Promise(setImmediate);
  await runtime.reload();
  t.type((await answer).value, 'number');
});

t.test('close: what is left gets drainMs', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 2 } });
  const gate = new Gate();
  const jobs = [0, 1, 2].map((name) => runtime.run(fn('wait'), { gate: gate.words, name }));
  const answer = ask(runtime, '#burn', 200);
  await gate.whenBegun(2);
  const closed = runtime.close({ drainMs: 30_000 });
  await t.rejects(runtime.run('echo'), { code: 'ERR_GYRE_CLOSED' });
  gate.open();
  t.same(await Promise.all(jobs), [0, 1, 2]);
  t.type((await answer).value, 'number');
  await closed;
  await noThreads(t);
});

t.test('close at once, under load: every promise settles and no thread is left', async (t) => {
  const runtime = await begin(t, { workers: 2, jobPool: { threads: 2 } });
  const jobs = Array.from({ length: 200 }, (_, i) => runtime.run(fn('burn'), i % 20));
  const endless = runtime.run(fn('burn'), 600_000);
  const settled = Promise.allSettled([...jobs, endless]);
  const asked = Array.from({ length: 20 }, () => ask(runtime, '#burn', 50).catch(() => {}));
  await Promise.race(jobs);
  await runtime.close({ drainMs: 0 });
  const results = await settled;
  const codes = new Set(
    results.map((each) => (each.status === 'fulfilled' ? 'done' : each.reason.code)),
  );
  t.same([...codes].sort(), ['ERR_GYRE_CLOSED', 'done']);
  t.match(results.at(-1), { reason: { code: 'ERR_GYRE_CLOSED' } });
  await Promise.all(asked);
  await noThreads(t);
});

t.test('threads that have no job end', async (t) => {
  const runtime = await begin(t, { jobPool: { threads: 2, idleMs: 0 } });
  await Promise.all([runtime.run(fn('burn'), 5), runtime.run(fn('burn'), 5)]);
  await noThreads(t);
  t.equal(await runtime.run('echo', 1), 1);
});

t.test('inline workers ask as others do', async (t) => {
  const runtime = await begin(t, { workers: 'inline' });
  t.same(await ask(runtime, 'echo', 1), { value: 1 });
  t.match(await ask(runtime, '#exit', 2), { error: { code: 'ERR_GYRE_JOB_CRASHED' } });
  t.match(await ask(runtime, '/abort'), { error: { name: 'AbortError' } });
});

const skip = hasLinuxParts && affinity().length > 1 ? false : 'it needs Linux and two CPUs';

t.test('threads are bound to the CPUs that workers leave', { skip }, async (t) => {
  const runtime = await begin(t, { workers: 1 });
  const left = affinity().filter((cpu) => cpu !== runtime.workers[0]?.cpu);
  const { cpus, nice, name } = await runtime.run<{ cpus: string; nice: number; name: string }>(
    fn('where'),
  );
  t.ok(left.map(String).includes(cpus), cpus);
  t.equal(nice, 0);
  t.equal(name, 'gyre-j');
  t.match(runtime.snapshot().jobs.threads, [{ cpu: Number(cpus), busy: false, tid: Number }]);
});

t.test('where none is left they share all, and are nicer', { skip }, async (t) => {
  const runtime = await begin(t, { workers: affinity().length, jobPool: { niceIncrement: 7 } });
  const mine = threads().find(({ tid }) => tid === process.pid)?.cpus;
  t.match(await runtime.run(fn('where')), { cpus: mine, nice: 7 });
  t.match(runtime.snapshot().jobs.threads, [{ cpu: null }]);
});
