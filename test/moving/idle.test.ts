/**
 * An idle process: nobody has anything to do, so nobody wakes up. Counted by the kernel:
 * a thread that slept and was woken has made one more voluntary context switch.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { app } from '../support/app.js';
import { type KernelThread, threads } from '../support/proc.js';
import { Host, total } from './host.js';
import { keepAlive } from './kept-alive.js';

/** How long nothing shall happen, in ms. Not a wait for anything: the measurement. */
const IDLE_MS = 10_000;
const SAMPLE_MS = 500;
/**
 * Two things that are not gyre's wake a thread: node's http server looks at its connections'
 * time limits every 30 s (`connectionsCheckingInterval`), and a timer that was cleared wakes
 * its loop once. Between them there is time enough, in ms.
 */
const LONGEST_MS = 60_000;
/** Where nothing happens V8 looks every 8 s whether to collect garbage, in every thread. */
const FLAGS = ['--no-memory-reducer'];
const CONNECTIONS = 20;

interface Woken {
  readonly name: string;
  readonly times: number;
}

/** The threads of process `pid`, by their ids. */
function woken(pid: number): Map<number, KernelThread> {
  return new Map(threads(pid).map((thread) => [thread.tid, thread]));
}

/** Who was woken from `before` to `after`, and how often. */
function between(before: Map<number, KernelThread>, after: Map<number, KernelThread>): Woken[] {
  return [...after].flatMap(([tid, { name, wakeups }]) => {
    const more = wakeups - (before.get(tid)?.wakeups ?? 0);
    return more > 0 ? [{ name, times: more }] : [];
  });
}

t.setTimeout(280_000); // of all tests in this file together

t.test('no thread wakes up while there is nothing to do', async (t) => {
  const host = await Host.start(
    t,
    { entry: app('stalls.js'), workers: 2, spares: 0, scheduler: {} },
    { flags: FLAGS },
  );
  const { move, addresses } = await host.facts();
  t.match(move, { available: true });
  // Idle is not empty: connections that are kept alive, and were busy once.
  const to = { host: '127.0.0.1', port: (addresses[0] as { port: number }).port };
  const connections = Array.from({ length: CONNECTIONS }, () => keepAlive(t, to));
  for (let round = 0; round < 20; round++) {
    await Promise.all(connections.map((connection) => connection.ask()));
  }
  const busy = await host.factsWhen((facts) => total(facts, 'connections') === CONNECTIONS);
  t.equal(total(busy, 'connections'), CONNECTIONS, 'it has connections');
  let quietMs = 0;
  let before = woken(host.pid);
  for (let lastMs = 0; quietMs < IDLE_MS && lastMs < LONGEST_MS; lastMs += SAMPLE_MS) {
    await sleep(SAMPLE_MS);
    const now = woken(host.pid);
    const awake = between(before, now).map(({ name, times }) => `${name} ${times}`);
    before = now;
    quietMs = awake.length === 0 ? quietMs + SAMPLE_MS : 0;
    if (awake.length > 0) t.comment(`woken after ${lastMs} ms: ${awake.join(', ')}`);
  }
  t.equal(quietMs, IDLE_MS, `nobody was woken for ${IDLE_MS} ms`);
  // And it can go red: one request wakes somebody.
  await connections[0]?.ask();
  // The switch is counted when the worker goes to sleep again.
  const seen = () => between(before, woken(host.pid)).some(({ name }) => /-w\d$/.test(name));
  for (let tries = 0; !seen() && tries < 100; tries++) await sleep(10);
  t.ok(seen(), 'a request wakes a worker, and is seen');
  for (const connection of connections) connection.close();
  await host.close(t);
});
