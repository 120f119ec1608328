/** docs/benchmarks.md, its charts and the README's figures: made of results, and of these results. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { CURVE_PERCENTILES } from '../../bench/latencies.js';
import { filesOf } from '../../bench/page/page.js';
import type { Metric, Report } from '../../bench/report.js';
import { spreadOf } from '../../bench/statistics.js';
import { ROOT } from '../support/app.js';

const README = [
  'before <!-- npm run bench:report: begin -->',
  'old',
  '<!-- npm run bench:report: end --> after',
].join('\n');

const MS: Metric = { unit: 'ms', digits: 2, better: 'less' };
/** Factors of five rounds: a median of 1 with quartiles of 0.9 and 1.1. */
const ROUNDS = [1, 1.1, 0.9, 1.2, 0.8];

/** Results with these figures; `values` are medians by metric and variant. */
function reportOf(
  benchmark: string,
  metrics: Readonly<Record<string, Metric>>,
  values: Readonly<Record<string, Readonly<Record<string, number>>>>,
  rounds: readonly number[] = ROUNDS,
): Report {
  const variants = Object.keys(Object.values(values)[0] ?? {});
  return {
    ...{ benchmark, question: `what of ${benchmark} <&>?`, pinning: 'none' },
    ...{
      command: `npm run bench:${benchmark} -- --rounds 5`,
      startedAt: '2026-01-02T03:04:05.678Z',
    },
    machine: {
      ...{ cpu: 'A <fast> CPU', cpus: 2, allowedCpus: '0-1', memoryMb: 4096, kernel: 'Linux 6' },
      ...{ node: 'v20.20.2', programs: { wrk: '4.1.0' }, gyre: '0.1.0', commit: '0123456789ab' },
      loadBefore: 0.04,
    },
    flags: { rounds: 5, fast: 1500, slow: 8, ms: 50, connections: 64, workers: 2 },
    metrics,
    ratios: variants.slice(1).map((to) => ({
      ...{ metric: Object.keys(metrics)[0] as string, of: variants[0] as string, to },
      ...spreadOf([1]),
    })),
    results: Object.entries(values).flatMap(([metric, byVariant]) =>
      Object.entries(byVariant).map(([variant, value]) => {
        const samples = rounds.map((factor) => value * factor);
        return { metric, unit: 'ms', variant, samples, ...spreadOf(samples) };
      }),
    ),
    curves: {
      ...{ of: 'fast requests, ms', percentiles: CURVE_PERCENTILES },
      variants: variants.map((variant) => ({
        variant,
        rounds: rounds.map((factor) => CURVE_PERCENTILES.map((p) => (factor * p) / 10)),
      })),
    },
    ...{ leftOut: [{ variant: 'watt', reason: 'it is not here' }], discarded: [] },
  };
}

const STALL_METRICS = {
  ...{ p50: MS, p95: MS, p99: MS, p999: MS, slow50: MS, slow95: MS },
  late: { unit: 'ms', digits: 2 },
};
const same = (value: number) => ({ gyre: value, 'cluster-rr': value, go: value });

/** Far better at p95, a little better at p99, alike at p50, worse for the slow ones. */
const STALL = reportOf('stall', STALL_METRICS, {
  p50: { gyre: 0.25, 'cluster-rr': 0.25, go: 0.2 },
  p95: { gyre: 7.123, 'cluster-rr': 48.5, go: 6 },
  p99: { gyre: 28, 'cluster-rr': 83, go: 18 },
  p999: same(100),
  slow50: { gyre: 73, 'cluster-rr': 54, go: 54 },
  slow95: same(140),
  late: same(0.2),
});
const HELLO = reportOf(
  'hello',
  { throughput: { unit: 'requests/s', digits: 0, better: 'more' }, cpu: MS, p99: MS },
  {
    throughput: { gyre: 60_000, 'cluster-rr': 54_321 },
    cpu: { gyre: 20, 'cluster-rr': 25 },
    p99: { gyre: 1, 'cluster-rr': 1 },
  },
);

const filesFrom = (reports: Record<string, Report>) =>
  filesOf(new Map(Object.entries(reports)), README);

/** The part of `text` from one heading to the next of the same level or above. */
function sectionOf(text: string, heading: string): string {
  const from = text.indexOf(`${heading}\n`);
  const rest = text.slice(from + heading.length);
  const to = rest.search(/\n##? /);
  return from === -1 ? '' : rest.slice(0, to === -1 ? undefined : to);
}

t.test('each benchmark has its table, charts and command', async (t) => {
  const files = filesFrom({ stall: STALL, hello: HELLO });
  t.same([...files.keys()].sort(), [
    'README.md',
    'docs/benchmarks.md',
    'docs/benchmarks/hello-spread.svg',
    'docs/benchmarks/stall-spread.svg',
    'docs/benchmarks/stall.svg',
  ]);
  const page = files.get('docs/benchmarks.md') as string;
  t.match(page, 'A <fast> CPU, 2 CPUs (of which 0-1 may be used), 4 GB of memory, Linux 6.');
  const hello = sectionOf(page, '## What of hello <&>?');
  t.match(hello, '| node:cluster, round robin | 54,321 (48,889–59,753) | 25.00 (22.50–27.50) |');
  t.match(hello, '| gyre / node:cluster, round robin | 1.10 (1.10–1.10) | 0.80 (0.80–0.80) |');
  t.match(hello, '`npm run bench:hello -- --rounds 5`');
  t.match(hello, '5 rounds; gyre 0.1.0 (commit 0123456789ab), Node v20.20.2, wrk 4.1.0');
  t.match(hello, 'left out: Platformatic Watt (it is not here)');
  const images = [...page.matchAll(/\]\((benchmarks\/[^)]+)\)/g)].map(([, file]) => `docs/${file}`);
  t.equal(images.length, 3);
  for (const image of images) t.ok(files.has(image), image);
});

t.test('who is better follows from the quartiles of the ratios', async (t) => {
  const page = filesFrom({ stall: STALL }).get('docs/benchmarks.md') as string;
  const summary = sectionOf(page, '## In short');
  const part = (heading: string) =>
    summary.split('### ').find((each) => each.startsWith(heading)) ?? '';
  t.match(part('Where gyre is better'), /p95 .* \| 0\.15 \(0\.15–0\.15\) \|/);
  t.match(part('Where no difference was found'), /p50 of fast .* \| 1\.00 \(1\.00–1\.00\) \|/);
  t.match(
    part('Where gyre is worse'),
    /p50 of the slow .* node:cluster.* \| 1\.35 \(1\.35–1\.35\) \|/,
  );
  t.match(part('Where gyre is worse'), /p99 of fast .* Go net\/http \| 1\.56/);
  t.notMatch(summary, 'Where nothing can be said');
});

t.test('nothing is said of quartiles that are on both sides, nor of few rounds', async (t) => {
  // The medians differ by 5%, and single rounds by more.
  const noisy = {
    ...STALL,
    results: STALL.results.map((result) =>
      result.variant === 'gyre' && result.metric === 'p95'
        ? { ...result, samples: [46, 60, 40, 55, 42] }
        : result,
    ),
  };
  const page = filesFrom({ stall: noisy }).get('docs/benchmarks.md') as string;
  t.match(page.split('### Where no difference was found')[1]?.split('###')[0], /p95 of fast/);
  const few = reportOf(
    'stall',
    STALL_METRICS,
    {
      ...Object.fromEntries(
        Object.keys(STALL_METRICS).map((name) => [name, { gyre: 1, 'cluster-rr': 9 }]),
      ),
    },
    [1, 1.1],
  );
  const said = filesFrom({ stall: few }).get('docs/benchmarks.md') as string;
  t.notMatch(said, 'Where gyre is better');
  t.match(said, 'Where nothing can be said');
});

t.test('a ratio to nothing is none', async (t) => {
  const nothing = reportOf(
    'idle',
    {
      ...{ alone: MS, throughput: MS, kept: MS, p99Alone: MS, p99: MS, memory: MS },
    },
    Object.fromEntries(
      ['alone', 'throughput', 'kept', 'p99Alone', 'p99', 'memory'].map((name) => [
        name,
        { gyre: name === 'memory' ? -3 : 1, 'cluster-rr': name === 'memory' ? 0 : 1 },
      ]),
    ),
  );
  const page = filesFrom({ idle: nothing }).get('docs/benchmarks.md') as string;
  t.match(page, /memory of an idle connection .* \| – \|/);
});

t.test('the sweep is one table, shortest requests first', async (t) => {
  const page = filesFrom({ stall: STALL, 'sweep-50ms-10': STALL, 'sweep-5ms-60': STALL }).get(
    'docs/benchmarks.md',
  ) as string;
  const rows = sectionOf(page, '## How much does it depend on the slow requests?').match(
    /^\| \d.*$/gm,
  );
  t.match(rows, [/^\| 5 ms \| 60% of a CPU \| 1\.00 /, /^\| 50 ms \| 10% of a CPU \| 1\.00 /]);
});

t.test('the README has the figures between its marks, and nothing else is changed', async (t) => {
  const readme = filesFrom({ stall: STALL }).get('README.md') as string;
  t.ok(readme.startsWith('before <!-- npm run bench:report: begin -->\n![Lat'));
  t.ok(readme.endsWith('\n<!-- npm run bench:report: end --> after'));
  t.notMatch(readme, 'old');
  t.match(readme, '(docs/benchmarks/stall.svg)');
  t.match(readme, '| gyre | 0.25 (0.23–0.28) | 7.12 (6.41–7.84) |');
  t.throws(() => filesOf(new Map([['stall', STALL]]), 'no marks'), RangeError);
  t.equal(filesFrom({ hello: HELLO }).has('README.md'), false);
});

/** Whether every element that is opened is closed, in order. Enough for what we write ourselves. */
function isWellFormed(svg: string): boolean {
  const open: string[] = [];
  for (const [, end, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (end) {
      if (open.pop() !== name) return false;
    } else if (!self) open.push(name as string);
  }
  const text = svg.replace(/<style>.*<\/style>/, '').replaceAll(/<[^<>]*>/g, '');
  return open.length === 0 && !/[<>]|&(?!#\d+;)/.test(text);
}

t.test('charts are SVG with numbers in it, whatever the figures', async (t) => {
  const zeros = reportOf(
    'stall',
    STALL_METRICS,
    Object.fromEntries(Object.keys(STALL_METRICS).map((name) => [name, same(0)])),
    [0],
  );
  const huge = reportOf(
    'stall',
    STALL_METRICS,
    Object.fromEntries(
      Object.keys(STALL_METRICS).map((name) => [name, { gyre: 1e9, 'cluster-rr': 1e-3, go: 4 }]),
    ),
  );
  for (const stall of [STALL, zeros, huge]) {
    for (const [file, content] of filesFrom({ stall, hello: HELLO })) {
      if (!file.endsWith('.svg')) continue;
      t.ok(isWellFormed(content), file);
      t.notMatch(content, /NaN|Infinity|undefined|null/);
      t.match(content, 'prefers-color-scheme:dark');
    }
  }
  t.match(
    filesFrom({ hello: HELLO }).get('docs/benchmarks/hello-spread.svg'),
    'What of hello &#60;&#38;&#62;?',
  );
});

function report(...args: string[]) {
  const file = path.join(ROOT, 'dist', 'bench', 'page', 'run.js');
  return spawnSync(process.execPath, [file, ...args], { encoding: 'utf8' });
}

/** A repository with these results. */
function repository(t: Test, reports: Record<string, unknown>): string {
  const root = t.testdir({ 'README.md': README });
  const folder = path.join(root, 'docs', 'benchmarks');
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(reports)) {
    writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(content));
  }
  return root;
}

t.test('it tells when the page is of other results', async (t) => {
  const root = repository(t, { stall: STALL, hello: HELLO });
  t.match(report('--root', root, '--check'), { status: 1, stderr: /docs\/benchmarks\.md/ });
  t.notOk(existsSync(path.join(root, 'docs', 'benchmarks.md')), 'a check writes nothing');
  t.equal(report('--root', root).status, 0);
  t.match(report('--root', root, '--check'), { status: 0, stderr: '' });
  const file = path.join(root, 'docs', 'benchmarks', 'hello.json');
  const changed = readFileSync(file, 'utf8').replaceAll('54321', '54322');
  writeFileSync(file, changed);
  const { status, stderr } = report('--root', root, '--check');
  t.equal(status, 1);
  t.match(stderr, 'docs/benchmarks.md');
  t.notMatch(stderr, 'stall.svg');
  t.equal(report('--root', root).status, 0);
  writeFileSync(path.join(root, 'docs', 'benchmarks', 'old.svg'), '');
  t.match(report('--root', root, '--check'), { status: 1, stderr: /old\.svg/ });
  t.equal(report('--root', root).status, 0);
  t.notOk(readdirSync(path.join(root, 'docs', 'benchmarks')).includes('old.svg'));
});

t.test('what is no result is refused', async (t) => {
  t.match(report('--root', repository(t, {})), { status: 1, stderr: /no results/ });
  const unknown = repository(t, { speed: HELLO });
  t.match(report('--root', unknown), { status: 1, stderr: /speed\.json is of no known benchmark/ });
  t.equal(report('--dir', 'x').status, 2);
});

t.test('the page in this repository is of the results in this repository', async (t) => {
  const { status, stderr } = report('--check');
  t.equal(status, 0, `${stderr}npm run bench:report makes it anew`);
});
