/**
 * The job pool by itself, with real threads: those that do not start, and many ends at once.
 */
import { once } from 'node:events';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import t, { type Test } from 'tap';
import type { GyreError } from '../../src/errors.js';
import { jobAt } from '../../src/job-request.js';
import type { JobFailure } from '../../src/protocol.js';
import { Jobs, type JobsOptions } from '../../src/runtime/jobs.js';
import { ROOT } from '../support/app.js';
import { Gate } from '../support/gate.js';

const FILE = path.join(ROOT, 'test', 'fixtures', 'jobs', 'functions.js');
const fn = (name: string) => new URL(`#${name}`, pathToFileURL(FILE));
/** Seeds of the test that ends jobs at random. */
const SEEDS = Number(process.env.GYRE_TEST_SEEDS ?? 4);

t.setTimeout(60_000); // of all tests in this file together

function pool(t: Test, options: Partial<JobsOptions> = {}) {
  const reported: GyreError[] = [];
  const jobs = new Jobs(
    {
      ...{ name: 'test', names: {}, threads: 2, queueMax: 1_000, idleMs: 60_000 },
      ...{ resourceLimits: undefined, seed: 1, cpus: null, inherited: null, parallelism: 1 },
      ...{ niceIncrement: 0, env: () => process.env },
      ...options,
    },
    (error) => reported.push(error),
  );
  t.teardown(() => jobs.close());
  return { jobs, reported };
}

t.test('where no thread starts every job settles', async (t) => {
  const env = () => ({ ...process.env, NODE_OPTIONS: '--require /nowhere.js' });
  const { jobs, reported } = pool(t, { env });
  const all = Array.from({ length: 5 }, () => jobs.run(fn('thread'), null, {}));
  for (const each of await Promise.allSettled(all)) {
    t.match(each, {
      status: 'rejected',
      reason: { code: 'ERR_GYRE_JOB_CRASHED', cause: { code: 'MODULE_NOT_FOUND' } },
    });
  }
  t.ok(reported.length > 0, 'and it is said why');
  t.match(jobs.snapshot(), { crashed: 5, running: 0, waiting: 0, threads: [] });
});

t.test('a port that closed while its job waited is no harm', async (t) => {
  const { jobs } = pool(t, { threads: 1 });
  const gate = new Gate();
  const held = jobs.run(fn('wait'), { gate: gate.words }, {});
  await gate.whenBegun(1);
  const told: JobFailure[] = [];
  const asker = { index: 0, send: (message: JobFailure) => told.push(message) };
  const { port1, port2 } = new MessageChannel();
  const closed = once(port2, 'close');
  port1.close();
  await closed;
  jobs.ask(asker, 1, jobAt(fn('thread')), port2);
  gate.open();
  await held;
  await jobs.run(fn('thread'), null, {});
  t.match(told, [{ kind: 'job-failed', id: 1 }]);
  t.match(jobs.snapshot(), { finished: 2, failed: 1, crashed: 0, running: 0, waiting: 0 });
});

// Whatever happens to jobs, each settles exactly once, and the pool goes on.
for (let seed = 1; seed <= SEEDS; seed++) {
  t.test(`ends at random, seed ${seed}`, async (t) => {
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (state >>> 8) % below;
    };
    const { jobs } = pool(t, { threads: 3, queueMax: 20 });
    const counts = new Map<string, number>();
    const note = (what: string) => {
      counts.set(what, (counts.get(what) ?? 0) + 1);
    };
    const all: Promise<void>[] = [];
    for (let i = 0; i < 150; i++) {
      const abort = new AbortController();
      const kind = random(10);
      const name = kind === 0 ? 'exit' : kind === 1 ? 'crash' : kind === 2 ? 'fail' : 'burn';
      const options = kind % 2 === 0 ? { signal: abort.signal } : {};
      const job = jobs.run(fn(name), kind < 2 ? 1 : random(8), options);
      all.push(
        job.then(
          () => note('done'),
          ({ code, name }) => note(code ?? name),
        ),
      );
      if (random(3) === 0) setImmediate(() => abort.abort());
      if (random(4) === 0) await Promise.race(all.slice(-3));
    }
    await Promise.all(all);
    t.comment(Object.fromEntries(counts));
    const { asked, finished, failed, crashed, cancelled, refused, ...now } = jobs.snapshot();
    t.match(now, { running: 0, waiting: 0 });
    t.equal(finished + failed + crashed + cancelled + refused, asked);
    t.equal(finished, counts.get('done') ?? 0);
    t.equal(cancelled, counts.get('ABORT_ERR') ?? 0);
    t.equal(crashed, counts.get('ERR_GYRE_JOB_CRASHED') ?? 0);
    t.type(await jobs.run(fn('thread'), null, {}), 'number');
    await jobs.close();
    t.same(jobs.snapshot().threads, []);
  });
}
