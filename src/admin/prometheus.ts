/**
 * The answer to `GET /metrics`: gyre's own metrics and the application's as one text. The only
 * file that loads prom-client, when it is first asked. Main thread only.
 */
import type { Registry } from 'prom-client';
import type { MetricObject, MetricValue } from '../protocol.js';
import { mergeable } from './application.js';
import type { HistogramSample, Metric } from './metric.js';
import { METRIC_NAMES, METRICS } from './metrics.js';
import type { Status } from './status.js';

interface Exposition {
  readonly contentType: string;
  readonly text: string;
}

/** Its types do not know that a registry of many may be of either kind. */
type Aggregate = (metrics: readonly (readonly MetricObject[])[], contentType: string) => Registry;

/**
 * @param application metrics of each worker
 * @param accept what the client says that it takes: OpenMetrics if it takes that, else
 *   Prometheus's text format
 */
export async function expose(
  status: Status,
  application: readonly (readonly MetricObject[])[],
  accept: string,
): Promise<Exposition> {
  const client = await import('prom-client');
  const aggregate = client.AggregatorRegistry.aggregate as unknown as Aggregate;
  const open = accept.includes('application/openmetrics-text');
  const contentType = open ? client.openMetricsContentType : client.prometheusContentType;
  const own = METRICS.map((metric) => objectOf(metric, status));
  const all = [own, ...application.map((metrics) => mergeable(metrics, METRIC_NAMES))];
  const named = open ? all.map((metrics) => metrics.map(withoutTotal)) : all;
  return { contentType, text: await aggregate(named, contentType).metrics() };
}

/** In OpenMetrics a counter's samples end in `_total`, which prom-client adds, and its name does not. */
function withoutTotal(metric: MetricObject): MetricObject {
  if (metric.type !== 'counter') return metric;
  return { ...metric, name: metric.name.replace(/_total$/, '') };
}

function objectOf(metric: Metric, status: Status): MetricObject {
  const { name, help, type } = metric;
  const values: readonly MetricValue[] =
    metric.type === 'histogram'
      ? metric.read(status).flatMap((sample) => valuesOf(name, sample))
      : metric.read(status);
  return { name, help, type, aggregator: 'first', values };
}

function valuesOf(name: string, { labels, histogram }: HistogramSample): MetricValue[] {
  let below = 0;
  const buckets = histogram.counts.map((count, i) => {
    below += count;
    const le = `${histogram.boundsSeconds[i] ?? '+Inf'}`;
    return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: histogram.sumSeconds },
    { metricName: `${name}_count`, labels, value: below },
  ];
}
