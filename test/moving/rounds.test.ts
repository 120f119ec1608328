/**
 * What a worker that can still act gives away by itself. The governor looks so seldom here
 * that it rescues nobody.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { app } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { Host } from './host.js';
import type { KeptAlive } from './kept-alive.js';
import { connect, connectToEach, countsAgree, stall, told } from './stalling.js';

const seed = testSeed();
t.comment(`seed ${seed}`);
t.setTimeout(100_000);

t.test('after a long iteration half of what waits goes to the idle neighbour', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('stalls.js'), workers: 2, spares: 0 },
    scheduler: { seed, tickMs: 1_000 },
  });
  const facts = await host.facts();
  const served = await connectToEach(t, facts, 9);
  const [busy, ...others] = served.slice(0, 9) as [KeptAlive, ...KeptAlive[]];
  const { threadId } = await told(busy);
  const index = facts.workers.findIndex((worker) => worker.threadId === threadId);
  let given = 0;
  // The governor may happen to look just then, once a second.
  for (let tries = 0; given === 0 && tries < 20; tries++) {
    const file = path.join(folder(t), 'go on');
    const stalled = await stall(busy, 'handler', file);
    const answers = others.map(told);
    await writeFile(file, 'go on');
    await Promise.all([stalled.ended, ...answers]);
    const { snapshot } = await host.facts();
    given = snapshot.workers.reduce((sum, row) => sum + row.given, 0);
    t.ok(
      snapshot.workers.every((row) => row.given <= 4 * row.rounds),
      'no more than half of eight',
    );
  }
  t.ok(given > 0);
  const { snapshot } = await host.facts();
  const row = snapshot.workers[index];
  t.ok((row?.rounds ?? 0) > 0);
  await countsAgree(t, served);
  await host.close(t);
});

t.test('after a short iteration everything stays', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('stalls.js'), workers: 2, spares: 0 },
    scheduler: { seed, tickMs: 1_000, roundMs: 1_000 },
  });
  const facts = await host.facts();
  const served = await connectToEach(t, facts, 6);
  for (let tries = 0; tries < 5; tries++) {
    const file = path.join(folder(t), 'go on');
    const stalled = await stall(served[0] as KeptAlive, 'handler', file);
    const answers = served.slice(1, 6).map(told);
    await writeFile(file, 'go on');
    await Promise.all([stalled.ended, ...answers]);
  }
  const { snapshot } = await host.facts();
  // Nothing of what the test does takes a second.
  for (const { rounds, given } of snapshot.workers)
    t.same({ rounds, given }, { rounds: 0, given: 0 });
  await host.close(t);
});

t.test(
  'a worker that accepts and then stands still keeps none of what it has not read',
  async (t) => {
    const file = path.join(folder(t), 'go on');
    const host = await Host.start(
      t,
      { ...{ entry: app('stalls.js'), workers: 2, spares: 0 }, scheduler: { seed } },
      { env: { STALL_ON_CONNECTION: `12:${file}` } },
    );
    const facts = await host.facts();
    // All at once, so that one turn of the loop accepts several of them.
    const all = Array.from({ length: 40 }, () => connect(t, facts));
    let answered = 0;
    const answers = all.map(async (each) => {
      const answer = await told(each);
      answered++;
      return answer;
    });
    // The twelfth of a worker is in its `connection` event, and cannot be anywhere else.
    await host.factsWhen(() => answered >= all.length - 1);
    t.equal(answered, all.length - 1);
    await writeFile(file, 'go on');
    await Promise.all(answers);
    await countsAgree(t, all);
    await host.close(t);
  },
);
