/**
 * When a worker follows the messages of its connections: not while they come so fast that it
 * would cost something, unless it was stuck in something lately.
 */
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { app, HOST, portOf } from '../support/app.js';
import { type Facts, Host } from './host.js';
import { keepAlive } from './kept-alive.js';

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const CONNECTIONS = 32;
/** Well above FAST_EVENTS of src/workers/rounds.ts. */
const FAST_PER_SECOND = 15_000;

t.setTimeout(120_000); // of all tests in this file together

/** As many requests as are answered, one at a time on each connection, until it ends. */
function asFastAsItGoes(t: Test, port: number): { stop(): void; readonly answers: number } {
  let answers = 0;
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = net.connect({ host: HOST, port, noDelay: true });
    socket.on('error', () => {});
    socket.on('data', () => {
      answers++;
      socket.write(REQUEST);
    });
    socket.write(REQUEST);
    return socket;
  });
  const stop = () => {
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(stop);
  return {
    stop,
    get answers() {
      return answers;
    },
  };
}

function armed({ snapshot }: Facts): boolean {
  return snapshot.workers.some((row) => row.armed);
}

function messages({ snapshot }: Facts): number {
  return snapshot.workers.reduce((sum, row) => sum + row.messages, 0);
}

t.test('fast messages are not followed, unless the worker was stuck lately', async (t) => {
  const options = { entry: app('mortal.js'), workers: 1, spares: 0 };
  // One connection says nothing while messages come fast, for as long as that takes.
  const host = await Host.start(t, options, { env: { KEEP_ALIVE_MS: '120000' } });
  const facts = await host.factsWhen(armed); // it may have handled many events when it was new
  const slow = keepAlive(t, { host: HOST, port: portOf(facts) });
  await slow.ask();
  const first = await host.facts();
  t.ok(armed(first), 'slow ones are');
  t.equal(messages(first), messages(facts) + 1);

  const began = performance.now();
  const load = asFastAsItGoes(t, portOf(facts));
  // It may have been stuck when it was new, and follows them for ten seconds then.
  const disarmed = await host.factsWhen((now) => !armed(now), 600);
  const perSecond = (load.answers / (performance.now() - began)) * 1000;
  if (armed(disarmed) && perSecond < FAST_PER_SECOND) {
    t.pass('fast ones', { skip: `this machine answers only ${Math.round(perSecond)} a second` });
    load.stop();
    await host.close(t);
    return;
  }
  t.notOk(armed(disarmed), 'fast ones are not');
  const { answers } = load;
  const before = messages(await host.facts());
  while (load.answers < answers + 1_000) await delay(5);
  const after = await host.facts();
  t.notOk(armed(after));
  t.equal(messages(after), before, 'no message is counted');

  await slow.ask('/burn?ms=100');
  const again = await host.factsWhen(armed);
  t.ok(armed(again), 'after it was stuck they are');
  const counted = messages(again);
  await host.factsWhen((now) => messages(now) > counted);
  load.stop();

  // A hundred a second for as long as it takes.
  const calm = await host.factsWhen((now) => {
    slow.ask().catch(() => {});
    return armed(now);
  });
  t.ok(armed(calm));
  await host.close(t);
});
