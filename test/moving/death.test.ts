/**
 * Workers that die while connections are moved at random, with mail on its way to them and
 * from them. What was in flight on one that dies is lost with it, and nothing else.
 */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { app } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host, total } from './host.js';
import { KeptAlive } from './kept-alive.js';
import { Traffic, type TrafficOptions } from './traffic.js';

const WORKERS = 3;
const LANES = 24;
const seed = testSeed();

/** Moves before each death, so that mailboxes are in use. */
const MOVES = 1_000;
/** Answers from those that are left. */
const ANSWERS = 500;
/** Pauses after which one that stands still has nothing left that could be taken from it. */
const PAUSES = 100;

t.comment(`seed ${seed}`);
t.setTimeout(280_000); // of all tests in this file together

function deaths({ events }: Facts): number {
  return events.filter(({ name }) => name === 'exit').length;
}

t.test('a worker that dies loses what was in flight on it, and nothing else', async (t) => {
  const scheduler = { chaos: true, seed };
  const host = await Host.start(t, {
    entry: app('verify.js'),
    workers: WORKERS,
    spares: 0,
    scheduler,
  });
  const first = await host.facts();
  t.match(first.move, { available: true });
  const to = { host: '127.0.0.1', port: (first.addresses[0] as { port: number }).port };
  const traffic = (options: Partial<TrafficOptions> = {}) =>
    new Traffic({ to, seed, lanes: LANES, burnMs: 4, pauseMs: 20, ...options });
  const moves = (facts: Facts) => total(facts, 'received');

  const errors: string[] = [];
  for (const [before, die] of ['exit', 'throw'].entries()) {
    await t.test(`by ${die}`, async (t) => {
      const load = traffic({ mayReset: true });
      const begun = await host.facts();
      const busy = await host.factsWhen((facts) => moves(facts) >= moves(begun) + MOVES, 600);
      t.ok(moves(busy) >= moves(begun) + MOVES, 'connections moved');
      const killer = new KeptAlive(to);
      await t.rejects(killer.ask(`/?die=${die}`));
      killer.close();
      const dead = await host.factsWhen((facts) => deaths(facts) > before);
      t.equal(deaths(dead), before + 1, 'one has died');
      if (die === 'throw') errors.push(...dead.errors.filter((each) => /on purpose/.test(each)));
      const answered = load.report.answers;
      const later = await host.factsWhen(() => load.report.answers > answered + ANSWERS, 600);
      t.ok(load.report.answers > answered + ANSWERS, 'the others go on');
      t.ok(moves(later) > moves(dead), 'and give to one another');
      const { wrong, resets } = await load.stop();
      t.same(wrong, [], 'no answer was wrong');
      t.comment(`${resets} of ${LANES} connections were lost`);

      // No longer forgiven.
      const calm = traffic({ seed: seed + 1 });
      await host.factsWhen(() => calm.report.answers > ANSWERS || calm.report.wrong.length > 0);
      const report = await calm.stop();
      t.same(report.wrong, [], 'whoever comes now is served');
      t.ok(report.answers > ANSWERS);
    });
  }
  t.equal(errors.length, 1);
  await host.close(t, null, errors);
});

t.test('what a worker that dies was given and has not begun is served by others', async (t) => {
  for (const die of ['exit', 'throw']) {
    await t.test(`by ${die}`, async (t) => {
      const pipe = path.join(folder(t), 'pipe');
      execFileSync('mkfifo', [pipe]);
      const scheduler = { chaos: true, seed };
      const host = await Host.start(t, {
        entry: app('mortal.js'),
        workers: 2,
        spares: 0,
        scheduler,
      });
      const { addresses } = await host.facts();
      const to = { host: '127.0.0.1', port: (addresses[0] as { port: number }).port };
      const killer = new KeptAlive(to);
      const killed = killer.ask(`/${die}?code=1&pipe=${encodeURIComponent(pipe)}`);
      killed.catch(() => {}); // seen below
      const connections = Array.from({ length: LANES }, () => new KeptAlive(to));
      t.teardown(() => {
        for (const connection of [killer, ...connections]) connection.close();
      });
      let over = false;
      let answers = 0;
      let lost = 0;
      const all = connections.map(async (connection) => {
        // Once more when it is over: whoever is left has survived.
        for (let last = false; !last; answers++) {
          last = over;
          await connection.ask();
        }
      });
      for (const each of all) each.catch(() => lost++);
      // It is given connections all the time, and they are taken back out of its mailbox.
      const before = total(await host.facts(), 'pauses');
      const given = await host.factsWhen((facts) => total(facts, 'pauses') > before + PAUSES);
      t.ok(total(given, 'pauses') > before + PAUSES);
      over = true;
      await writeFile(pipe, 'go on');
      await t.rejects(killed, 'the request that it was busy with is lost');
      await Promise.allSettled(all);
      t.comment(`${answers} answers`);
      t.equal(lost, 0, 'nothing else is');
      const { errors } = await host.facts();
      t.equal(errors.length, die === 'throw' ? 1 : 0);
      await host.close(t, null, errors);
    });
  }
});
