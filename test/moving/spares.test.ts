/**
 * What happens when every worker stands still: a spare is started, serves what waits, and
 * gives it back. Nothing here measures time: the workers stand still until the test lets
 * them go on.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { app } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host } from './host.js';
import type { KeptAlive } from './kept-alive.js';
import { connect, connectToEach, countsAgree, type Stalled, stall, told } from './stalling.js';

const seed = testSeed();
t.comment(`seed ${seed}`);
t.setTimeout(100_000);

async function start(t: Test, spares: number): Promise<{ host: Host; facts: Facts }> {
  const host = await Host.start(t, {
    ...{ entry: app('stalls.js'), workers: 2, spares },
    scheduler: { seed },
  });
  return { host, facts: await host.facts() };
}

/** Makes both workers stand still; resolves when they do. */
async function stallBoth(served: readonly KeptAlive[], file: string): Promise<Stalled[]> {
  const [one, other] = [served[0], served[served.length / 2]] as [KeptAlive, KeptAlive];
  return [await stall(one, 'handler', file), await stall(other, 'handler', file)];
}

t.test('when every worker stands still a spare serves, and gives back', async (t) => {
  const { host, facts } = await start(t, 2);
  t.same(facts.spares, [], 'there is none before');
  const file = path.join(folder(t), 'go on');
  const served = await connectToEach(t, facts, 5);
  const stalled = await stallBoth(served, file);
  const busy = new Set(stalled.map(({ threadId }) => threadId));
  t.equal(busy.size, 2);
  const idle = served.filter((_, index) => index !== 0 && index !== served.length / 2);
  const fresh = Array.from({ length: 8 }, () => connect(t, facts));
  const answers = await Promise.all([...idle, ...fresh].map(told));
  t.notOk(
    answers.some(({ threadId }) => busy.has(threadId)),
    'neither worker answered',
  );
  for (const each of stalled) t.equal(await each.isOver(), false, 'both still stand still');

  const during = await host.facts();
  t.ok(during.spares.length > 0);
  for (const { spare, cpu, index } of during.spares)
    t.match({ spare, cpu }, { spare: true, cpu: null }, `${index}`);
  t.same(
    during.workers.map(({ spare }) => spare),
    [false, false],
  );
  await writeFile(file, 'go on');
  await Promise.all(stalled.map(({ ended }) => ended));
  // Each request that a spare answers lets it look for somebody who can take over.
  let left = -1;
  for (let tries = 0; left !== 0 && tries < 200; tries++) {
    await Promise.all([...served, ...fresh].map(told));
    const { snapshot } = await host.facts();
    left = snapshot.spares.reduce((sum, { connections }) => sum + connections, 0);
  }
  t.equal(left, 0, 'the spares have given every connection back');
  await countsAgree(t, [...served, ...fresh]);
  await host.close(t);
});

t.test('without spares what waits goes on waiting', async (t) => {
  const { host, facts } = await start(t, 0);
  const file = path.join(folder(t), 'go on');
  const served = await connectToEach(t, facts, 3);
  const stalled = await stallBoth(served, file);
  let answered = 0;
  const answers = served.slice(1, 3).map(async (each) => {
    await told(each);
    answered++;
  });
  // So often that the governor has looked many times.
  const looked = await host.factsWhen(
    ({ snapshot }) => snapshot.takenAtMs > facts.snapshot.takenAtMs + 1_000,
  );
  t.same(looked.spares, []);
  t.equal(answered, 0);
  await writeFile(file, 'go on');
  await Promise.all([...answers, ...stalled.map(({ ended }) => ended)]);
  await host.close(t);
});

t.test('a spare that cannot start leaves the workers alone', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('stalls.js'), workers: 2, spares: 1, scheduler: { seed } },
    env: { SPARE_FAILS: '1' },
  });
  const facts = await host.facts();
  const file = path.join(folder(t), 'go on');
  const served = await connectToEach(t, facts, 3);
  const stalled = await stallBoth(served, file);
  const answers = served.slice(1, 3).map(told);
  const failed = await host.factsWhen(({ errors }) => errors.length === 3);
  t.same(failed.errors, new Array(3).fill('worker 2: no spare'), 'it is tried three times');
  t.same(failed.spares, []);
  await writeFile(file, 'go on');
  await Promise.all([...answers, ...stalled.map(({ ended }) => ended)]);
  await countsAgree(t, served);
  await host.close(t, null, new Array(3).fill('worker 2: no spare'));
});
