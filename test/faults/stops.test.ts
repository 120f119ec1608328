/**
 * What stands still because somebody outside holds it, under steady traffic: the whole process
 * (SIGSTOP, as of a shell, a debugger or a container that is paused), and one thread of it, which a
 * tracer does not let go on. Whoever had asked waits; nobody is lost. And a worker that stands still
 * because of its own program, for good.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { seededRandom } from '../../src/scheduler/random.js';
import { Host, type HostEvent } from '../moving/host.js';
import { Injection, reasonAgainst, threadOf } from '../moving/injection.js';
import { app, HOST, portOf } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { Talk } from './exchange.js';
import { comesBackTo, footprintOf } from './footprint.js';
import { Ledger } from './ledger.js';
import { SCALED, scaled, timeLimit } from './scale.js';
import { Newcomers, Steady, warmUp } from './steady.js';

const seed = testSeed();

const LANES = 32;
const PER_SECOND = 400;
const STOPS = scaled(2, 30);
/** How long somebody stands still. */
const STILL_MS = 1_200;
/** Less than that: it must not take for a hang what is none, and must end what is one. */
const HANG_MS = 400;

/** For a handler that never returns. */
const LOOP_MS = 1_500;
const LOOPS = scaled(2, 10);

/** What a worker's event loop does between any two events. */
const SLEEP = 'epoll_pwait';

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(600_000));

async function stage(t: Test, hangMs: number) {
  const ledger = new Ledger(t);
  const host = await Host.start(
    t,
    { entry: app('verify.js'), workers: 2, spares: 0, hangMs },
    { env: ledger.env },
  );
  const to = { host: HOST, port: portOf(await host.facts()) };
  await warmUp(to, seed);
  const before = await footprintOf(host);
  const load = await Steady.start({
    ...{ to, seed, connections: LANES, perSecond: PER_SECOND, delayMs: 5, ledger },
  });
  return { host, to, before, load, newcomers: new Newcomers({ to, seed, ledger }, 2, 20) };
}

/** T, as proc(5) calls it, for stopped by a signal. */
function stateOf(pid: number): string {
  return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
}

/** Resolves when `load` has been answered so often since now. */
function answered(load: Steady, times: number): Promise<void> {
  const before = load.answers;
  return load.until(() => load.answers >= before + times);
}

t.test(`a process that is stopped for ${STILL_MS} ms, ${STOPS} times`, async (t) => {
  const { host, before, load, newcomers } = await stage(t, HANG_MS);
  for (let nth = 0; nth < STOPS; nth++) {
    await answered(load, PER_SECOND / 4);
    const latencies = load.measure();
    process.kill(host.pid, 'SIGSTOP');
    await sleep(STILL_MS); // what is tested
    t.equal(stateOf(host.pid), 'T');
    process.kill(host.pid, 'SIGCONT');
    await answered(load, PER_SECOND / 4);
    const { p50, max } = latencies.percentiles();
    t.comment(`ms: p50 ${p50}, max ${max}`);
  }
  await load.stop();
  await newcomers.stop();
  t.ok(load.unharmed && newcomers.unharmed, 'nobody was lost, refused or answered wrongly');
  t.notOk(
    host.events.some(({ name }) => name === 'hang' || name === 'exit'),
    'and no worker was taken for one that hangs',
  );
  await comesBackTo(t, host, before);
  await host.close(t);
});

t.test(`a handler that never returns, hangMs ${LOOP_MS}, ${LOOPS} times`, async (t) => {
  const { host, to, before, load, newcomers } = await stage(t, LOOP_MS);
  for (let nth = 0; nth < LOOPS; nth++) {
    const talk = await Talk.open(to, seededRandom(seed + nth));
    const hangs = host.events.length;
    const since = (name: HostEvent['name']) =>
      host.events.slice(hangs).findLast((event) => event.name === name);
    const latencies = load.measure();
    const begun = performance.timeOrigin + performance.now();
    const lost = talk.ask({ query: 'die=loop' });
    await host.until(() => since('listening') !== undefined);
    const { p50, p99, max } = latencies.percentiles();
    const backMs = (since('listening')?.at ?? Number.NaN) - begun;
    t.comment(`others, ms: p50 ${p50}, p99 ${p99}, max ${max}; back after ${backMs.toFixed(0)} ms`);
    if (SCALED) {
      t.ok(p99 < 50, 'others notice little');
      t.ok(backMs < LOOP_MS + 1_000, 'and it is back soon');
    }
    t.match(await lost, { asked: true }, 'nobody answers it');
  }
  await host.until((events) => events.filter(({ name }) => name === 'exit').length === LOOPS);
  await load.stop();
  await newcomers.stop();
  const others = [...load.losses, ...newcomers.losses];
  t.same([load.wrong, newcomers.wrong], [[], []], 'no answer was wrong, or did not come');
  t.same([load.refused, newcomers.refused], [[], []], 'nobody was refused');
  t.comment(`${others.length} others lost`);
  const ended = host.events.filter(({ name }) => name === 'exit').map(({ threadId }) => threadId);
  t.same(
    others.filter(({ owner }) => !ended.includes(owner)),
    [],
    'whoever was lost was with one that was replaced',
  );
  await comesBackTo(t, host, before);
  await host.close(t, null, (await host.facts()).errors);
});

const skip = reasonAgainst() ?? false;

t.test('a worker whose thread is not let go on', { skip }, async (t) => {
  const { host, before, load, newcomers } = await stage(t, 30_000);
  for (let nth = 0; nth < STOPS; nth++) {
    const latencies = load.measure();
    const held = `${SLEEP}:delay_enter=${STILL_MS}ms:when=1`;
    const tid = threadOf(host.pid, /-w0$/);
    const injection = await Injection.start(t, [tid], [held], path.join(folder(t), 'trace'));
    // It is held from its next sleep on.
    await load.until(() => injection.count() > 0);
    await load.round();
    t.equal(await injection.stop(), 1, 'it stood still');
    const { p50, p90, max } = latencies.percentiles();
    t.comment(`ms: p50 ${p50}, p90 ${p90}, max ${max}`);
  }
  await load.stop();
  await newcomers.stop();
  t.ok(load.unharmed && newcomers.unharmed, 'nobody was lost, refused or answered wrongly');
  await comesBackTo(t, host, before);
  await host.close(t);
});

t.test('a worker whose thread is not let go on for longer than hangMs', { skip }, async (t) => {
  const { host, before, load, newcomers } = await stage(t, HANG_MS);
  const held = `read:delay_enter=${STILL_MS * 2}ms:when=1`;
  const tid = threadOf(host.pid, /-w0$/);
  const injection = await Injection.start(t, [tid], [held], path.join(folder(t), 'trace'));
  await host.until((events) => events.some(({ name }) => name === 'hang'));
  const hung = host.events.find(({ name }) => name === 'hang');
  await host.until((events) =>
    events.some(({ name, threadId }) => name === 'exit' && threadId === hung?.threadId),
  );
  t.equal(await injection.stop(), 1, 'it stood still');
  await load.stop();
  await newcomers.stop();
  t.same([load.wrong, newcomers.wrong], [[], []], 'no answer was wrong, or did not come');
  t.same([load.refused, newcomers.refused], [[], []], 'nobody was refused');
  const lost = [...load.losses, ...newcomers.losses];
  t.same(
    lost.filter(({ owner }) => owner !== hung?.threadId),
    [],
    'whoever was lost was with the one that was replaced',
  );
  t.comment(`${lost.length} lost`);
  await comesBackTo(t, host, before);
  await host.close(t, null, (await host.facts()).errors);
});
