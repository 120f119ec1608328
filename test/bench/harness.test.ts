import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { CannotRun, VoidRun } from '../../bench/failures.js';
import { interleave } from '../../bench/harness.js';
import type { Report } from '../../bench/report.js';
import { pairRatios, slopeOf, spreadOf } from '../../bench/statistics.js';
import { ROOT } from '../support/app.js';

const samples = fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1 });

t.test('a median is the middle sample, or halfway between the two in the middle', async (t) => {
  t.equal(spreadOf([3]).median, 3);
  t.equal(spreadOf([9, 1, 5]).median, 5);
  t.equal(spreadOf([10, 2, 4, 8]).median, 6);
});

t.test('quartiles are between samples where they do not fall on one', async (t) => {
  t.same(spreadOf([5, 4, 3, 2, 1]), { n: 5, min: 1, q1: 2, median: 3, q3: 4, max: 5 });
  t.match(spreadOf([1, 2, 3, 4]), { q1: 1.75, q3: 3.25 });
});

t.test('a spread is ordered and does not depend on the order of the samples', async () => {
  fc.assert(
    fc.property(samples, (values) => {
      const { n, min, q1, median, q3, max } = spreadOf(values);
      const ordered = [min, q1, median, q3, max];
      const reversed = spreadOf(values.toReversed());
      // Between two samples a rounding error of their size is in the figure.
      const slack = 1e-6;
      return (
        n === values.length &&
        min === Math.min(...values) &&
        max === Math.max(...values) &&
        ordered.every((value, at) => at === 0 || value >= (ordered[at - 1] as number) - slack) &&
        reversed.median === median
      );
    }),
  );
});

t.test('taking a spread changes nothing in the samples', async (t) => {
  const values = [3, 1, 2];
  spreadOf(values);
  t.same(values, [3, 1, 2]);
});

t.test('there is no spread of nothing, nor of what is not a number', async (t) => {
  t.throws(() => spreadOf([]), RangeError);
  t.throws(() => spreadOf([1, Number.NaN]), RangeError);
  t.throws(() => spreadOf([1, Number.POSITIVE_INFINITY]), RangeError);
});

t.test('ratios are of the same round, so a slow round cancels out', async (t) => {
  t.same(pairRatios([20, 2, 200], [10, 1, 100]), [2, 2, 2]);
  // The ratio of the medians of these would be 1.
  t.equal(spreadOf(pairRatios([1, 10, 100], [10, 100, 1])).median, 0.1);
  t.throws(() => pairRatios([1, 2], [1]), RangeError, 'a sample without a partner');
});

t.test('a slope is the growth per unit, whatever the offset', async (t) => {
  const isNear = (slope: number, wanted: number) => t.ok(Math.abs(slope - wanted) < 1e-9);
  const line = [1, 2, 4].map((x) => [x, 100 + 10 * x] as const);
  isNear(slopeOf(line), 10);
  // Least squares, not the line through the ends: that would be 1.
  const bent = [
    [0, 0],
    [1, 3],
    [3, 3],
  ] as const;
  isNear(slopeOf(bent), 6 / 7);
  t.throws(() => slopeOf([[1, 1]]), RangeError);
});

t.test('rounds measure every variant once, forwards and backwards in turn', async (t) => {
  const order: string[] = [];
  const { samples, discarded } = await interleave(3, ['a', 'b'], async (variant, round) => {
    order.push(variant);
    return `${variant}${round}`;
  });
  t.same(order, ['a', 'b', 'b', 'a', 'a', 'b']);
  t.same(samples.get('a'), ['a0', 'a1', 'a2']);
  t.same(samples.get('b'), ['b0', 'b1', 'b2']);
  t.same(discarded, []);
});

t.test('a void run discards its whole round, which is repeated', async (t) => {
  let runs = 0;
  const { samples, discarded } = await interleave(2, ['a', 'b'], async () => {
    runs++;
    if (runs === 4) throw new VoidRun('one request failed');
    return runs;
  });
  t.same(samples.get('a'), [1, 6], 'the third run, of b, is gone with its partner');
  t.same(samples.get('b'), [2, 5]);
  t.same(discarded, ['a: one request failed']);
});

t.test('it gives up when most rounds are void, and at once on any other error', async (t) => {
  let runs = 0;
  const failWith = (error: Error) =>
    interleave(2, ['a'], () => {
      runs++;
      return Promise.reject(error);
    }).catch((reason) => reason);
  t.ok((await failWith(new VoidRun('one request failed'))) instanceof CannotRun);
  t.equal(runs, 3);
  const bug = new TypeError('a bug');
  t.equal(await failWith(bug), bug);
  t.equal(runs, 4);
});

function bench(name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const file = path.join(ROOT, 'dist', 'bench', `${name}.js`);
  return spawnSync(process.execPath, [file, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
}

t.test('a flag that no benchmark has, or a bad value, starts nothing', async (t) => {
  for (const args of [
    ['--speed', '3'],
    ['--rounds', '0'],
    ['--rounds', 'x'],
    ['--only', 'me'],
  ]) {
    const { status, stdout } = bench('startup', args);
    t.equal(status, 2, args.join(' '));
    t.equal(stdout, '');
  }
  t.equal(bench('stall', ['--slow', '0', '--only', 'limit']).status, 2);
  for (const series of ['run', 'sweep']) {
    const { status, stderr } = bench(series, ['--round', '3']);
    t.equal(status, 2, series);
    t.match(stderr, /^\w+: Unknown option '--round'/, 'and no stack');
  }
});

t.test('a variant that cannot run here is left out by name, and the others run', async (t) => {
  const args = ['--rounds', '1', '--slow', '2.5'];
  const without = { PATH: '/nonexistent' };
  const some = bench('stall', [...args, '--json', '-', '--only', 'limit,go'], without);
  t.equal(some.status, 0, some.stderr);
  const { flags, leftOut, ratios, results } = JSON.parse(some.stdout);
  t.equal(flags.slow, 2.5);
  t.match(leftOut, [{ variant: 'go', reason: /install golang-go/ }]);
  t.same(ratios, []);
  t.ok(results.every(({ variant }: { variant: string }) => variant === 'limit'));
  const shown = bench('stall', [...args, '--only', 'limit,go'], without);
  t.match(shown.stdout, 'go is left out: no Go here');
  const none = bench('stall', [...args, '--only', 'go'], without);
  t.equal(none.status, 1);
  t.match(none.stderr, 'go is left out: no Go here');
});

t.test('--json writes the report to a file, beside the text', async (t) => {
  const file = path.join(t.testdir(), 'new', 'stall.json');
  const args = ['--rounds', '2', '--only', 'limit'];
  const { status, stdout, stderr } = bench('stall', [...args, '--json', file]);
  t.equal(status, 0, stderr);
  t.match(stdout, /^stall: when /);
  t.match(stdout, / p99 \(ms\) /);
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  t.match(report, {
    ...{ benchmark: 'stall', command: 'npm run bench:stall -- --rounds 2 --only limit' },
    machine: { commit: /^([0-9a-f]{12}\+?|unknown)$/, node: process.version, programs: {} },
    metrics: { p99: { unit: 'ms', digits: 2, better: 'less' } },
  });
  t.ok(Date.now() - Date.parse(report.startedAt) < 60_000);
  const rounds = report.curves?.variants[0]?.rounds ?? [];
  t.equal(rounds.length, 2);
  const at99 = report.curves?.percentiles.indexOf(99) ?? -1;
  const p99 = report.results.find(({ metric }) => metric === 'p99');
  t.same(
    rounds.map((curve) => curve[at99]),
    p99?.samples,
  );
});

t.test('where it cannot write its report it measures nothing', async (t) => {
  const folder = t.testdir({ file: '' });
  for (const json of [folder, path.join(folder, 'file', 'stall.json')]) {
    const { status, stdout, stderr } = bench('stall', ['--only', 'limit', '--json', json]);
    t.equal(status, 2, json);
    t.equal(stdout, '');
    t.match(stderr, /^stall: --json/);
  }
});

t.test('without the load generator a benchmark says how to get it', async (t) => {
  const { status, stderr } = bench('hello', [], { PATH: '/nonexistent' });
  t.equal(status, 1);
  t.match(stderr, 'install wrk');
});

t.test('a report has the machine, the samples and the ratios of its pairs', async (t) => {
  const only = ['gyre hello', 'single hello'];
  const { status, stdout, stderr } = bench('startup', [
    ...['--json', '-', '--rounds', '2', '--only', only.join(',')],
  ]);
  t.equal(status, 0, stderr);
  const report = JSON.parse(stdout);
  t.match(report, {
    benchmark: 'startup',
    machine: { node: process.version, allowedCpus: /^[0-9,-]+$/, kernel: /^Linux / },
    flags: { rounds: 2, workers: 2 },
    discarded: [],
  });
  type Result = { metric: string; variant: string; samples: number[]; median: number };
  const first = (report.results as Result[]).filter(({ metric }) => metric === 'first');
  t.same(
    first.map(({ variant }) => variant),
    only,
  );
  const [gyre, single] = first as [Result, Result];
  t.ok([...gyre.samples, ...single.samples].every((ms) => ms > 0));
  const ratio = (report.ratios as (Result & { of: string; to: string })[])[0];
  t.match(ratio, { metric: 'first', of: 'gyre hello', to: 'single hello' });
  t.equal(ratio?.median, spreadOf(pairRatios(gyre.samples, single.samples)).median);
});
