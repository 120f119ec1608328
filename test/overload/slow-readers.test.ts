/**
 * Clients that ask and do not read cost bounded memory, and others are served meanwhile.
 */
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Facts, type Host, total } from '../moving/host.js';
import { HOST, portOf } from '../support/app.js';
import { residentMb } from '../support/proc.js';
import { Crowd, startLoaded } from './crowd.js';

const READERS = 64;

/**
 * What one of them may cost the process, garbage included, kernel buffers not. Measured: 1.2 MB,
 * of which most are the 64 KB chunks that fs streams read.
 */
const EACH_MB = 4;

/** How far sizes may be apart that are called the same. */
const NOISE_MB = 4;

t.setTimeout(60_000); // of all tests in this file together

/** So many connections that ask and read nothing. */
function readers(t: Test, facts: Facts): void {
  for (let i = 0; i < READERS; i++) {
    const socket = net.connect({ host: HOST, port: portOf(facts) });
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    socket.pause();
    socket.write('GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }
}

/** Resolves when the process has ceased to grow, with its size; bounded. */
async function settledMb(host: Host): Promise<number> {
  let before = 0;
  for (let i = 0; i < 50; i++) {
    const now = residentMb(host.pid);
    if (Math.abs(now - before) < NOISE_MB) return now;
    before = now;
    await sleep(200);
  }
  return before;
}

t.test(`${READERS} clients that do not read an endless answer`, async (t) => {
  const host = await startLoaded(t);
  const crowd = new Crowd(t, await host.facts());
  crowd.join(8);
  t.ok(await crowd.when(() => crowd.served.length === 8));
  const before = await settledMb(host);
  readers(t, await host.facts());
  await host.factsWhen((facts) => total(facts, 'connections') === READERS + 8);
  const after = await settledMb(host);
  t.ok(after - before < READERS * EACH_MB, `${Math.round(after - before)} MB more`);
  await sleep(1_000);
  const later = residentMb(host.pid) - after;
  t.ok(later < 2 * NOISE_MB, `and ${Math.round(later)} MB in the second after`);
  const answers = await Promise.all(crowd.clients.map(({ connection }) => connection.ask('/')));
  t.ok(
    answers.every(({ status }) => status === 200),
    'others are served',
  );
  await host.close(t, 0);
});
