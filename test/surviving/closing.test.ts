/**
 * The end of a runtime: who is still served.
 */
import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { RuntimeOptions } from '../../src/index.js';
import { Host } from '../moving/host.js';
import { keepAlive } from '../moving/kept-alive.js';
import { app, get, HOST, portOf } from '../support/app.js';
import { served } from './lanes.js';

const DRAIN_MS = 20_000;

t.setTimeout(120_000); // of all tests in this file together

/** A host that is closing while one answer takes its time. */
async function closing(t: Test, options: Partial<RuntimeOptions>) {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 1, spares: 0, ...options },
  });
  const facts = await host.facts();
  t.ok(facts.ready);
  t.equal(facts.state, 'serving');
  const port = portOf(facts);
  const idle = keepAlive(t, { host: HOST, port });
  await served(idle);
  const left = new Promise((resolve) => idle.socket.once('close', resolve));
  const slow = get({ port, path: '/wait?ms=2000' });
  // Its connection has been accepted.
  await host.factsWhen(({ snapshot }) => snapshot.workers[0]?.connections === 2);
  const closed = host.close(t, DRAIN_MS);
  await left;
  t.pass('an idle connection is closed at once');
  return { host, port, slow, closed };
}

/** '' if it answers, else the error's code. */
function outcome(port: number): Promise<string> {
  return get(port).then(
    () => '',
    ({ code }: NodeJS.ErrnoException) => `${code}`,
  );
}

t.test('closing: refuse', async (t) => {
  const { port, slow, closed } = await closing(t, {});
  // One that comes in the moment of closing is reset by the kernel.
  let code = '';
  while (code === '' || code === 'ECONNRESET') code = await outcome(port);
  t.equal(code, 'ECONNREFUSED');
  t.match(await slow, { status: 200, headers: { connection: 'close' } });
  await closed;
});

t.test('closing: serve', async (t) => {
  const { port, slow, closed } = await closing(t, { closing: 'serve' });
  let over = false;
  const ended = slow.then((answer) => {
    over = true;
    return answer;
  });
  let answers = 0;
  while (!over) {
    const answer = await get(port).catch(() => null);
    if (answer === null) break; // only after the last has gone, as is seen below
    t.match(answer, { status: 200, headers: { connection: 'close' } });
    answers++;
  }
  t.ok(answers > 10, `${answers} connections were served meanwhile`);
  await setImmediate();
  t.ok(over, 'as long as there was a connection');
  t.match(await ended, { status: 200, headers: { connection: 'close' } });
  await closed;
  t.equal(await outcome(port), 'ECONNREFUSED');
});

t.test('ready says no as soon as it closes', async (t) => {
  const host = await Host.start(t, { entry: app('survivor.js'), workers: 2, spares: 0 });
  t.ok((await host.facts()).ready);
  const closed = host.close(t);
  const { ready, state } = await host.facts();
  t.notOk(ready);
  t.match(state, /^clos(ing|ed)$/);
  await closed;
});
