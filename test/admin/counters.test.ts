/**
 * Counts that only grow, sums of metrics, and quantiles: whatever they are made of.
 */
import fc from 'fast-check';
import t from 'tap';
import { addUp, mergeable } from '../../src/admin/application.js';
import { Lifetimes, Unwrapped } from '../../src/admin/counters.js';
import { countBelow, quantile } from '../../src/admin/histogram.js';
import type { MetricObject } from '../../src/protocol.js';

t.test('a count goes on past 2^32, whatever it began with', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 })),
      (first, steps) => {
        const counts = new Unwrapped();
        let exact = first;
        if (counts.total('a', first) !== first) return false;
        return steps.every((step) => {
          exact += step;
          return counts.total('a', exact % 2 ** 32) === exact && counts.total('b', 7) === 7;
        });
      },
    ),
  );
  t.pass();
});

interface Thread {
  readonly index: number;
  used: number | null;
}

t.test('what threads have used stays when they end, and never shrinks', async (t) => {
  const times = new Lifetimes<Thread, 'ms'>(['ms']);
  const update = (...threads: Thread[]) => times.update(threads, ({ used }) => ({ ms: used }));
  t.equal(times.of(0).ms, null, 'nothing is known yet');
  const [one, other]: Thread[] = [
    { index: 0, used: 5 },
    { index: 1, used: null },
  ];
  update(one as Thread, other as Thread);
  t.same([times.of(0).ms, times.of(1).ms], [5, null]);
  (one as Thread).used = 9;
  update(one as Thread);
  t.equal(times.of(0).ms, 9);
  (one as Thread).used = 0; // its last moments
  update(one as Thread);
  t.equal(times.of(0).ms, 9);
  const next = { index: 0, used: 2 };
  update(one as Thread, next); // a reload: both run
  t.equal(times.of(0).ms, 11);
  update(next);
  t.equal(times.of(0).ms, 11, 'the first one has ended');
  next.used = 4;
  update(next);
  t.equal(times.of(0).ms, 13);
  update();
  t.equal(times.of(0).ms, 13);
});

const counter = (name: string, value: number, labels = {}, aggregator = 'sum'): MetricObject => ({
  ...{ name, help: name, type: 'counter', aggregator },
  values: [{ value, labels }],
});

t.test('counters and histograms of the dead are kept, by label, and nothing else', async (t) => {
  const histogram: MetricObject = {
    ...{ name: 'h', help: 'h', type: 'histogram', aggregator: 'sum' },
    values: [
      { metricName: 'h_bucket', labels: { le: '1', a: 'x' }, value: 3 },
      { metricName: 'h_count', labels: { a: 'x' }, value: 4 },
    ],
  };
  const gauge = { ...counter('g', 7), type: 'gauge' };
  const first = addUp([], [counter('c', 1, { a: '1', b: '2' }), histogram, gauge]);
  t.same(
    first.map(({ name }) => name),
    ['c', 'h'],
  );
  const second = addUp(first, [
    counter('c', 2, { b: '2', a: '1' }), // the same labels in another order
    counter('d', 5),
    histogram,
    counter('m', 5, {}, 'max'),
  ]);
  const third = addUp(second, [counter('c', 9, { a: '1', b: '3' })]);
  const values = Object.fromEntries(
    third.map(({ name, values }) => [name, values.map(({ value }) => value)]),
  );
  t.same(values, { c: [3, 9], h: [6, 8], d: [5] });
});

t.test('of the process there is one, and unknown rules are a sum', async (t) => {
  const metrics = [
    counter('process_cpu_user_seconds_total', 1),
    counter('app_process_resident_memory_bytes', 1),
    counter('process_orders_total', 1),
    counter('gyre_ready', 1),
    counter('odd', 1, {}, 'product'),
    counter('mean', 1, {}, 'average'),
  ];
  const rules = mergeable(metrics, new Set(['gyre_ready'])).map(({ name, aggregator }) => [
    name,
    aggregator,
  ]);
  t.same(rules, [
    ['process_cpu_user_seconds_total', 'max'],
    ['app_process_resident_memory_bytes', 'max'],
    ['process_orders_total', 'sum'],
    ['odd', 'sum'],
    ['mean', 'average'],
  ]);
});

t.test('a quantile lies in the bucket that has it', async (t) => {
  const boundsSeconds = [1, 2, 4];
  const of = (...counts: number[]) => ({ sumSeconds: 0, boundsSeconds, counts });
  t.equal(quantile([of(0, 0, 0, 0)], 0.5), null);
  t.equal(quantile([], 0.5), null);
  t.equal(quantile([of(0, 10, 0, 0)], 0.5), 1.5);
  t.equal(quantile([of(0, 5, 0, 0), of(0, 5, 0, 0)], 0.5), 1.5, 'of all together');
  t.equal(quantile([of(10, 0, 10, 0)], 0.75), 3);
  t.equal(quantile([of(0, 0, 0, 3)], 0.5), 4, 'beyond the last bound nothing is known');
  t.equal(quantile([of(10, 0, 0, 0)], 1), 1);
});

t.test('what took less than a bound is what is in the buckets up to it', async (t) => {
  const histogram = { sumSeconds: 0, boundsSeconds: [1, 2, 4], counts: [10, 20, 40, 80] };
  t.equal(countBelow(histogram, 2), 30);
  t.equal(countBelow(histogram, 3), 30, 'of the next bucket nothing is sure');
  t.equal(countBelow(histogram, 0.5), 0);
  t.equal(countBelow(histogram, 9), 70, 'beyond the last bound nothing is known');
});
