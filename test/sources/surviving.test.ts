/**
 * What becomes of sources when workers come and go: reloads, deaths, resizing, the end, programs
 * that handle nothing, and nothing to do at all.
 */
import { once } from 'node:events';
import { watch } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createRuntime, type SourceInfo } from '../../src/index.js';
import { app, ROOT } from '../support/app.js';
import { descriptors, threads } from '../support/proc.js';
import { gyre, Running } from '../support/running.js';
import { versioned } from '../support/versioned.js';
import { events, refusal } from './told.js';

const EVERY_MS = 10;
/** How long nothing but a timer shall happen, in ms. */
const IDLE_MS = 2_500;
/** How often that is looked at, at most, until the machine was not busy with something else. */
const WINDOWS = 5;

t.setTimeout(280_000); // of all tests in this file together

t.test('a reload: every firing is handled, by the old program or the new', async (t) => {
  const { write, env } = versioned(t);
  const { runtime, told } = await events(t, ['tick', 'job'], { env: { ...env, WAIT: '5' } });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: EVERY_MS });
  await told.count(5, 'begun');
  for (const version of ['2', '3']) {
    const { length } = told.all;
    const long = runtime.sources.emit('job', { wait: 300 });
    await told.until(() => told.all.length > length);
    write(version);
    await runtime.reload();
    t.match(await long, { tries: 1 }, 'a handler that was at work goes on');
    await told.until(() => told.all.at(-1)?.program === version);
  }
  await timer.close();
  t.match(timer.info(), { lost: 0, failed: 0, unhandled: 0, retried: 0, handlers: 2 });
  const { fired, handled, cancelled } = timer.info();
  t.equal(handled + cancelled, fired);
  t.same(told.failures, []);
  await told.count(handled + 2, 'settled');
  const ids = told.of('begun').map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length, 'none twice');
});

t.test('a program that no longer handles it: each firing is told of, and counted', async (t) => {
  const { write, env } = versioned(t);
  const { runtime, told } = await events(t, ['tick'], { env });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: EVERY_MS });
  await told.count(3, 'begun');
  write('deaf');
  await runtime.reload();
  await told.until(() => told.failures.length >= 3);
  write('1');
  await runtime.reload();
  const { length } = told.of('begun');
  await told.count(length + 3, 'begun');
  await timer.close();
  const { fired, handled, unhandled, cancelled, handlers } = timer.info();
  t.equal(fired, handled + unhandled + cancelled);
  t.equal(unhandled, told.failures.length);
  t.same(new Set(told.codes), new Set(['ERR_GYRE_EVENT_UNHANDLED']));
  t.equal(handlers, 2, 'and who comes later handles it');
});

t.test('a death of the only worker: what fires meanwhile waits for the next', async (t) => {
  const { runtime, told } = await events(t, ['tick', 'job'], { workers: 1, maxWorkers: 1 });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: EVERY_MS });
  await told.count(3, 'begun');
  for (let i = 0; i < 3; i++) {
    t.match(await refusal(runtime.sources.emit('job', { exit: 0 })), {
      code: 'ERR_GYRE_EVENT_LOST',
    });
    t.match(await runtime.sources.emit('job', {}), { tries: 1 }, 'nobody is missing');
  }
  const { length } = told.of('begun', 'tick');
  await told.count(length + 3, 'begun', 'tick');
  await timer.close();
  t.same(new Set(told.codes), new Set(['ERR_GYRE_EVENT_LOST']));
  t.equal(told.failures.length, 3);
  t.equal(timer.info().unhandled, 0);
});

t.test('when nobody starts any more, what waited is told to be unhandled', async (t) => {
  const { runtime, told } = await events(t, ['job'], { workers: 1, maxWorkers: 1, restarts: 0 });
  const dying = runtime.sources.emit('job', { block: 100, exit: 0 });
  await told.count(1, 'begun');
  const waiting = runtime.sources.emit('job', {});
  t.match(await refusal(dying), { code: 'ERR_GYRE_EVENT_LOST' });
  const { code } = await refusal(waiting);
  t.ok(['ERR_GYRE_EVENT_UNHANDLED', 'ERR_GYRE_CLOSED'].includes(code), code);
  if (runtime.state !== 'closed') await once(runtime, 'close');
});

t.test('resizing: those that are added take part, those that go finish theirs', async (t) => {
  const { runtime, told } = await events(t, ['tick', 'job'], { workers: 1, maxWorkers: 3 });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: EVERY_MS });
  await runtime.resize(3);
  const both = () => new Set(told.of('begun', 'tick').map(({ worker }) => worker)).size === 3;
  await told.until(both);
  const jobs = Array.from({ length: 6 }, () => runtime.sources.emit('job', { wait: 200 }));
  await told.count(6, 'begun', 'job');
  await runtime.resize(1);
  for (const job of await Promise.all(jobs)) t.match(job, { tries: 1 });
  const { length } = told.of('begun', 'tick');
  const later = (await told.count(length + 5, 'begun', 'tick')).slice(length + 1);
  t.ok(later.every(({ worker }) => worker === 0));
  await timer.close();
  t.same(told.failures, []);
});

t.test('the end: sources stop first, and handlers that are at work may finish', async (t) => {
  watch(os.tmpdir()).close(); // node keeps what it watches with, once it has watched something
  const before = descriptors().size;
  const { runtime, told } = await events(t, ['tick', 'job', 'udp']);
  const timer = runtime.sources.timer({ name: 'tick', everyMs: 1 });
  runtime.sources.signal('SIGUSR2');
  runtime.sources.path(os.tmpdir());
  runtime.sources.datagram({ name: 'udp', port: 0, host: '127.0.0.1' });
  const listeners = process.listenerCount('SIGUSR2');
  await told.count(3, 'begun', 'tick');
  const job = runtime.sources.emit('job', { wait: 300 });
  await told.count(1, 'begun', 'job');
  const closing = runtime.close({ drainMs: 20_000 });
  const { fired } = timer.info();
  t.ok(timer.closed);
  t.match(await job, { tries: 1 });
  await closing;
  t.equal(timer.info().fired, fired, 'nothing has fired since');
  t.equal(process.listenerCount('SIGUSR2'), listeners - 1);
  t.equal(descriptors().size, before);
  t.same(
    runtime.sources.list().filter(({ kind }) => kind !== 'emit'),
    [],
  );
});

t.test('what is to be tried again outlives its source, but not the runtime', async (t) => {
  for (const what of ['source', 'runtime'] as const) {
    const { runtime, told } = await events(t, ['tick'], {
      ...{ workers: 1, maxWorkers: 1, env: { EXITS: '1' } },
    });
    const timer = runtime.sources.timer({ name: 'tick', everyMs: 20, retry: true });
    await once(runtime, 'exit');
    t.match(timer.info(), { fired: 1, waiting: 1 });
    await (what === 'source' ? timer : runtime).close();
    const kept = what === 'source';
    t.match(timer.info(), { fired: 1, handled: kept ? 1 : 0, lost: kept ? 0 : 1, cancelled: 0 });
    t.same(told.codes, kept ? [] : ['ERR_GYRE_EVENT_LOST']);
  }
});

t.test('the end does not wait for longer than drainMs', async (t) => {
  for (const drainMs of [100, 0]) {
    const { runtime, told } = await events(t, ['job']);
    const job = runtime.sources.emit('job', { wait: Number.POSITIVE_INFINITY }, { retry: true });
    await told.count(1, 'begun');
    const waiting = runtime.close({ drainMs });
    t.match(await refusal(job), { code: 'ERR_GYRE_EVENT_LOST' }, 'not tried again either');
    await waiting;
    t.same(told.codes, ['ERR_GYRE_EVENT_LOST']);
  }
});

t.test('what waits for a worker when the end comes is told so', async (t) => {
  const { runtime, told } = await events(t, ['job'], { workers: 1, maxWorkers: 1 });
  const blocked = runtime.sources.emit('job', { block: 300 });
  await told.count(1, 'begun');
  const jobs = Array.from({ length: 400 }, () => runtime.sources.emit('job', {}));
  const closing = runtime.close();
  const all = await Promise.allSettled([blocked, ...jobs]);
  await closing;
  const codes = new Set(
    all.map((each) => (each.status === 'rejected' ? each.reason.code : 'handled')),
  );
  t.same(codes, new Set(['handled', 'ERR_GYRE_CLOSED']));
  const [{ fired = 0, handled = 0, cancelled = 0 } = {}] = runtime.sources.list();
  t.equal(fired, 401);
  t.equal(handled + cancelled, fired);
  await told.count(handled, 'settled', 'job');
  t.equal(told.of('begun', 'job').length, handled, 'what a worker has begun, and nothing else');
  t.ok(cancelled > 0);
});

t.test('events keep a worker alive that does nothing else, until there are no more', async (t) => {
  const run = gyre(t, ['run', app('events.js'), '--workers', '1']);
  await run.says(/gyre: 1 worker/);
  await sleep(300); // it would have ended by then
  t.equal(run.child.exitCode, null);
  run.child.kill('SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
});

t.test('a program that says nothing serves all the same, after a warning', async (t) => {
  const warned = once(process, 'warning');
  const { runtime } = await events(t, ['job'], { env: { SILENT: '1' }, startMs: 500 });
  t.match(await warned, [{ code: 'GYRE_NOT_LISTENING' }]);
  t.match(await runtime.sources.emit('job', {}), { tries: 1 });
});

t.test('without the native helper, and inline', async (t) => {
  for (const how of ['none', 'inline']) {
    const env = how === 'none' ? { GYRE_NATIVE: 'none' } : {};
    const host = path.join(ROOT, 'dist', 'test', 'sources', 'plain-host.js');
    const run = new Running(t, process.execPath, [host, how], env);
    t.same(await run.ended(), { code: 0, signal: null }, run.stderr);
    const said = JSON.parse(run.stdout);
    const missing = how === 'none' ? 'ERR_GYRE_CAPABILITY' : 'none';
    t.match(said, { tick: 3, job: { worker: 0, tries: 1 }, fd: missing, datagram: missing });
    t.equal(said.failed, 'ERR_GYRE_EVENT_FAILED');
    t.equal(said.uncloned, 'ERR_GYRE_EVENT_PAYLOAD');
  }
});

/** How often threads of process `pid` have been woken so far, by name. */
function woken(pid: number): Map<string, number> {
  const times = new Map<string, number>();
  for (const { name, wakeups } of threads(pid)) times.set(name, (times.get(name) ?? 0) + wakeups);
  return times;
}

t.test('an idle process with a timer wakes up for that and nothing else', async (t) => {
  const host = path.join(ROOT, 'dist', 'test', 'sources', 'idle-host.js');
  const run = new Running(t, process.execPath, ['--no-memory-reducer', host]);
  await run.says(/ready/);
  const pid = run.child.pid as number;
  await sleep(2_000); // what its start has left to do
  const ticks = IDLE_MS / 500 + 1; // at most
  // Main for the timer, and for what the handler says; a worker to handle it, and once more where it
  // wakes up before main has let go of the port's lock. Two more for what comes seldom, as a look at
  // whether somebody hangs.
  const most = 2 * ticks + 2;
  let more = new Map<string, number>();
  const sum = (pattern: RegExp) =>
    [...more].reduce((all, [name, times]) => all + (pattern.test(name) ? times : 0), 0);
  const main = () => sum(/^(node|MainThread|node-MainThread)$/);
  const workers = () => sum(/^gyre-w\d$/);
  // A worker that the system leaves without CPU stands still, of which main is told.
  for (
    let tries = 0;
    tries < WINDOWS && (tries === 0 || main() > most || workers() > most);
    tries++
  ) {
    const before = woken(pid);
    await sleep(IDLE_MS); // the measurement
    more = new Map(
      [...woken(pid)].map(([name, times]) => [name, times - (before.get(name) ?? 0)] as const),
    );
    t.comment([...more].map((each) => each.join(' ')).join(', '));
  }
  run.child.kill('SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
  const { fired, handled, cancelled } = JSON.parse(run.stdout) as SourceInfo;
  t.equal(handled + cancelled, fired);
  t.ok(fired > IDLE_MS / 500, `${fired} firings in all`);
  t.ok(main() <= most, 'main');
  t.ok(workers() <= most, 'workers');
});

t.test('a failed start has no sources that go on', async (t) => {
  const { write, env } = versioned(t);
  write('broken');
  await t.rejects(createRuntime({ entry: app('events.js'), workers: 1, env }), {
    message: /broken on purpose/,
  });
});
