/**
 * Rolling reloads under steady traffic: no request fails, no connection that is kept alive is
 * closed, and each ends on the new program; from clients, and from a balancer that keeps its own
 * connections to the server.
 */
import t, { type Test } from 'tap';
import { Recorder } from '../../bench/latencies.js';
import { Host } from '../moving/host.js';
import { app, HOST, portOf } from '../support/app.js';
import { skipWithout } from '../support/programs.js';
import { testSeed } from '../support/seed.js';
import { versioned } from '../support/versioned.js';
import { comesBackTo, footprintOf } from './footprint.js';
import { Haproxy } from './haproxy.js';
import { SCALED, scaled, timeLimit } from './scale.js';
import { Newcomers, Steady, warmUp } from './steady.js';

const seed = testSeed();

const RELOADS = scaled(4, 200);
/** malloc's arenas do not shrink: 52 to 59 MB after 200, each with twice as many threads for a while. */
const GROWTH_MB = 96;
const LANES = 64;
const PER_SECOND = SCALED ? 2_000 : 500;
/** Longest wait of a request before its answer, so that some are in flight in each reload. */
const DELAY_MS = 20;
const DRAIN_MS = 10_000;

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(1_800_000));

async function stage(t: Test) {
  const { env, write } = versioned(t);
  const host = await Host.start(
    t,
    { entry: app('verify.js'), workers: 2, spares: 0, drainMs: DRAIN_MS },
    { env },
  );
  const port = portOf(await host.facts());
  await warmUp({ host: HOST, port }, seed);
  return { host, port, write, before: await footprintOf(host) };
}

/** Whether everybody was answered last by program `version`. */
function allOn({ last }: Steady, version: number): boolean {
  return last.every((answered) => answered?.program === String(version));
}

t.test(`${RELOADS} reloads`, async (t) => {
  const { host, port, write, before } = await stage(t);
  const to = { host: HOST, port };
  const idle = await Steady.start({ to, seed, connections: 16, perSecond: 0 });
  const load = await Steady.start({
    ...{ to, seed, connections: LANES, perSecond: PER_SECOND, delayMs: DELAY_MS },
  });
  const newcomers = new Newcomers({ to, seed }, 2, 20);
  const latencies = load.measure();
  const took = new Recorder();
  for (let version = 2; version <= RELOADS + 1; version++) {
    write(version);
    const begun = performance.now();
    t.equal((await host.reload(DRAIN_MS)).refused, null);
    took.record(performance.now() - begun);
    await load.round();
    t.ok(allOn(load, version), 'every connection is on the new program');
    // A connection that never says anything may stay idle through several reloads.
    if (version % 2 === 0) {
      await idle.round();
      t.ok(allOn(idle, version), 'those that were idle, too');
    }
  }
  await load.stop();
  await newcomers.stop();
  await idle.stop();
  const { p50, p99, max } = latencies.percentiles();
  const reload = took.percentiles();
  t.comment(`a reload took ms: p50 ${reload.p50}, p99 ${reload.p99}, max ${reload.max}`);
  t.comment(`${load.answers} answers; ms: p50 ${p50}, p99 ${p99}, max ${max}`);
  t.comment(`${newcomers.answers} answers to newcomers`);
  for (const each of [load, idle, newcomers]) {
    const { losses, refused, wrong } = each;
    t.same({ losses, refused, wrong }, { losses: [], refused: [], wrong: [] });
  }
  await comesBackTo(t, host, before, GROWTH_MB);
  await host.close(t);
});

const skip = skipWithout('haproxy');

t.test(`${RELOADS} reloads behind haproxy`, { skip }, async (t) => {
  const { host, port, write, before } = await stage(t);
  const haproxy = await Haproxy.start(t, port);
  const to = { host: HOST, port: haproxy.port };
  // As many connections to the server as it can come to need: all ask at once, and wait.
  const options = { to, seed, connections: LANES, perSecond: PER_SECOND, delayMs: DELAY_MS };
  const load = await Steady.start({ ...options, first: { size: 1, query: 'delay=1000' } });
  const opened = await haproxy.counts();
  const latencies = load.measure();
  for (let version = 2; version <= RELOADS + 1; version++) {
    write(version);
    t.equal((await host.reload(DRAIN_MS)).refused, null);
    await load.round();
    t.ok(allOn(load, version), 'every answer comes from the new program');
  }
  await load.stop();
  const { p50, p99, max } = latencies.percentiles();
  t.comment(`${load.answers} answers; ms: p50 ${p50}, p99 ${p99}, max ${max}`);
  const { losses, refused, wrong } = load;
  t.same({ losses, refused, wrong }, { losses: [], refused: [], wrong: [] });
  const counts = await haproxy.counts();
  t.comment(`haproxy: ${JSON.stringify(counts)}`);
  t.match(counts, { econ: 0, eresp: 0, srv_abrt: 0 }, 'haproxy saw no failure');
  t.equal(counts.connect, opened.connect, 'and opened no connection: none was closed');
  process.kill(haproxy.pid, 'SIGKILL');
  await comesBackTo(t, host, before, GROWTH_MB);
  await host.close(t);
});
