/**
 * Datagrams: each that the kernel has delivered is handled once, at more of them than one worker
 * can hold; what it drops is counted as it counts.
 *
 * GYRE_TEST_DATAGRAMS is how many; `npm run test:sources` sends a million.
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setEnvironmentData } from 'node:worker_threads';
import t, { type Test } from 'tap';
import type {
  DatagramOptions,
  DatagramSource,
  Runtime,
  RuntimeOptions,
  SourceFailure,
} from '../../src/index.js';
import { app, ROOT, start } from '../support/app.js';
import { descriptors } from '../support/proc.js';
import { Running } from '../support/running.js';
import { events } from './told.js';

const MANY = Number(process.env.GYRE_TEST_DATAGRAMS ?? 5_000);
const FEW = 1_600;
/** Room for some 10,000 of them: what a busy machine does not get round to. */
const BUFFER_BYTES = 4 * 1024 * 1024;
/** One worker that stands still for so long in each holds less than RATE of them a second. */
const BLOCK_MS = 0.2;
const RATE = 6_000;
const HAS_IPV6 = os.networkInterfaces().lo?.some(({ family }) => family === 'IPv6') === true;
const SENDER = path.join(ROOT, 'dist', 'test', 'sources', 'sender.js');

t.setTimeout((MANY / RATE) * 4_000 + 240_000);

interface Counting {
  readonly runtime: Runtime;
  readonly source: DatagramSource;
  readonly failures: SourceFailure[];
  readonly seen: Int32Array;
  readonly counts: Int32Array;
  readonly by: Int32Array;
}

/** A runtime that runs test/fixtures/apps/counting.js with a source for it. */
async function counting(
  t: Test,
  options: Partial<DatagramOptions>,
  env: Record<string, string>,
  more: Partial<RuntimeOptions> = {},
): Promise<Counting> {
  const words = (count: number) => new Int32Array(new SharedArrayBuffer(4 * count));
  const shared = { seen: words(Math.max(MANY, FEW)), counts: words(3), by: words(8) };
  setEnvironmentData('udp', shared);
  const runtime = await start(t, app('counting.js'), {
    ...{ workers: 2, maxWorkers: 4, spares: 0, restarts: Number.POSITIVE_INFINITY, env },
    ...more,
  });
  runtime.on('error', () => {});
  const failures: SourceFailure[] = [];
  runtime.on('failure', (failure) => failures.push(failure));
  const source = runtime.sources.datagram({ name: 'udp', port: 0, host: '127.0.0.1', ...options });
  return { runtime, source, failures, ...shared };
}

/** Sends `count`, and resolves with how many were sent when all of them are accounted for. */
async function send(
  t: Test,
  { source }: Counting,
  count: number,
  rate: number,
  sockets = 1,
): Promise<number> {
  const args = [source.address.port, count, rate, sockets].map(String);
  const sender = new Running(t, process.execPath, [SENDER, ...args]);
  t.same(await sender.ended(), { code: 0, signal: null }, sender.stderr);
  const { sent, ms } = JSON.parse(sender.stdout) as { sent: number; ms: number };
  const open = () => {
    const { fired, dropped, running } = source.info();
    return sent - fired - (dropped ?? 0) + running;
  };
  // The kernel has them all by now; whoever reads may not.
  for (let tries = 0; open() > 0 && tries < 500; tries++) await sleep(20);
  t.comment(`${sent} sent in ${Math.round(ms)} ms, ${JSON.stringify(source.info())}`);
  return sent;
}

/** Drops that the kernel lists for `port` itself. */
function dropsOf(port: number): number {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readFileSync('/proc/net/udp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.endsWith(wanted))
    .reduce((sum, fields) => sum + Number(fields.at(-1)), 0);
}

/** Every datagram that the kernel delivered was handled, and none twice. */
function accounted(t: Test, { source, seen }: Counting, sent: number): void {
  const { fired, handled, failed, lost, running, dropped } = source.info();
  t.equal(fired + (dropped ?? 0), sent, 'what was not dropped was delivered');
  t.equal(dropsOf(source.address.port), dropped, 'the kernel lists the same drops');
  t.equal(handled + failed + lost, fired, 'what was delivered was handled, or is said to be lost');
  t.equal(running, 0);
  t.equal(
    seen.reduce((sum, times) => sum + times, 0),
    fired,
    'by handlers that saw it',
  );
  t.ok(
    seen.every((times) => times <= 1),
    'and none saw it twice',
  );
}

for (const sockets of ['shared', 'each'] as const) {
  t.test(`${MANY} datagrams at more than one worker holds: sockets ${sockets}`, async (t) => {
    const options = { sockets, receiveBufferBytes: BUFFER_BYTES };
    const all = await counting(t, options, { BLOCK_MS: String(BLOCK_MS) });
    const sent = await send(t, all, MANY, RATE, sockets === 'each' ? 64 : 1);
    t.equal(sent, MANY);
    accounted(t, all, sent);
    const [one = 0, other = 0] = all.by;
    t.ok(Math.min(one, other) > MANY / 10, `${one} and ${other}: both take part`);
    t.same(all.failures, []);
    await all.source.close();
    await all.runtime.close();
  });
}

t.test('workers that die while they handle some', async (t) => {
  for (const sockets of ['shared', 'each'] as const) {
    const all = await counting(t, { sockets }, { WAIT_MS: '5', FATAL: '500', FAILING: '300' });
    const sent = await send(t, all, FEW, 3_000, 16);
    accounted(t, all, sent);
    const { lost, failed } = all.source.info();
    t.ok(lost >= 3, `${lost} are lost`);
    t.ok(failed >= 1, `${failed} have failed`);
    const times = (code: string) =>
      all.failures
        .filter(({ error }) => error.code === code)
        .reduce((sum, failure) => sum + failure.times, 0);
    t.equal(times('ERR_GYRE_EVENT_LOST'), lost, 'each is told of');
    t.ok(times('ERR_GYRE_EVENT_FAILED') > 0);
    await all.runtime.close();
  }
});

t.test('reloads and resizing lose nothing', async (t) => {
  for (const sockets of ['shared', 'each'] as const) {
    const all = await counting(t, { sockets }, { WAIT_MS: '2' });
    const sending = send(t, all, FEW, 1_500, 16);
    await all.runtime.reload();
    await all.runtime.resize(3);
    await all.runtime.resize(1);
    const sent = await sending;
    accounted(t, all, sent);
    t.equal(all.source.info().lost, 0);
    t.same(all.failures, []);
    await all.runtime.close();
  }
});

t.test('no more handlers at once than inFlightMax', async (t) => {
  const all = await counting(t, { inFlightMax: 3 }, { WAIT_MS: '1' });
  accounted(t, all, await send(t, all, 1_000, 5_000));
  t.ok((all.counts[2] as number) <= 3, `${all.counts[2]} at once in one worker`);
  t.ok((all.counts[1] as number) > 3, `${all.counts[1]} at once in all`);
  await all.runtime.close();
});

t.test('one after the other, where that is wanted, through reloads too', async (t) => {
  const all = await counting(t, { concurrent: false }, { WAIT_MS: '1' });
  const sending = send(t, all, 600, 1_000);
  await all.runtime.reload();
  accounted(t, all, await sending);
  t.equal(all.counts[1], 1, 'never two at once');
  await all.runtime.close();
});

t.test('what the kernel drops is counted', async (t) => {
  const all = await counting(t, { receiveBufferBytes: 4_096 }, { BLOCK_MS: '20' });
  const sent = await send(t, all, 500, 100_000);
  accounted(t, all, sent);
  const before = all.source.info();
  t.ok((before.dropped ?? 0) > 0, `${before.dropped} of ${sent}`);
  await all.source.close();
  t.same(all.source.info().dropped, before.dropped, 'after it was closed, too');
  await all.runtime.close();
});

t.test('a handler knows who sent it, and may answer', async (t) => {
  const before = descriptors().size;
  for (const [host, type] of [
    ['127.0.0.1', 'udp4'],
    ['::1', 'udp6'],
  ] as const) {
    if (type === 'udp6' && !HAS_IPV6) continue;
    const { runtime, told } = await events(t, ['udp:0', 'mine'], {});
    const source = runtime.sources.datagram({ name: 'mine', port: 0, host });
    t.match(source.address, { address: host, family: type === 'udp4' ? 'IPv4' : 'IPv6' });
    const client = dgram.createSocket(type);
    client.connect(source.address.port, host);
    await once(client, 'connect');
    client.send('hello');
    const [answer] = (await once(client, 'message')) as [Buffer];
    t.equal(String(answer), 'got it');
    client.send('');
    const [first, empty] = await told.count(2, 'begun');
    const { address, port, family } = client.address();
    t.same(first?.payload, { text: 'hello', from: { address, port, family } });
    t.equal(empty?.payload.text, '', 'an empty one is one');
    t.ok((first?.id as number) < 0 && first?.id !== empty?.id);
    await told.count(2, 'settled');
    client.close();
    await source.close();
    await runtime.close();
  }
  t.equal(descriptors().size, before, 'every socket is closed');
});

t.test('datagrams that came before anybody handled them wait in the kernel', async (t) => {
  const { runtime, told } = await events(t, ['job'], {});
  const source = runtime.sources.datagram({ port: 0, host: '127.0.0.1' });
  t.match(source.name, /^udp:\d+$/);
  const client = dgram.createSocket('udp4');
  client.send('hello', source.address.port, '127.0.0.1');
  await sleep(50); // nothing is what is tested
  t.match(source.info(), { fired: 0, handlers: 0, dropped: 0 });
  t.same(told.all, []);
  client.close();
  await source.close();
});
