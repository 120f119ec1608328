/**
 * A worker that does not return to its event loop is replaced, and what could move has moved.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { type Facts, Host } from '../moving/host.js';
import { KeptAlive, keepAlive } from '../moving/kept-alive.js';
import { app, HOST, portOf } from '../support/app.js';
import { folder } from '../support/folder.js';
import { versioned } from '../support/versioned.js';
import { idleConnections, Lanes, served } from './lanes.js';

const LANES = 32;
const HANG_MS = 500;

t.setTimeout(280_000); // of all tests in this file together

function hangs({ events }: Facts) {
  return events.filter(({ name }) => name === 'hang');
}

for (const [workers, move] of [
  [2, true],
  [1, true],
  [2, false],
] as const) {
  t.test(`an endless loop in one of ${workers}, ${move ? 'moving' : 'not moving'}`, async (t) => {
    const host = await Host.start(t, {
      ...{ entry: app('survivor.js'), workers, spares: 0, hangMs: HANG_MS, scheduler: { move } },
    });
    const first = await host.facts();
    const to = { host: HOST, port: portOf(first) };
    const idle = await idleConnections(t, first, LANES);
    const killer = new KeptAlive(to);
    const looping = killer.ask('/loop');
    looping.catch(() => {}); // seen below
    const lanes = move ? new Lanes(t, first, LANES, 1) : null;
    const seen = await host.factsWhen((facts) => hangs(facts).length > 0);
    const [hang] = hangs(seen);
    t.match(hang?.stack?.[0], /^neverReturn \(.*survivor\.js:\d+\)$/, 'it is named');
    await t.rejects(looping, 'the request is lost');
    killer.close();
    const mended = await host.factsWhen(
      (facts) =>
        facts.workers.every(({ state }) => state === 'serving') &&
        facts.workers.some(({ threadId }, i) => threadId !== first.workers[i]?.threadId),
    );
    t.ok(mended.workers.every(({ state }) => state === 'serving'));
    if (lanes !== null) {
      await lanes.stop();
      t.same(lanes.lost, [], 'no other request was lost');
      await t.resolves(Promise.all(idle.map(served)), 'and no idle connection');
    }
    for (const connection of idle) connection.close();
    const { errors } = await host.facts();
    t.match(errors, [/has not returned to its event loop for \d+ ms in neverReturn/]);
    await host.close(t, null, errors);
  });
}

t.test('an endless loop soon after a short stall', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 2, spares: 0, hangMs: 1_000 },
  });
  const first = await host.facts();
  const lanes = new Lanes(t, first, LANES, 1);
  const killer = keepAlive(t, { host: HOST, port: portOf(first) });
  // Main hears of this one, and will look whether it is over when hangMs are.
  await killer.ask('/burn?ms=300');
  killer.ask('/loop').catch(() => {});
  const seen = hangs(await host.factsWhen((facts) => hangs(facts).length > 0));
  t.equal(seen.length, 1, JSON.stringify(seen));
  await lanes.stop();
  await host.close(t, null, (await host.facts()).errors);
});

t.test('a worker for which nothing waits is found to hang, too', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 2, spares: 0, hangMs: HANG_MS },
  });
  const killer = new KeptAlive({ host: HOST, port: portOf(await host.facts()) });
  // What it does in an otherwise idle process may be over before the watcher looks.
  for (let nth = 0; nth < 20; nth++) await served(killer);
  const looping = killer.ask('/loop');
  looping.catch(() => {}); // seen below
  const seen = await host.factsWhen((facts) => hangs(facts).length > 0);
  t.equal(hangs(seen).length, 1);
  await t.rejects(looping, 'the request is lost');
  killer.close();
  const { errors } = await host.facts();
  await host.close(t, null, errors);
});

t.test('what a mailbox has no room for at once is saved from a worker that hangs', async (t) => {
  const host = await Host.start(t, {
    // With so many workers to come a mailbox has 64 entries.
    ...{ entry: app('survivor.js'), workers: 2, spares: 0, hangMs: HANG_MS, maxWorkers: 128 },
  });
  const facts = await host.facts();
  const idle = await idleConnections(t, facts, 400);
  const killer = new KeptAlive({ host: HOST, port: portOf(facts) });
  await t.rejects(killer.ask('/loop'));
  killer.close();
  const answers = await Promise.allSettled(idle.map(served));
  t.equal(answers.filter(({ status }) => status === 'rejected').length, 0, 'of 400');
  for (const connection of idle) connection.close();
  const { errors } = await host.facts();
  await host.close(t, null, errors);
});

t.test('a worker that hangs while it loads its program', async (t) => {
  const { env, write } = versioned(t);
  const host = await Host.start(
    t,
    {
      ...{ entry: app('survivor.js'), workers: 1, spares: 0, hangMs: HANG_MS, restarts: 1_000 },
      startMs: 4_000,
    },
    { env },
  );
  const to = { host: HOST, port: portOf(await host.facts()) };
  const killer = keepAlive(t, to);
  write('endless');
  await t.rejects(killer.ask('/exit'));
  await host.until((events) => events.some(({ name }) => name === 'hang'));
  write('2');
  const { workers, errors } = await host.factsWhen(
    ({ workers: [worker] }) => worker?.state === 'serving',
  );
  t.equal(workers[0]?.state, 'serving', 'is replaced');
  const connection = new KeptAlive(to);
  t.equal((await served(connection)).program, '2');
  connection.close();
  await host.close(t, null, errors);
});

t.test('a thread in a system call that does not return keeps nobody waiting', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 1, spares: 0, hangMs: HANG_MS },
  });
  const to = { host: HOST, port: portOf(await host.facts()) };
  const killer = keepAlive(t, to);
  const fifo = path.join(folder(t), 'fifo');
  execFileSync('mkfifo', [fifo]);
  const reading = killer.ask(`/read?file=${fifo}`);
  reading.catch(() => {}); // seen below
  await host.factsWhen(({ workers }) => (workers[0]?.stuckMs ?? 0) > 0);
  const connection = new KeptAlive(to);
  t.ok(await served(connection), 'another thread serves');
  const stuck = /^ERR_GYRE_STUCK: worker 0 /;
  t.match((await host.reload(0)).refused, stuck, 'and cannot be replaced meanwhile');
  t.ok(await served(connection), 'but goes on');
  connection.close();
  const { refused } = await host.tryToClose(0);
  t.match(refused, stuck);
  const free = keepAlive(t, to);
  await t.rejects(free.ask('/'), { code: 'ECONNREFUSED' }, 'nobody listens any more');
  closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)); // it returns
  await t.rejects(reading, 'the request is lost');
  const { errors } = await host.facts();
  t.match(errors, [/has not returned/, /does not end/]);
  await host.close(t, 0, errors, refused);
});

t.test('a process that stood still as a whole does not hang', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 2, spares: 0, hangMs: HANG_MS },
  });
  const facts = await host.facts();
  const lanes = new Lanes(t, facts, 8, 1);
  await host.factsWhen(() => lanes.answers > 100);
  process.kill(host.pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 3 * HANG_MS)); // what is tested
  process.kill(host.pid, 'SIGCONT');
  const { answers } = lanes;
  await host.factsWhen(() => lanes.answers > answers + 500);
  await lanes.stop();
  t.same(lanes.lost, []);
  t.same(hangs(await host.facts()), []);
  await host.close(t);
});

for (const move of [true, false]) {
  t.test(`sleep is not hanging, ${move ? 'moving' : 'not moving'}`, async (t) => {
    const host = await Host.start(t, {
      ...{ entry: app('survivor.js'), workers: 1, spares: 0, hangMs: HANG_MS, scheduler: { move } },
    });
    const to = { host: HOST, port: portOf(await host.facts()) };
    const connections = Array.from({ length: 4 }, () => keepAlive(t, to));
    await Promise.all(connections.map(served));
    await new Promise((resolve) => setTimeout(resolve, 2 * HANG_MS)); // what is tested
    // Shorter than hangMs, longer than whoever hangs is looked at again; others wait meanwhile.
    await t.resolves(
      Promise.all(connections.map((connection) => connection.ask(`/burn?ms=${HANG_MS / 5}`))),
    );
    t.same(hangs(await host.facts()), [], 'it had slept, and then worked');
    for (const connection of connections) connection.close();
    await host.close(t);
  });
}

t.test('a worker whose heap is nearly full is replaced before it dies', async (t) => {
  const host = await Host.start(
    t,
    {
      ...{ entry: app('survivor.js'), workers: 2, spares: 0, recycleAtHeapRatio: 0.5 },
      resourceLimits: { maxOldGenerationSizeMb: 128 },
    },
    { flags: ['--expose-gc'] },
  );
  const first = await host.facts();
  const connection = keepAlive(t, { host: HOST, port: portOf(first) });
  const recycled = ({ events }: Facts) => events.find(({ name }) => name === 'recycle')?.worker;
  // A few MB for each answer. Collecting garbage takes long, so the connection may move meanwhile.
  for (let kept = 0; kept < 200 && recycled(await host.facts()) === undefined; kept++) {
    await connection.ask('/keep?mb=2');
  }
  const index = recycled(await host.facts()) ?? -1;
  const before = first.workers[index]?.threadId;
  t.type(before, 'number');
  const after = await host.factsWhen(({ workers }) => workers[index]?.threadId !== before);
  t.not(after.workers[index]?.threadId, before, 'another is in its place');
  t.not((await served(connection)).threadId, before, 'the connection went on');
  t.same(after.errors, []);
  await host.close(t);
});

t.test('a full heap is told of again, if nothing came of it', async (t) => {
  const { env, write } = versioned(t);
  const host = await Host.start(
    t,
    {
      ...{ entry: app('survivor.js'), workers: 1, spares: 0, recycleAtHeapRatio: 0.3 },
      resourceLimits: { maxOldGenerationSizeMb: 128 },
    },
    { env, flags: ['--expose-gc'] },
  );
  const first = await host.facts();
  const connection = keepAlive(t, { host: HOST, port: portOf(first) });
  const before = first.workers[0]?.threadId;
  const failed = ({ errors }: Facts) => errors.some((error) => /broken/.test(error));
  write('broken');
  await host.factsWhen((facts) => {
    connection.ask('/keep?mb=2').catch(() => {}); // seen by what it leads to
    return failed(facts);
  });
  write('2');
  const { errors } = await host.factsWhen(({ workers: [worker] }) => {
    connection.ask('/keep?mb=0').catch(() => {});
    return worker?.threadId !== before && worker?.state === 'serving';
  });
  t.equal((await served(connection)).program, '2');
  await host.close(t, null, errors);
});

t.test('one that hangs while the program cannot start is ended all the same', async (t) => {
  const { env, write } = versioned(t);
  const host = await Host.start(
    t,
    {
      ...{ entry: app('survivor.js'), workers: 1, spares: 0, hangMs: HANG_MS, restarts: 1_000 },
      scheduler: { move: false },
    },
    { env },
  );
  const to = { host: HOST, port: portOf(await host.facts()) };
  const killer = keepAlive(t, to);
  write('broken');
  await t.rejects(killer.ask('/loop'));
  // Its replacement, and at least one that was to follow it.
  await host.factsWhen(({ errors }) => errors.filter((each) => /broken/.test(each)).length > 1);
  write('2');
  const { workers, errors } = await host.factsWhen(
    ({ workers: [worker] }) => worker?.state === 'serving',
  );
  t.equal(workers[0]?.state, 'serving', 'and started again as soon as it can');
  const connection = new KeptAlive(to);
  t.equal((await served(connection)).program, '2');
  connection.close();
  await host.close(t, null, errors);
});
