/**
 * The metrics that the application keeps with prom-client in each worker, made fit to be summed
 * up. Pure.
 */
import type { MetricObject, MetricValue } from '../protocol.js';

/**
 * Both, with all their labels: so a sum over all workers does not fall when one of them ends,
 * which would look as if all had been counted anew.
 */
const KEPT: ReadonlySet<string> = new Set(['counter', 'histogram']);

/**
 * Counters and histograms of `one` and `other`; those of `one` are sums already. What else there
 * is goes with the thread that had it.
 */
export function addUp(
  one: readonly MetricObject[],
  other: readonly MetricObject[],
): readonly MetricObject[] {
  const sums = new Map(one.map((metric) => [metric.name, metric]));
  for (const metric of other) {
    if (!KEPT.has(metric.type) || metric.aggregator !== 'sum') continue;
    const sum = sums.get(metric.name);
    const values = sum === undefined ? metric.values : addValues(sum.values, metric.values);
    sums.set(metric.name, { ...metric, values });
  }
  return [...sums.values()];
}

function addValues(one: readonly MetricValue[], other: readonly MetricValue[]): MetricValue[] {
  const sums = new Map(one.map((each) => [seriesOf(each), each]));
  for (const each of other) {
    const key = seriesOf(each);
    sums.set(key, { ...each, value: each.value + (sums.get(key)?.value ?? 0) });
  }
  return [...sums.values()];
}

function seriesOf({ metricName, labels }: MetricValue): string {
  return JSON.stringify([metricName, Object.entries(labels).sort()]);
}

/**
 * What prom-client counts by itself of the process as a whole. Threads have one process together,
 * and each tells all of it.
 */
const OF_THE_PROCESS = /(?:^|_)process_(?:cpu|resident|virtual|heap|open_fds|max_fds|start_time)/;

/** prom-client's rules for making one value of many. */
const RULES: ReadonlySet<string> = new Set(['sum', 'first', 'omit', 'average', 'min', 'max']);

/** Those of `metrics` that are not among `ours`, each with a rule that makes sense of threads. */
export function mergeable(
  metrics: readonly MetricObject[],
  ours: ReadonlySet<string>,
): MetricObject[] {
  return metrics
    .filter(({ name }) => !ours.has(name))
    .map((metric) => {
      const aggregator = RULES.has(metric.aggregator) ? metric.aggregator : 'sum';
      const ofAll = aggregator === 'sum' && OF_THE_PROCESS.test(metric.name);
      return { ...metric, aggregator: ofAll ? 'max' : aggregator };
    });
}
