/**
 * SIGTERM to `gyre run` under load: every request that a worker has begun is answered, whole and
 * right; whoever connected before that is served, later is refused; and the process ends by itself, with code 0.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { app, HOST } from '../support/app.js';
import { folder } from '../support/folder.js';
import { gyre } from '../support/running.js';
import { testSeed } from '../support/seed.js';
import { SCALED, scaled, timeLimit } from './scale.js';
import { Newcomers, Steady } from './steady.js';

const seed = testSeed();

const TIMES = scaled(2, 30);
const LANES = 64;
const PER_SECOND = SCALED ? 2_000 : 500;
const DELAY_MS = 50;
const ANSWERS = 500;

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(600_000));

for (const move of [true, false]) {
  t.test(`SIGTERM under load, ${move ? '' : 'not '}moving, ${TIMES} times`, async (t) => {
    let [begun, answered] = [0, 0];
    const unread: Record<string, number> = {};
    for (let nth = 0; nth < TIMES; nth++) {
      // Who begins a request writes its number there.
      const log = path.join(folder(t), 'begun');
      writeFileSync(log, '');
      const args = ['run', app('verify.js'), '--workers', '2', ...(move ? [] : ['--no-move'])];
      const server = gyre(t, args, { BEGUN: log });
      const [, port] = await server.says(/listening on \S+:(\d+)/);
      const to = { host: HOST, port: Number(port) };
      const load = await Steady.start({
        ...{ to, seed: seed + nth, connections: LANES, perSecond: PER_SECOND, delayMs: DELAY_MS },
      });
      const newcomers = new Newcomers({ to, seed: seed + nth, delayMs: DELAY_MS }, 4, 5);
      await load.until(() => load.answers >= ANSWERS);
      server.child.kill('SIGTERM');
      t.same(await server.ended(), { code: 0, signal: null }, 'it ends by itself');
      load.end();
      await newcomers.stop();
      t.same([load.wrong, newcomers.wrong], [[], []], 'no answer was wrong, or cut');
      t.same(
        [...load.refused, ...newcomers.refused].filter((code) => code !== 'ECONNREFUSED'),
        [],
        'who comes late is refused',
      );
      t.same(newcomers.losses, [], 'who comes before that is served');
      const numbers = readFileSync(log, 'utf8').split('\n').slice(0, -1);
      const all = new Set(numbers);
      const asked = load.losses.filter((loss) => loss.asked);
      const lost = asked.map(({ number }) => number);
      t.same(
        lost.filter((number) => all.has(number)),
        [],
        'every request that was begun is answered',
      );
      begun += numbers.length;
      answered += load.answers + newcomers.answers;
      for (const { code } of asked) unread[code ?? ''] = (unread[code ?? ''] ?? 0) + 1;
    }
    t.comment(`${answered} answers to ${begun} requests`);
    t.comment(`closed with a request on its way: ${JSON.stringify(unread)}`);
  });
}
