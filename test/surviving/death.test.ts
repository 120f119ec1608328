/**
 * Workers that die are started again, and nobody notices but those whose requests they had.
 */
import t, { type Test } from 'tap';
import { createRuntime, type Runtime, type WorkerEnd } from '../../src/index.js';
import { type Facts, Host, type HostEvent } from '../moving/host.js';
import { KeptAlive } from '../moving/kept-alive.js';
import { app, get, HOST, portOf, start } from '../support/app.js';
import { idleConnections, Lanes, served } from './lanes.js';

const LANES = 32;
/** Deaths of each kind. */
const DEATHS = Number(process.env.GYRE_TEST_DEATHS ?? 3);

t.setTimeout(280_000); // of all tests in this file together

function named(facts: Facts, name: HostEvent['name']): readonly HostEvent[] {
  return facts.events.filter((event) => event.name === name);
}

/** All serve. */
function whole({ workers }: Facts): boolean {
  return workers.every(({ state }) => state === 'serving');
}

function serve(t: Test, workers: number): Promise<Host> {
  return Host.start(t, {
    ...{
      entry: app('survivor.js'),
      workers,
      spares: 0,
      restarts: 100_000,
    },
    resourceLimits: { maxOldGenerationSizeMb: 48 },
    recycleAtHeapRatio: 0,
  });
}

for (const workers of [2, 1]) {
  for (const kind of ['throw', 'reject', 'exit', 'heap']) {
    t.test(`${DEATHS} deaths by ${kind}, of ${workers}`, async (t) => {
      const host = await serve(t, workers);
      const first = await host.facts();
      const to = { host: HOST, port: portOf(first) };
      const idle = await idleConnections(t, first, LANES);
      for (let death = 1; death <= DEATHS; death++) {
        const killer = new KeptAlive(to);
        await t.rejects(killer.ask(`/${kind}`), 'what it had in flight is lost');
        killer.close();
        const mended = await host.factsWhen(
          (facts) => named(facts, 'exit').length === death && whole(facts),
        );
        t.ok(whole(mended), 'another serves in its place');
        t.same(
          mended.workers.map(({ cpu }) => cpu),
          first.workers.map(({ cpu }) => cpu),
          'on the same CPU',
        );
      }
      // Out of memory no JavaScript runs any more.
      if (kind !== 'heap') {
        const answers = await Promise.allSettled(idle.map(served));
        t.equal(
          answers.filter(({ status }) => status === 'rejected').length,
          0,
          'no idle connection was lost',
        );
      }
      for (const connection of idle) connection.close();
      await host.close(t, null, (await host.facts()).errors);
    });
  }
}

t.test('no connection is refused while workers die, all at once, too', async (t) => {
  const host = await serve(t, 2);
  const facts = await host.facts();
  const to = { host: HOST, port: portOf(facts) };
  const refused: string[] = [];
  let over = false;
  const newcomers = (async () => {
    while (!over) {
      const connection = new KeptAlive(to);
      await served(connection).catch((error: NodeJS.ErrnoException) => {
        // One that a dying worker was reading from is in flight on it.
        if (error.code === 'ECONNREFUSED') refused.push(error.message);
      });
      connection.close();
    }
  })();
  // What one that dies had not read yet kills the next, too: each round is several deaths.
  for (let round = 1; round <= 3; round++) {
    const killers = Array.from({ length: 3 }, () => new KeptAlive(to));
    await Promise.allSettled(killers.map((killer) => killer.ask('/throw')));
    for (const killer of killers) killer.close();
    t.ok(whole(await host.factsWhen(whole)));
  }
  over = true;
  await newcomers;
  t.same(refused, []);
  // Of the last deaths main may hear yet.
  await host.close(t, null, /thrown on purpose/);
});

t.test('requests in flight on others are answered', async (t) => {
  const host = await serve(t, 2);
  const facts = await host.facts();
  const lanes = new Lanes(t, facts, LANES, 1);
  for (let death = 1; death <= DEATHS; death++) {
    const killer = new KeptAlive({ host: HOST, port: portOf(facts) });
    await t.rejects(killer.ask('/exit'));
    killer.close();
    await host.factsWhen((now) => named(now, 'exit').length === death && whole(now));
  }
  await lanes.stop();
  // A lane whose request was being read by the one that died.
  t.ok(
    lanes.lost.length <= DEATHS * 4,
    `${lanes.lost.length} requests were lost with their workers`,
  );
  t.ok(lanes.answers > LANES * 10);
  await host.close(t, null, (await host.facts()).errors);
});

/** Ends of workers, as they come. */
function endsOf(runtime: Runtime): WorkerEnd[] {
  const ends: WorkerEnd[] = [];
  runtime.on('exit', (end) => ends.push(end));
  runtime.on('error', () => {});
  return ends;
}

function until(runtime: Runtime, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (holds()) resolve();
    };
    for (const event of ['exit', 'listening', 'worker', 'close'] as const) runtime.on(event, look);
    look();
  });
}

t.test('one that dies again and again is started ever later', async (t) => {
  const runtime = await start(t, app('dies-soon.js'), { workers: 1, restarts: 100 });
  const ends = endsOf(runtime);
  await until(runtime, () => ends.length >= 4);
  const delays = ends.slice(0, 4).map(({ restartInMs }) => restartInMs ?? -1);
  for (const [nth, delay] of delays.entries()) {
    const expected = 100 * 2 ** nth;
    t.ok(Math.abs(delay - expected) <= expected / 4 + 1, `${delay} ms is ${expected} or so`);
  }
});

t.test('too many deaths stop the runtime, with one clear error', async (t) => {
  const runtime = await createRuntime({
    ...{ entry: app('survivor.js'), workers: 2, spares: 0, restarts: 2 },
  });
  const ends = endsOf(runtime);
  const errors: string[] = [];
  runtime.on('error', ({ code }) => errors.push(code));
  const closed = new Promise((resolve) => runtime.once('close', resolve as () => void));
  const port = portOf(runtime);
  for (let death = 1; death <= 3; death++) {
    await t.rejects(get({ port, path: '/throw' }));
    // After the last it closes, and may have done so before anybody looks.
    if (death < 3) await until(runtime, () => ends.length >= death);
  }
  await closed;
  t.equal(errors.filter((code) => code === 'ERR_GYRE_RESTARTS').length, 1);
  t.equal(runtime.state, 'closed');
  await t.rejects(runtime.reload(), { code: 'ERR_GYRE_CLOSED' });
});

t.test('one that has nothing left to do is not started again', async (t) => {
  const runtime = await start(t, app('ends.js'), { workers: 2 });
  await new Promise((resolve) => runtime.once('close', resolve as () => void));
  t.equal(runtime.state, 'closed');
});
