/**
 * Connections of which gyre knows no messages: they move until the first byte, in either
 * direction, and not at all where somebody said so.
 */
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import type { RuntimeOptions } from '../../src/index.js';
import { app, portOf } from '../support/app.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host, total } from './host.js';

const seed = testSeed();
t.comment(`seed ${seed}`);
t.setTimeout(100_000);

async function start(t: Test, env: NodeJS.ProcessEnv, options: Partial<RuntimeOptions> = {}) {
  const host = await Host.start(
    t,
    {
      ...{ entry: app('greets.js'), workers: 2, spares: 0 },
      ...{ scheduler: { chaos: true, seed }, ...options },
    },
    { env },
  );
  return { host, facts: await host.facts() };
}

async function connect(t: Test, facts: Facts): Promise<net.Socket> {
  const socket = net.connect(portOf(facts), '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.setEncoding('latin1');
  await once(socket, 'connect');
  return socket;
}

/** The next line. */
async function line(socket: net.Socket): Promise<string> {
  let text = '';
  while (!text.endsWith('\n')) text += ((await once(socket, 'data')) as [string])[0];
  return text;
}

t.test('one that nobody has said anything on moves, and then no more', async (t) => {
  const { host, facts } = await start(t, {});
  const sockets = await Promise.all(Array.from({ length: 8 }, () => connect(t, facts)));
  const moved = await host.factsWhen((now) => total(now, 'received') > 200);
  t.ok(total(moved, 'received') > 200, 'unread connections move');
  const first = await Promise.all(
    sockets.map((socket) => {
      socket.write('one\n');
      return line(socket);
    }),
  );
  for (const text of first) t.match(text, /^\d+ one\n$/);
  const settled = await host.facts();
  for (let round = 0; round < 50; round++) {
    const next = await Promise.all(
      sockets.map((socket) => {
        socket.write('one\n');
        return line(socket);
      }),
    );
    if (next.join() !== first.join()) t.same(next, first);
  }
  const after = await host.facts();
  t.equal(total(after, 'received'), total(settled, 'received'), 'those that were read stay');
  t.equal(total(after, 'connections'), 8);
  await host.close(t, 0);
});

t.test('where the server speaks first, it does so once', async (t) => {
  const { host, facts } = await start(t, { GREETING: '1' });
  for (let round = 0; round < 20; round++) {
    const sockets = await Promise.all(Array.from({ length: 8 }, () => connect(t, facts)));
    const greetings = await Promise.all(sockets.map(line));
    if (greetings.some((text) => text !== 'greetings\n')) t.same(greetings, []);
    const answers = await Promise.all(
      sockets.map((socket) => {
        socket.write('two\n');
        return line(socket);
      }),
    );
    for (const text of answers) if (!/^\d+ two\n$/.test(text)) t.equal(text, 'two');
    for (const socket of sockets) socket.destroy();
  }
  await host.close(t, 0);
});

t.test('what must not move does not', async (t) => {
  const reserved = net.createServer().listen(0, '127.0.0.1');
  await once(reserved, 'listening');
  const { port } = reserved.address() as net.AddressInfo;
  reserved.close();
  await once(reserved, 'close');
  const cases: [string, NodeJS.ProcessEnv, Partial<RuntimeOptions>][] = [
    ['as listen({ gyre }) says', { STAYS: '1' }, {}],
    ['as listeners says', { PORT: `${port}` }, { listeners: { [`:${port}`]: { move: false } } }],
    ['as scheduler.move says', {}, { scheduler: { move: false, chaos: true, seed } }],
  ];
  for (const [name, env, options] of cases) {
    await t.test(name, async (t) => {
      const { host, facts } = await start(t, env, options);
      await Promise.all(Array.from({ length: 8 }, () => connect(t, facts)));
      const accepted = await host.factsWhen((now) => total(now, 'accepted') === 8);
      t.equal(total(accepted, 'accepted'), 8);
      // The governor has had a thousand chances in that time.
      const later = await host.factsWhen(
        ({ snapshot }) => snapshot.takenAtMs > accepted.snapshot.takenAtMs + 1_000,
      );
      t.equal(total(later, 'received'), 0);
      await host.close(t, 0);
    });
  }
});
