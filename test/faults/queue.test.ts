/**
 * Connections that wait in a worker's accept queue when it dies: they are served by others, and
 * neither the dying thread nor what is left of its loop takes one with it.
 */
import t, { type Test } from 'tap';
import { seededRandom } from '../../src/scheduler/random.js';
import { Host } from '../moving/host.js';
import { app, HOST, portOf } from '../support/app.js';
import { testSeed } from '../support/seed.js';
import { arriving, askOnce, makeExchange, Talk } from './exchange.js';

const seed = testSeed();
const random = seededRandom(seed);

const HANG_MS = 400;
const QUEUED = 30;
/** Longer than anything that it does unasked, shorter than what it is asked to do. */
const STILL_MS = 50;

t.comment(`seed ${seed}`);
t.setTimeout(120_000); // of all tests in this file together

async function stage(t: Test, move: boolean) {
  const host = await Host.start(t, {
    ...{ entry: app('verify.js'), workers: 1, spares: 0, hangMs: HANG_MS, scheduler: { move } },
  });
  return { host, to: { host: HOST, port: portOf(await host.facts()) } };
}

/** Resolves when the only worker is at something and has not been back at its loop. */
async function standsStill(host: Host): Promise<void> {
  await host.factsWhen(({ workers }) => (workers[0]?.stuckMs ?? 0) > STILL_MS);
}

for (const move of [true, false]) {
  t.test(`${QUEUED} connections behind the only worker, ${move ? '' : 'not '}moving`, async (t) => {
    const { host, to } = await stage(t, move);
    const lost = askOnce(to, makeExchange(random, 'ends', { query: 'die=loop' }));
    lost.catch(() => {}); // seen below
    await standsStill(host);
    await t.resolves(Promise.all(arriving(to, random, QUEUED)), 'are served after its death');
    await t.rejects(lost);
    await host.close(t, null, (await host.facts()).errors);
  });
}

for (const kind of ['throw', 'exit', 'loop']) {
  for (const move of [true, false]) {
    const how = `by ${kind}, ${move ? '' : 'not '}moving`;
    t.test(`what a loop was about to accept when its worker died ${how}`, async (t) => {
      const { host, to } = await stage(t, move);
      const burns = await Talk.open(to, random);
      const ends = await Talk.open(to, random);
      await host.facts(); // its loop sleeps by then: what it is told of next comes in order
      const burned = burns.ask({ query: 'burn=300' });
      await standsStill(host);
      const lost = ends.ask({ query: `die=${kind}` });
      await host.facts();
      const all = await Promise.allSettled(arriving(to, random, QUEUED));
      const reasons = all.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      t.same(reasons, [], 'is accepted by another');
      t.match(await burned, { thread: Number });
      t.match(await lost, { asked: true });
      for (const talk of [burns, ends]) talk.close();
      await host.close(t, null, (await host.facts()).errors);
    });
  }
}
