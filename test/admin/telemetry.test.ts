/**
 * OpenTelemetry: what a MeterProvider's reader collects is what `/metrics` says.
 */
import { metrics } from '@opentelemetry/api';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import t from 'tap';
import { app, getFromEach, portOf, start } from '../support/app.js';
import { ask, valuesIn, whereOf } from './asking.js';

/** Collects when it is asked to. */
class Asked extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

interface Point {
  readonly value: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

t.test('without a provider nothing is exported, and later none is looked for', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: 1, admin: '127.0.0.1:0' });
  t.equal((await ask(whereOf(runtime.admin.endpoint), '/metrics')).status, 200);
});

t.test('a provider that was set up before sees all that begins with gyre_', async (t) => {
  const reader = new Asked();
  const provider = new MeterProvider({ readers: [reader] });
  metrics.setGlobalMeterProvider(provider);
  t.teardown(() => metrics.disable());
  const collected = async () => {
    const { resourceMetrics, errors } = await reader.collect();
    t.same(errors, []);
    const scope = resourceMetrics.scopeMetrics.find((each) => each.scope.name === 'gyre');
    return new Map(scope?.metrics.map((metric) => [metric.descriptor.name, metric]));
  };
  // Also where there is no endpoint.
  const alone = await start(t, app('http.js'), { workers: 1 });
  t.ok((await collected()).has('gyre.ready'));
  await alone.close();
  t.ok(await collected(), 'when it has closed nothing fails');

  const runtime = await start(t, app('http.js'), { workers: 2, admin: '127.0.0.1:0' });
  await getFromEach(portOf(runtime), 2, ({ body }) =>
    runtime.workers.findIndex(({ threadId }) => threadId === JSON.parse(body).threadId),
  );
  const seen = await collected();
  const { body } = await ask(whereOf(runtime.admin.endpoint), '/metrics');
  const points = (name: string) => (seen.get(name)?.dataPoints ?? []) as readonly Point[];
  const values = (name: string) => points(name).map(({ value }) => value);
  t.same(values('gyre.workers'), [2]);
  t.same(values('gyre.worker.requests'), valuesIn(body, 'gyre_worker_requests_total'));
  t.same(
    points('gyre.worker.requests').map(({ attributes }) => attributes),
    [{ worker: '0' }, { worker: '1' }],
  );
  t.same(
    values('gyre.worker.request_duration.count'),
    valuesIn(body, 'gyre_worker_request_duration_seconds_count'),
  );
  t.match(seen.get('gyre.worker.run_delay')?.descriptor, {
    unit: 's',
    description: /waited for a CPU/,
  });
  t.match(seen.get('gyre.worker.heap_used')?.descriptor, { unit: 'By' });
  t.match(seen.get('gyre.listener.queue_connections')?.descriptor, { unit: '1' });
  t.notOk([...seen.keys()].some((name) => !/^gyre\.[a-z_.]+$/.test(name)));
  await provider.shutdown();
});
