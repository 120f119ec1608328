/**
 * Workers that die while connections are moved at random, with mail on its way to them and
 * from them. What was in flight on one that dies is lost with it, and nothing else.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { app } from '../support/app.js';
import { type Facts, Host, total } from './host.js';
import { KeptAlive } from './kept-alive.js';
import { Traffic, type TrafficOptions, testSeed } from './traffic.js';

const WORKERS = 3;
const LANES = 24;
const seed = testSeed();

/** Moves before each death, so that mailboxes are in use. */
const MOVES = 1_000;
/** Answers from those that are left. */
const ANSWERS = 500;
/** Times that the counters must be seen unchanged to say that nothing moves. */
const STILL = 5;

t.comment(`seed ${seed}`);
t.setTimeout(280_000); // of all tests in this file together

/** Connections that were taken from one and not adopted by another: they are in mailboxes. */
function waiting({ snapshot }: Facts): number {
  return snapshot.workers.reduce((sum, { rescued, received }) => sum + rescued - received, 0);
}

function alive({ workers }: Facts): number {
  return workers.filter(({ state }) => state === 'serving').length;
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

  let left = WORKERS;
  const errors: string[] = [];
  for (const die of ['exit', 'throw']) {
    await t.test(`by ${die}, with ${left} at work`, async (t) => {
      const load = traffic({ mayReset: true });
      const begun = await host.facts();
      const busy = await host.factsWhen((facts) => moves(facts) >= moves(begun) + MOVES, 600);
      t.ok(moves(busy) >= moves(begun) + MOVES, 'connections moved');
      const killer = new KeptAlive(to);
      await t.rejects(killer.ask(`/?die=${die}`));
      killer.close();
      left--;
      const dead = await host.factsWhen((facts) => alive(facts) === left);
      t.equal(alive(dead), left, 'one has died');
      if (die === 'throw') errors.push(...dead.errors.filter((each) => /on purpose/.test(each)));
      const answered = load.report.answers;
      const later = await host.factsWhen(() => load.report.answers > answered + ANSWERS, 600);
      t.ok(load.report.answers > answered + ANSWERS, 'the others go on');
      if (left > 1) t.ok(moves(later) > moves(dead), 'and give to one another');
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

t.test('what waits in the mailbox of a worker that dies is served by others', async (t) => {
  for (const die of ['exit', 'throw']) {
    await t.test(`by ${die}`, async (t) => {
      const folder = mkdtempSync(path.join(tmpdir(), 'gyre-death-'));
      t.teardown(() => rmSync(folder, { recursive: true }));
      const pipe = path.join(folder, 'pipe');
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
      // Whatever is given to the one that stands still stays in its mailbox, so in the end
      // all is there and nothing moves any more.
      let same = 0;
      let seen = -1;
      const still = await host.factsWhen((facts) => {
        const moves = total(facts, 'received');
        same = moves === seen ? same + 1 : 0;
        seen = moves;
        return same === STILL && waiting(facts) > 0;
      });
      const inMail = waiting(still);
      t.ok(inMail > 0, `${inMail} of ${LANES} are in its mailbox`);
      over = true;
      await writeFile(pipe, 'go on');
      await t.rejects(killed, 'the request that it was busy with is lost');
      await Promise.allSettled(all);
      // Those that it had just adopted or accepted, and has never come to watch, are its own.
      t.comment(`${answers} answers; ${lost} connections were lost`);
      t.ok(lost <= LANES - inMail, 'what was in the mailbox is not');
      const { errors } = await host.facts();
      t.equal(errors.length, die === 'throw' ? 1 : 0);
      await host.close(t, null, errors);
    });
  }
});
