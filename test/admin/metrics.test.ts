/**
 * What `/metrics` says is what happens: of busy, stuck, dying and reloaded workers, and of the
 * application's own metrics. Prometheus's tools read it.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import type { Runtime, RuntimeOptions } from '../../src/index.js';
import { type Answer, app, get, getFromEach, portOf, ROOT, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { skipWithout } from '../support/programs.js';
import { Running } from '../support/running.js';
import { ask, statusOf, statusWhen, sumOf, valuesIn, whereOf } from './asking.js';

const JOBS = path.join(ROOT, 'test', 'fixtures', 'jobs', 'functions.js');
const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0';

function startCounted(t: Test, options: Partial<RuntimeOptions> = {}): Promise<Runtime> {
  const admin = { listen: '127.0.0.1:0', requestTimes: true };
  return start(t, app('counted.mjs'), { workers: 2, spares: 0, admin, ...options });
}

async function metricsOf({ admin }: Runtime, accept = ''): Promise<string> {
  const { status, body } = await ask(whereOf(admin.endpoint), '/metrics', { headers: { accept } });
  if (status !== 200) throw new Error(`${status}: ${body}`);
  return body;
}

function total(text: string, series: string): number {
  return valuesIn(text, series).reduce((sum, value) => sum + value, 0);
}

/** Index of the worker that answered. */
const who = ({ body }: Answer) => Number(body);

/** `count` requests to each of two workers. */
async function askEach(runtime: Runtime, count: number): Promise<number> {
  let asked = 0;
  const counts = [0, 0];
  while (Math.min(...counts) < count) {
    const index = who(await get(portOf(runtime)));
    counts[index] = (counts[index] ?? 0) + 1;
    asked++;
  }
  return asked;
}

t.test('promtool accepts it', { skip: skipWithout('promtool', 'prometheus') }, async (t) => {
  const runtime = await startCounted(t, {
    admin: { listen: '127.0.0.1:0', applicationMetrics: false }, // prom-client's are not all as they should be
  });
  await askEach(runtime, 2);
  const input = await metricsOf(runtime);
  const { status, stderr, stdout } = spawnSync('promtool', ['check', 'metrics'], { input });
  t.equal(status, 0, `${stdout}${stderr}`.slice(0, 2_000));
  // And it can go red.
  const bad = `${input}\n# TYPE bad_total gauge\nbad_total 1\n`;
  t.not(spawnSync('promtool', ['check', 'metrics'], { input: bad }).status, 0);
});

t.test('a Prometheus scrapes it, with a token', { skip: skipWithout('prometheus') }, async (t) => {
  const token = 'a-token-of-the-test';
  const runtime = await startCounted(t, { admin: { listen: '127.0.0.1:0', token } });
  const asked = await askEach(runtime, 2);
  const { port } = runtime.admin.endpoint as { port: number };
  const web = net.createServer().listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port: webPort } = web.address() as net.AddressInfo;
  web.close();
  const directory = t.testdir({
    'prometheus.yml': JSON.stringify({
      global: { scrape_interval: '1s', scrape_timeout: '1s' },
      scrape_configs: [
        {
          job_name: 'gyre',
          authorization: { credentials: token },
          static_configs: [{ targets: [`127.0.0.1:${port}`] }],
        },
      ],
    }),
  });
  const server = new Running(t, 'prometheus', [
    `--config.file=${path.join(directory, 'prometheus.yml')}`,
    `--storage.tsdb.path=${path.join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${webPort}`,
  ]);
  await server.says(/Server is ready to receive web requests/);
  const query = async (promQl: string) => {
    const target = `/api/v1/query?query=${encodeURIComponent(promQl)}`;
    const { body } = await get({ port: webPort, path: target });
    const { data } = JSON.parse(body) as { data: { result: { value: [number, string] }[] } };
    return data.result.map(({ value }) => Number(value[1]));
  };
  let up: number[] = [];
  // It takes 5 s until it looks at its targets for the first time; and on a busy machine an answer comes
  // too late for it now and then.
  for (let tries = 0; tries < 600 && up[0] !== 1; tries++) {
    up = await query('up{job="gyre"}');
    if (up[0] !== 1) await sleep(50);
  }
  t.same(up, [1], 'it speaks OpenMetrics, as Prometheus asks for');
  t.same(await query('sum(gyre_worker_requests_total)'), [asked]);
  t.same(await query('sum(shop_orders_total)'), [asked], 'the application’s own');
});

t.test('requests, connections, iterations and threads are counted', async (t) => {
  const runtime = await startCounted(t);
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const asked = await askEach(runtime, 3);
  await get({ port: portOf(runtime), agent, path: '/burn?ms=70' });
  const text = await metricsOf(runtime);
  t.equal(total(text, 'gyre_worker_requests_total'), asked + 1);
  t.ok(valuesIn(text, 'gyre_worker_requests_total').every((each) => each >= 3));
  t.equal(total(text, 'gyre_worker_request_duration_seconds_count'), asked + 1);
  const burnt = total(text, 'gyre_worker_request_duration_seconds_sum');
  t.ok(burnt > 0.07 && burnt < 5, `${burnt} s`);
  const under = (le: number) =>
    total(text, `gyre_worker_request_duration_seconds_bucket{le="${le}"`);
  t.ok(under(0.065536) <= asked, 'the long one is in no lower bucket');
  t.equal(under(16.777216), asked + 1);
  const came =
    total(text, 'gyre_worker_accepted_total') + total(text, 'gyre_worker_received_total');
  t.ok(came >= asked + 1);
  t.equal(total(text, 'gyre_worker_connections'), 1);
  t.ok(total(text, 'gyre_worker_events_total') >= asked);
  t.ok(
    total(text, 'gyre_worker_loops_total') >= total(text, 'gyre_worker_iteration_seconds_count'),
  );
  const long = total(text, 'gyre_worker_iteration_seconds_count');
  t.ok(total(text, 'gyre_worker_iteration_seconds_bucket{le="0.065536"') < long, 'so is its turn');
  t.equal(valuesIn(text, 'gyre_worker_heap_used_bytes').length, 2);
  t.ok(valuesIn(text, 'gyre_worker_heap_used_bytes').every((bytes) => bytes > 1e6));
  t.ok(valuesIn(text, 'gyre_worker_cpu_seconds_total').every((seconds) => seconds > 0.01));
  t.same(valuesIn(text, 'gyre_worker_state{worker="0",state="serving"}'), [1]);
  t.same(valuesIn(text, 'gyre_state{state="serving"}'), [1]);

  const before = await statusOf(runtime);
  await sleep(300); // what is measured
  const after = await statusOf(runtime);
  const seconds = (after.takenAtMs - before.takenAtMs) / 1e3;
  for (const [i, { idleSeconds }] of after.workers.entries()) {
    const idle = (idleSeconds ?? 0) - (before.workers[i]?.idleSeconds ?? 0);
    t.ok(idle > 0.5 * seconds && idle < 1.1 * seconds, `idle for ${idle} of ${seconds} s`);
  }
});

t.test('of a worker that stands still all is known that it need not say', async (t) => {
  const runtime = await startCounted(t, { scheduler: { move: false }, hangMs: 0 });
  await askEach(runtime, 1);
  await metricsOf(runtime);
  const first = await statusOf(runtime);
  const burning = get({ port: portOf(runtime), path: '/burn?ms=1500' });
  const stuck = (status: typeof first) =>
    status.workers.find(({ stuckSeconds }) => stuckSeconds > 0.3);
  const seen = await statusWhen(runtime, (status) => stuck(status) !== undefined);
  const worker = stuck(seen);
  t.ok(worker);
  const earlier = first.workers.find(({ index }) => index === worker?.index);
  const other = seen.workers.find(({ index }) => index !== worker?.index);
  t.ok((worker?.cpuSeconds ?? 0) > (earlier?.cpuSeconds ?? 0) + 0.01, 'its CPU time');
  t.ok((worker?.heap?.ageSeconds ?? 0) > (other?.heap?.ageSeconds ?? 1), 'its heap as it was');
  t.ok((other?.heap?.ageSeconds ?? 1) < 0.45, 'the others have just said it');
  const began = performance.now();
  const text = await metricsOf(runtime);
  t.ok(performance.now() - began < 1_000, 'a scrape does not wait for it');
  t.equal(total(text, 'shop_workers'), 2, 'what it counted last is still in the sum');
  t.equal(who(await burning), worker?.index);
  const again = await statusWhen(runtime, ({ workers }) =>
    workers.every(({ stuckSeconds, heap }) => stuckSeconds < 0.1 && (heap?.ageSeconds ?? 1) < 0.2),
  );
  t.equal(sumOf(again, 'requests'), sumOf(first, 'requests') + 1);
});

t.test('counts outlive deaths and reloads', async (t) => {
  const runtime = await startCounted(t);
  runtime.on('error', () => {});
  await askEach(runtime, 3);
  const first = await metricsOf(runtime);
  const counted = ['gyre_worker_requests_total', 'gyre_worker_loops_total', 'shop_orders_total'];
  const idle = 'gyre_worker_idle_seconds_total';
  await t.rejects(get({ port: portOf(runtime), path: '/exit' }));
  await statusWhen(
    runtime,
    (status) =>
      sumOf(status, 'restarts') === 1 && status.workers.every(({ state }) => state === 'serving'),
  );
  const second = await metricsOf(runtime);
  await runtime.reload();
  const third = await metricsOf(runtime);
  for (const name of [...counted, idle, 'shop_order_size_count', 'shop_named_total']) {
    const [one, two, three] = [first, second, third].map((text) => total(text, name)) as [
      number,
      number,
      number,
    ];
    t.ok(one > 0 && two >= one && three >= two, `${name}: ${one}, ${two}, ${three}`);
  }
  t.equal(
    total(third, 'gyre_worker_exits_total{worker="0",reason="died"}') +
      total(third, 'gyre_worker_exits_total{worker="1",reason="died"}'),
    1,
  );
  t.equal(total(third, 'gyre_reloads_total'), 1);
  t.ok(total(third, 'gyre_worker_exits_total') >= 3);
  t.equal(total(third, 'shop_workers'), 2, 'a gauge is of those that live');
});

t.test('the application’s own metrics are one for all workers', async (t) => {
  const runtime = await startCounted(t);
  await getFromEach(portOf(runtime), 2, who);
  const asked = sumOf(await statusOf(runtime), 'requests');
  for (const accept of ['', OPEN_METRICS]) {
    const text = await metricsOf(runtime, accept);
    t.same(valuesIn(text, 'shop_orders_total{kind="a \\"quoted\\"\\nkind"}'), [asked]);
    t.same(valuesIn(text, 'shop_order_size_bucket{le="10"}'), [asked]);
    t.same(valuesIn(text, 'shop_order_size_sum'), [5 * asked]);
    t.same(valuesIn(text, 'shop_named_total'), [asked], 'a registry that was named, once');
    t.same(valuesIn(text, 'shop_workers'), [2], 'a sum by default');
    t.same(valuesIn(text, 'shop_oldest'), [1], 'or by the rule that it has');
    t.equal(
      valuesIn(text, 'process_cpu_seconds_total').length,
      1,
      'what gyre has itself is gyre’s',
    );
    const [resident = 0] = valuesIn(text, 'process_resident_memory_bytes');
    t.ok(Math.abs(resident - process.memoryUsage.rss()) < 50e6);
    const [virtual = 0] = valuesIn(text, 'process_virtual_memory_bytes');
    t.ok(virtual > 0);
    const names = text.match(/^# TYPE (\S+)/gm) ?? [];
    t.equal(new Set(names).size, names.length, 'no metric twice');
    if (accept !== '') t.match(text, /# EOF\n$/);
  }
  await getFromEach({ port: portOf(runtime), path: '/break' }, 2, who);
  const broken = await metricsOf(runtime);
  t.equal(total(broken, 'gyre_worker_metrics_failed'), 2);
  t.ok(total(broken, 'gyre_worker_requests_total') > asked, 'gyre’s own are there');
  t.match((await statusOf(runtime)).workers[0]?.metricsFailure, /broken on purpose/);
  const without = await startCounted(t, {
    admin: { listen: '127.0.0.1:0', applicationMetrics: false },
  });
  t.notMatch(await metricsOf(without), /shop_/);
});

t.test('accept queues, and whom they turned away', async (t) => {
  const entry = path.join(folder(t), 'queue.js');
  const source = `
    const server = require('node:http').createServer((request, response) => {
      for (const end = performance.now() + 1500; performance.now() < end; );
      response.end();
    });
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 });`;
  writeFileSync(entry, source);
  const runtime = await start(t, entry, {
    ...{ workers: 1, admin: '127.0.0.1:0', scheduler: { move: false } },
  });
  const port = portOf(runtime);
  const listener = async () => (await statusOf(runtime)).listeners[0];
  t.match(await listener(), { worker: 0, queue: 0, queueLimit: 1, dropped: 0 });
  const stuck = get(port).catch(() => {});
  await statusWhen(runtime, ({ workers }) => (workers[0]?.stuckSeconds ?? 0) > 0.05);
  const clients = Array.from({ length: 6 }, () =>
    net.connect(port, '127.0.0.1').on('error', () => {}),
  );
  t.teardown(() => {
    for (const client of clients) client.destroy();
  });
  await statusWhen(runtime, ({ listeners }) => (listeners[0]?.dropped ?? 0) >= 4);
  t.match(await listener(), { queue: 2 }, 'Linux takes one more than the limit');
  const text = await metricsOf(runtime);
  const labels = `{address="127.0.0.1:${port}",worker="0"}`;
  t.same(valuesIn(text, `gyre_listener_queue_connections${labels}`), [2]);
  t.ok(total(text, `gyre_listener_dropped_total${labels}`) >= 4);
  for (const client of clients) client.destroy();
  await stuck;
});

t.test('firings are counted by what became of them', async (t) => {
  const runtime = await start(t, app('ticking.js'), {
    ...{ workers: 1, spares: 0, admin: '127.0.0.1:0' },
  });
  runtime.on('failure', () => {});
  runtime.sources.timer({ name: 'tick', everyMs: 1_000_000 });
  await runtime.sources.emit('job');
  await t.rejects(runtime.sources.emit('fails'));
  const text = await metricsOf(runtime);
  const over = (source: string, kind: string, outcome: string) =>
    valuesIn(text, `gyre_firings_total{source="${source}",kind="${kind}",outcome="${outcome}"}`);
  t.same([over('job', 'emit', 'handled'), over('fails', 'emit', 'failed')], [[1], [1]]);
  t.same([over('tick', 'timer', 'handled'), over('tick', 'timer', 'timed out')], [[0], [0]]);
  t.same(valuesIn(text, 'gyre_firings_running{source="job",kind="emit"}'), [0]);
});

t.test('jobs are counted by what became of them', async (t) => {
  const runtime = await start(t, app('http.js'), {
    ...{ workers: 1, spares: 0, admin: '127.0.0.1:0', jobPool: { threads: 1 } },
    jobs: { echo: JOBS, fail: `${pathToFileURL(JOBS)}#fail` },
  });
  await runtime.run('echo', 1);
  await runtime.run('echo', 2);
  await t.rejects(runtime.run('fail'));
  const text = await metricsOf(runtime);
  const over = (outcome: string) => valuesIn(text, `gyre_jobs_total{outcome="${outcome}"}`);
  t.same([over('finished'), over('failed'), over('crashed')], [[2], [1], [0]]);
  t.same([valuesIn(text, 'gyre_jobs_waiting'), valuesIn(text, 'gyre_job_threads')], [[0], [1]]);
});
