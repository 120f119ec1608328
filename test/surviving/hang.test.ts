/**
 * A worker that does not return to its event loop is replaced, and what could move has moved.
 */
import t from 'tap';
import { type Facts, Host } from '../moving/host.js';
import { KeptAlive } from '../moving/kept-alive.js';
import { HOST, portOf } from '../moving/stalling.js';
import { app } from '../support/app.js';
import { Lanes, served } from './lanes.js';

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
    const idle = Array.from({ length: LANES }, () => new KeptAlive(to));
    t.teardown(() => {
      for (const connection of idle) connection.close();
    });
    for (const connection of idle) await served(connection);
    const killer = new KeptAlive(to);
    const looping = killer.ask('/loop');
    looping.catch(() => {}); // seen below
    // Without anything that waits for it nobody would know.
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
    const connections = Array.from({ length: 4 }, () => new KeptAlive(to));
    t.teardown(() => {
      for (const connection of connections) connection.close();
    });
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
  const connection = new KeptAlive({ host: HOST, port: portOf(first) });
  t.teardown(() => connection.close());
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
