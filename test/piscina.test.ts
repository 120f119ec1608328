/**
 * `gyre/piscina` in a Piscina pool that gyre did not make: real pools, real threads.
 */
import path from 'node:path';
import { Piscina } from 'piscina';
import t, { type Test } from 'tap';
import { affinity, hasLinuxParts } from '../src/native.js';
import { paretoBalancer, pinnedWorker } from '../src/piscina.js';
import { app, ROOT, start } from './support/app.js';
import { Gate } from './support/gate.js';
import { threads } from './support/proc.js';
import { Running } from './support/running.js';

const FUNCTIONS = path.join(ROOT, 'test', 'fixtures', 'jobs', 'functions.js');
const PINNED = path.join(ROOT, 'test', 'fixtures', 'pools', 'pinned.js');
const CPUS = affinity();
const skip = hasLinuxParts && CPUS.length > 1 ? false : 'it needs Linux and two CPUs';

t.setTimeout(60_000); // of all tests in this file together

type PoolOptions = NonNullable<ConstructorParameters<typeof Piscina>[0]>;

function pool(t: Test, options: PoolOptions): Piscina {
  const made = new Piscina({ filename: FUNCTIONS, minThreads: 2, maxThreads: 2, ...options });
  t.teardown(() => made.destroy());
  return made;
}

t.test('the balancer hands out tasks to threads in turn, and none is lost', async (t) => {
  const threads = pool(t, { loadBalancer: paretoBalancer({ maxThreads: 2 }), stricterFIFO: true });
  await Promise.all([1, 2].map(() => threads.run(20, { name: 'burn' }))); // both run
  const one = await threads.run(null, { name: 'thread' });
  const other = await threads.run(null, { name: 'thread' });
  t.not(one, other, 'one after the other, though the first one was free again');
  const results = await Promise.all(Array.from({ length: 500 }, (_, i) => threads.run(i)));
  t.same(results, [...results.keys()]);
});

t.test('with stricterFIFO, in the order in which they came', async (t) => {
  const one = { minThreads: 1, maxThreads: 1 };
  const threads = pool(t, { ...one, loadBalancer: paretoBalancer(), stricterFIFO: true });
  const order: number[] = [];
  const run = async (i: number) => order.push(await threads.run(i));
  await Promise.all(Array.from({ length: 100 }, (_, i) => run(i)));
  t.same(order, [...order.keys()]);
});

t.test('tasks that may be aborted are alone in their threads', async (t) => {
  const loadBalancer = paretoBalancer({ concurrentTasksPerWorker: 4 });
  const threads = pool(t, { loadBalancer, concurrentTasksPerWorker: 4, stricterFIFO: true });
  const gate = new Gate();
  const abort = new AbortController();
  const value = { gate: gate.words };
  const held = [1, 2].map(() => threads.run(value, { name: 'wait', signal: abort.signal }));
  await gate.whenBegun(2);
  const next = threads.run(7);
  abort.abort();
  const ended = await Promise.allSettled(held);
  t.match(ended, [{ reason: { name: 'AbortError' } }, { reason: { name: 'AbortError' } }]);
  t.equal(await next, 7, 'in a new thread');
});

t.test('a thread that dies is forgotten', async (t) => {
  const threads = pool(t, { loadBalancer: paretoBalancer({ maxThreads: 2 }) });
  for (let i = 0; i < 6; i++) {
    await t.rejects(threads.run(1, { name: 'exit' }), { message: /exited with code: 1/ });
  }
  t.equal(await threads.run(1), 1, 'with two rows for eight threads');
});

t.test('options are checked', async (t) => {
  const invalid = { code: 'ERR_GYRE_OPTION_INVALID' };
  t.throws(() => paretoBalancer({ maxThread: 1 } as object), { code: 'ERR_GYRE_OPTION_UNKNOWN' });
  t.throws(() => paretoBalancer({ maxThreads: 1_024 }), invalid);
  t.throws(() => paretoBalancer({ concurrentTasksPerWorker: 0 }), invalid);
  t.throws(() => paretoBalancer({ seed: -1 }), invalid);
  const job = () => 1;
  t.equal(pinnedWorker(job), job);
  t.same(affinity(), CPUS, 'the main thread is not bound');
  t.throws(() => pinnedWorker(1 as never), invalid);
  t.throws(() => pinnedWorker(job, { cpus: [] }), invalid);
  t.throws(() => pinnedWorker(job, { cpus: [-1] }), invalid);
  t.throws(() => pinnedWorker(job, { cpu: 1 } as object), { code: 'ERR_GYRE_OPTION_UNKNOWN' });
});

/** Where two tasks at a time ran. */
async function places(
  threads: Piscina,
): Promise<{ thread: number; mine: string; child: string }[]> {
  const gate = new Gate();
  const tasks = [1, 2].map(() => threads.run({ gate: gate.words }));
  await gate.whenBegun(2);
  gate.open();
  return Promise.all(tasks);
}

t.test('threads are bound to different CPUs, and their children are not', { skip }, async (t) => {
  const mask = threads().find(({ tid }) => tid === process.pid)?.cpus;
  const two = await places(pool(t, { filename: PINNED }));
  t.same(new Set(two.map(({ mine }) => mine)).size, 2);
  for (const { mine, child } of two) {
    t.ok(CPUS.map(String).includes(mine), mine);
    t.equal(child, mask);
  }
});

t.test('what a thread had is free when it has ended', { skip }, async (t) => {
  const cpus = CPUS.slice(0, 2);
  for (let i = 0; i < 3; i++) {
    const threads = new Piscina({
      ...{ filename: PINNED, minThreads: 2, maxThreads: 2, workerData: { pin: { cpus } } },
    });
    const two = await places(threads);
    t.same(two.map(({ mine }) => Number(mine)).sort(), cpus, `pool ${i}`);
    await threads.destroy();
  }
});

t.test('CPUs on which a worker of a runtime is come last', { skip }, async (t) => {
  const runtime = await start(t, app('idle.js'), { workers: 1, spares: 0, startMs: 1 });
  while (runtime.workers[0]?.tid === null) await new Promise(setImmediate);
  const one = { minThreads: 1, maxThreads: 1 };
  const [cpu] = await Promise.all([pool(t, { ...one, filename: PINNED }).run({})]);
  t.not(Number(cpu.mine), runtime.workers[0]?.cpu);
});

t.test('a CPU that the thread may not use is an error in that thread', async (t) => {
  const one = { minThreads: 1, maxThreads: 1, workerData: { pin: { cpus: [8_000] } } };
  const threads = pool(t, { ...one, filename: FUNCTIONS });
  await t.rejects(threads.run({}, { filename: PINNED }), /CPU 8000|none of 8000/);
});

t.test('without the helper it warns and goes on', async (t) => {
  const script = `
    const { Piscina } = require('piscina');
    const pool = new Piscina({ filename: ${JSON.stringify(FUNCTIONS)}, maxThreads: 1,
      loadBalancer: require('gyre/piscina').paretoBalancer() });
    pool.run({}, { filename: ${JSON.stringify(PINNED)} }).then(() => pool.close()).then(() => { process.exitCode = 7; });`;
  const running = new Running(t, process.execPath, ['-e', script], { GYRE_NATIVE: 'none' });
  t.equal((await running.ended()).code, 7);
  t.match(running.stderr, /GYRE_NOT_PINNED/);
});
