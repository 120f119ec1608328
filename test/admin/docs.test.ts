/**
 * What docs/ says of the endpoint is what it does: the tables, the dashboard and the alerts.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { EVENT_NAMES } from '../../src/admin/events.js';
import { METRICS } from '../../src/admin/metrics.js';
import { app, CLI, get, portOf, ROOT, start } from '../support/app.js';
import { skipWithout } from '../support/programs.js';
import { ask, statusOf, whereOf } from './asking.js';

const DOCS = path.join(ROOT, 'docs');
const OPERATING = readFileSync(path.join(DOCS, 'operating.md'), 'utf8');
const ALERTS = path.join(DOCS, 'alerts.yml');
const skip = skipWithout('promtool', 'prometheus');

/** The cells of each table under a heading, without its head. */
function tablesUnder(heading: string): string[][][] {
  const [, section = ''] = OPERATING.split(new RegExp(`^#+ ${heading}$`, 'm'));
  const [text = ''] = section.split(/^#+ /m);
  return text
    .split(/\n\n+/)
    .filter((block) => block.startsWith('|'))
    .map((block) =>
      block
        .split('\n')
        .slice(2)
        .map((row) => row.split(/(?<!\\)\|/).slice(1, -1))
        .map((row) => row.map((cell) => cell.trim().replaceAll('\\|', '|'))),
    );
}

/** What stands in backquotes. */
function quoted(cell: string | undefined): string[] {
  return [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
}

t.test('the table of metrics is the catalogue', async (t) => {
  const [table = []] = tablesUnder('Metrics');
  const documented = table.map(([name, type, labels, meaning]) => ({
    ...{ name: quoted(name)[0], type, labels: quoted(labels), meaning },
  }));
  t.same(
    documented,
    METRICS.map(({ name, type, labels, help }) => ({
      name,
      type,
      labels: [...labels],
      meaning: help,
    })),
  );
  const names = METRICS.map(({ name }) => name);
  t.equal(new Set(names).size, names.length);
  for (const { name, type } of METRICS) {
    t.match(name, /^(gyre|process)_[a-z0-9_]+$/);
    t.equal(name.endsWith('_total'), type === 'counter', name);
  }
});

t.test('every label, metric and field of a running server is in the tables', async (t) => {
  const runtime = await start(t, app('survivor.js'), { workers: 2, admin: '127.0.0.1:0' });
  await get(portOf(runtime));
  const status = await statusOf(runtime);
  const [top = [], worker = [], listener = []] = tablesUnder('The snapshot');
  const fields = (table: string[][]) => table.flatMap(([names]) => quoted(names)).sort();
  t.same(fields(top), Object.keys(status).sort());
  t.same(fields(worker), Object.keys(status.workers[0] ?? {}).sort());
  t.same(fields(listener), Object.keys(status.listeners[0] ?? {}).sort());
  const told = (field: string) =>
    [...top, ...worker].find(([names]) => quoted(names).includes(field))?.[2] ?? '';
  for (const key of Object.keys(status.process)) t.match(told('process'), key);
  for (const key of Object.keys(status.workers[0]?.heap ?? {})) t.match(told('heap'), key);
  for (const key of Object.keys(status.workers[0]?.exits ?? {})) t.match(told('exits'), key);
  for (const key of Object.keys(status.workers[0]?.pauses ?? {})) t.match(OPERATING, key);
  const { body } = await ask(whereOf(runtime.admin.endpoint), '/metrics');
  for (const [, name = '', labels = ''] of body.matchAll(/^([a-z_]+)\{(.*)\} /gm)) {
    const metric = METRICS.find(
      (each) => name.replace(/_(bucket|sum|count)$/, '') === each.name || name === each.name,
    );
    const given = [...labels.matchAll(/(\w+)="/g)]
      .map(([, label]) => label)
      .filter((label) => label !== 'le');
    t.same(given, [...(metric?.labels ?? ['no such metric'])], name);
  }
});

t.test('routes, events and columns of gyre top are described', async (t) => {
  const [routes = []] = tablesUnder('The admin endpoint');
  const runtime = await start(t, app('http.js'), { workers: 1, admin: '127.0.0.1:0' });
  const { body } = await ask(whereOf(runtime.admin.endpoint), '/nothing');
  for (const [request] of routes) {
    const [, target = ''] = quoted(request)[0]?.split(' ') ?? [];
    t.match(body, target, 'it exists');
  }
  t.equal(routes.length, body.split(', ').length, 'and there is no other');
  const [events = []] = tablesUnder('Events');
  t.same(
    events.map(([name]) => quoted(name)[0]),
    [...EVENT_NAMES],
  );
  const [columns = []] = tablesUnder('gyre top');
  const documented = columns.flatMap(([names]) => quoted(names));
  const { port } = runtime.admin.endpoint as { port: number };
  const { stdout } = spawnSync(process.execPath, [CLI, 'top', '--help'], { encoding: 'utf8' });
  for (const flag of stdout.match(/--[a-z]+/g) ?? []) {
    if (flag !== '--help') t.match(OPERATING, flag);
  }
  t.ok(port > 0 && documented.length > 10);
});

interface Target {
  readonly expr: string;
}
interface Panel {
  readonly id: number;
  readonly title: string;
  readonly targets: readonly Target[];
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
}

/** Names of series in a query. */
function seriesIn(expression: string): string[] {
  return expression.match(/\b(?:gyre|process)_[a-z0-9_]+/g) ?? [];
}

const SERIES = new Set(
  METRICS.flatMap(({ name, type }) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  ),
);

function panels(): readonly Panel[] {
  const text = readFileSync(path.join(DOCS, 'grafana-dashboard.json'), 'utf8');
  return (JSON.parse(text) as { panels: readonly Panel[] }).panels;
}

t.test('dashboard and alerts ask for metrics that exist', async (t) => {
  const all = panels();
  t.equal(new Set(all.map(({ id }) => id)).size, all.length, 'no panel twice');
  const places = all.map(({ gridPos: { x, y } }) => `${x},${y}`);
  t.equal(new Set(places).size, all.length, 'none over another');
  for (const { title, targets } of all) {
    const series = targets.flatMap(({ expr }) => seriesIn(expr));
    t.ok(series.length > 0, title);
    for (const name of series) t.ok(SERIES.has(name), `${title}: ${name}`);
  }
  const alerts = readFileSync(ALERTS, 'utf8');
  const expressions = [...alerts.matchAll(/^ +expr: (.*)$/gm)].map(
    ([, expression = '']) => expression,
  );
  t.ok(expressions.length > 5);
  for (const name of expressions.flatMap(seriesIn)) t.ok(SERIES.has(name), name);
});

t.test('promtool accepts the alerts and the queries of the dashboard', { skip }, async (t) => {
  const rules = spawnSync('promtool', ['check', 'rules', ALERTS], { encoding: 'utf8' });
  t.equal(rules.status, 0, rules.stdout + rules.stderr);
  const queries = panels().flatMap(({ targets }) => targets.map(({ expr }) => expr));
  const asRules = {
    groups: [
      {
        name: 'dashboard',
        rules: queries.map((query, i) => ({
          record: `panel:${i}`,
          expr: query.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*'),
        })),
      },
    ],
  };
  const check = (name: string, content: object) => {
    const directory = t.testdir({ [name]: JSON.stringify(content) }); // JSON is YAML
    return spawnSync('promtool', ['check', 'rules', path.join(directory, name)], {
      encoding: 'utf8',
    });
  };
  const dashboard = check('dashboard.yml', asRules);
  t.equal(dashboard.status, 0, dashboard.stdout + dashboard.stderr);
  const broken = { groups: [{ name: 'a', rules: [{ record: 'a', expr: 'rate(gyre_ready[' }] }] };
  t.not(check('broken.yml', broken).status, 0, 'it can go red');
});

t.test('alerts fire when they should', { skip }, async (t) => {
  const series = (name: string, values: string) => ({ series: `${name}{instance="a"}`, values });
  const worker = (name: string, values: string) => ({
    series: `${name}{instance="a",worker="0"}`,
    values,
  });
  /** At one minute each. */
  const cases: [alert: string, input: { series: string; values: string }[], atMinutes: number][] = [
    ['GyreNotReady', [series('gyre_ready', '1 0 0 0')], 3],
    ['GyreWorkersDie', [worker('gyre_worker_restarts_total', '0 2 5 9')], 3],
    ['GyreWorkerStuck', [worker('gyre_worker_stuck_seconds', '0 0 6')], 2],
    ['GyreWorkerHung', [worker('gyre_worker_hangs_total', '0 0 1')], 2],
    ['GyreSaturated', [worker('gyre_worker_idle_seconds_total', '0+1x30')], 30],
    ['GyreWaitsForCpu', [worker('gyre_worker_run_delay_seconds_total', '0+30x30')], 30],
    [
      'GyreConnectionsDropped',
      [
        {
          series: 'gyre_listener_dropped_total{instance="a",address="b",worker="0"}',
          values: '0 0 5',
        },
      ],
      2,
    ],
    [
      'GyreHeapNearlyFull',
      [
        worker('gyre_worker_heap_used_bytes', '90x10'),
        worker('gyre_worker_heap_limit_bytes', '100x10'),
      ],
      8,
    ],
    ['GyreMovesFail', [worker('gyre_worker_failures_total', '0+120x30')], 30],
    [
      'GyreSlowIterations',
      [
        {
          series: 'gyre_worker_iteration_seconds_bucket{instance="a",worker="0",le="0.131072"}',
          values: '0+1x30',
        },
        {
          series: 'gyre_worker_iteration_seconds_bucket{instance="a",worker="0",le="+Inf"}',
          values: '0+60x30',
        },
      ],
      30,
    ],
  ];
  const alerts = [...readFileSync(ALERTS, 'utf8').matchAll(/alert: (\w+)/g)].map(
    ([, name]) => name,
  );
  t.same(cases.map(([name]) => name).sort(), alerts.sort(), 'each is tried');
  const tests = cases.map(([alert, input, minutes]) => ({
    interval: '1m',
    input_series: input,
    promql_expr_test: [
      // Alerts that fire are series themselves.
      {
        expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`,
        eval_time: `${minutes}m`,
        exp_samples: [{ labels: '{}', value: 1 }],
      },
      {
        expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`,
        eval_time: '0m',
        exp_samples: [],
      },
    ],
  }));
  const directory = t.testdir({
    'test.yml': JSON.stringify({ rule_files: [ALERTS], evaluation_interval: '1m', tests }),
  });
  const file = path.join(directory, 'test.yml');
  const run = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' });
  t.equal(run.status, 0, run.stdout + run.stderr);
});
