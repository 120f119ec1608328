/**
 * The proof by brute force: byte-exact traffic of every shape while connections are moved
 * at random, as fast as it goes. GYRE_TEST_SEED repeats a run's plan (not its timing);
 * GYRE_STRESS_MOVES makes it longer: `npm run test:stress`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { app } from '../support/app.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host, total } from './host.js';
import { Traffic } from './traffic.js';

const MOVES = Number(process.env.GYRE_STRESS_MOVES || 50_000);

/** How often the counters are read while the traffic runs, in ms. */
const POLL_MS = 200;

t.setTimeout(process.env.GYRE_STRESS_MOVES ? 0 : 280_000);

t.test('no answer is wrong, lost or repeated while connections move at random', async (t) => {
  const seed = testSeed();
  t.comment(`seed ${seed}`);
  const host = await Host.start(t, {
    entry: app('verify.js'),
    ...{ workers: 2, spares: 0 },
    scheduler: { chaos: true, seed },
  });
  const first = await host.facts();
  t.match(first.move, { available: true });
  const [address] = first.addresses;
  const to = { host: '127.0.0.1', port: (address as { port: number }).port };

  // What a worker opens for its first connections stays, so each must have had some.
  const firstLoad = new Traffic({ to, seed, lanes: 8, pauseMs: 5 });
  await host.factsWhen(({ snapshot }) => snapshot.workers.every(({ received }) => received > 20));
  await firstLoad.stop();
  const before = await host.settled(idle);

  const traffic = new Traffic({ to, seed: seed + 1, lanes: 96, burnMs: 8, pauseMs: 100 });
  let facts = await host.facts();
  while (total(facts, 'received') < MOVES && traffic.report.wrong.length === 0) {
    await sleep(POLL_MS);
    facts = await host.facts();
  }
  const report = await traffic.stop();
  const after = await host.factsWhen(
    (facts) => idle(facts) && isDeepStrictEqual(facts.descriptors, before.descriptors),
  );
  for (const row of after.snapshot.workers) {
    const { index, accepted, received, rescued, pauses, pauseUs, mismatches, failures } = row;
    t.comment(JSON.stringify({ index, accepted, received, rescued, mismatches, failures }));
    t.comment(`${pauses} pauses of ${Math.round(pauseUs / pauses)} µs; ${row.refused} refused`);
  }
  const { answers, connections, endings } = report;
  t.comment(`${total(after, 'received')} moves, ${answers} answers, ${connections} connections`);
  t.same(report.wrong, [], 'nothing was wrong');
  t.ok(total(after, 'received') >= MOVES, 'connections moved');
  t.equal(Object.keys(endings).length, 7, 'connections ended in every way');
  t.equal(total(after, 'connections'), 0, 'no connection is left');
  t.same(after.descriptors, before.descriptors, 'no descriptor is left');
  await host.close(t);
});

t.test('nor while spares come and give back', async (t) => {
  const seed = testSeed();
  t.comment(`seed ${seed}`);
  const host = await Host.start(t, {
    entry: app('verify.js'),
    ...{ workers: 2, spares: 2 },
    scheduler: { chaos: true, seed },
  });
  const [address] = (await host.facts()).addresses;
  const to = { host: '127.0.0.1', port: (address as { port: number }).port };
  const traffic = new Traffic({ to, seed, lanes: 48, burnMs: 30, pauseMs: 20 });
  const wanted = ({ snapshot }: Facts) => {
    const given = snapshot.spares.reduce((sum, row) => sum + row.given, 0);
    return given >= MOVES / 100 || traffic.report.wrong.length > 0;
  };
  const facts = await host.factsWhen(wanted, Math.max(1_000, MOVES / 500));
  const report = await traffic.stop();
  for (const { index, received, given, rescued } of facts.snapshot.spares) {
    t.comment(JSON.stringify({ index, received, given, rescued }));
  }
  t.same(report.wrong, [], 'nothing was wrong');
  t.ok(wanted(facts), 'spares have given connections back');
  t.equal(total(await host.factsWhen(idle), 'connections'), 0, 'no connection is left');
  await host.close(t);
});

function idle(facts: Facts): boolean {
  return total(facts, 'connections') === 0;
}
