/**
 * Workers are replaced, one after the other, and clients that keep their connections alive
 * notice nothing.
 */
import t, { type Test } from 'tap';
import { type Facts, Host } from '../moving/host.js';
import { keepAlive } from '../moving/kept-alive.js';
import { app, HOST, portOf } from '../support/app.js';
import { versioned } from '../support/versioned.js';
import { idleConnections, Lanes, served } from './lanes.js';

const LANES = 32;
const RELOADS = Number(process.env.GYRE_TEST_RELOADS ?? 6);
const DRAIN_MS = 5_000;

t.setTimeout(280_000); // of all tests in this file together

/** A host whose program says that it is version `write(…)`. */
async function versions(t: Test, workers: number) {
  const { env, write } = versioned(t);
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers, spares: 0, drainMs: DRAIN_MS, env },
  });
  return { host, write };
}

function threadsOf({ workers }: Facts): number[] {
  return workers.map(({ threadId }) => threadId);
}

for (const workers of [2, 1]) {
  t.test(`${RELOADS} reloads of ${workers} workers under load`, async (t) => {
    const { host, write } = await versions(t, workers);
    const before = await host.facts();
    const busy = new Lanes(t, before, LANES, 1);
    const idle = await idleConnections(t, before, LANES);
    for (let i = 0; i < RELOADS; i++) {
      write(String(i + 2));
      const { refused } = await host.reload(DRAIN_MS);
      t.equal(refused, null);
      const now = await Promise.all(idle.map(served));
      t.ok(
        now.every(({ program }) => program === String(i + 2)),
        'every connection is on new code',
      );
    }
    const after = await host.facts();
    t.ok(
      threadsOf(after).every((thread) => !threadsOf(before).includes(thread)),
      'every thread is another',
    );
    const last = await busy.stop();
    t.same(busy.lost, [], 'no request failed, and no connection was closed');
    t.ok(last.every(({ program }) => program === String(RELOADS + 1)));
    t.comment(`${busy.answers} answers`);
    for (const connection of idle) connection.close();
    await host.close(t);
  });
}

t.test('new code that does not start leaves the old in place', async (t) => {
  const { host, write } = await versions(t, 2);
  const before = await host.facts();
  const lanes = new Lanes(t, before, 8, 5);
  write('broken');
  const { refused, workers } = await host.reload(DRAIN_MS);
  t.match(refused, /^ERR_GYRE_RELOAD: .*broken on purpose/);
  t.same(
    workers.map(({ threadId }) => threadId),
    threadsOf(before),
  );
  write('2');
  t.equal((await host.reload(DRAIN_MS)).refused, null, 'the next may succeed');
  t.ok((await lanes.stop()).every(({ program }) => program === '2'));
  t.same(lanes.lost, []);
  await host.close(t, null, (await host.facts()).errors);
});

t.test('what cannot move lives on for drainMs', async (t) => {
  const { host, write } = await versions(t, 2);
  const before = await host.facts();
  const to = { host: HOST, port: portOf(before) };
  const [stream, waiting] = [keepAlive(t, to), keepAlive(t, to)];
  const lines = (await stream.begin('/stream'))[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  await lines.next();
  let seen = 0;
  const cut = (async () => {
    for (let done = false; !done; seen++) done = (await lines.next()).done === true;
  })();
  cut.catch(() => {}); // seen below
  const answer = waiting.ask('/wait?ms=1000');
  write('2');
  const reloaded = host.reload(2_000);
  t.equal(String((await answer).body), '1', 'an answer that was begun is finished');
  // On a slow machine that may have been before the reload came to its worker.
  await host.factsWhen((now) =>
    threadsOf(now).every((thread) => !threadsOf(before).includes(thread)),
  );
  t.equal((await served(waiting)).program, '2', 'and its connection goes on in the new code');
  const then = seen;
  await t.rejects(cut, 'what has no end is cut off');
  t.ok(seen > then, 'not before its time');
  t.equal((await reloaded).refused, null);
  await host.close(t);
});
