/**
 * The same metrics for OpenTelemetry, where this process has set up a MeterProvider before the runtime
 * starts. Main thread only. Nothing is read until the provider's reader asks.
 *
 * Of a histogram there are a count and a sum: the API has none that is observed from outside.
 */
import { createRequire } from 'node:module';
import type {
  Attributes,
  BatchObservableResult,
  MeterProvider,
  Observable,
} from '@opentelemetry/api';
import { total } from './histogram.js';
import type { Metric } from './metric.js';
import { METRICS } from './metrics.js';
import type { Readings } from './readings.js';
import type { Histogram, Status } from './status.js';
import { isTelemetryPresent } from './wanted.js';

/**
 * Exports `readings`, if a MeterProvider was set up.
 *
 * @param entry the program: its copy of the API is likely the one that set it up, and one of another
 *   version would not see it
 * @returns what ends it
 */
export function exportReadings(readings: Readings, entry: string): () => void {
  const provider = isTelemetryPresent() ? providerSeenFrom(entry) : null;
  if (provider === null) return () => {};
  const meter = provider.getMeter('gyre');
  const instruments: { instrument: Observable; values: Values }[] = [];
  for (const metric of METRICS.filter(({ name }) => name.startsWith('gyre_'))) {
    for (const { suffix, type, values } of partsOf(metric)) {
      const { name, unit } = nameOf(metric.name);
      const options = { description: metric.help, unit: suffix === '.count' ? '1' : unit };
      const instrument =
        type === 'counter'
          ? meter.createObservableCounter(name + suffix, options)
          : meter.createObservableGauge(name + suffix, options);
      instruments.push({ instrument, values });
    }
  }
  const observe = async (result: BatchObservableResult) => {
    const status = await readings.read();
    for (const { instrument, values } of instruments) {
      for (const { labels, value } of values(status)) result.observe(instrument, value, labels);
    }
  };
  const observed = instruments.map(({ instrument }) => instrument);
  meter.addBatchObservableCallback(observe, observed);
  return () => meter.removeBatchObservableCallback(observe, observed);
}

function providerSeenFrom(entry: string): MeterProvider | null {
  for (const from of [entry, __filename]) {
    try {
      const api = createRequire(from)('@opentelemetry/api') as typeof import('@opentelemetry/api');
      return api.metrics as unknown as MeterProvider;
    } catch {
      // not there, or no CommonJS
    }
  }
  return null;
}

type Values = (status: Status) => readonly { labels: Attributes; value: number }[];

function partsOf(metric: Metric): { suffix: string; type: 'counter' | 'gauge'; values: Values }[] {
  if (metric.type !== 'histogram') return [{ suffix: '', type: metric.type, values: metric.read }];
  const { read } = metric;
  const part = (suffix: string, of: (histogram: Histogram) => number) => {
    const values: Values = (status) =>
      read(status).map(({ labels, histogram }) => ({ labels, value: of(histogram) }));
    return { suffix, type: 'counter' as const, values };
  };
  return [
    part('.count', ({ counts }) => total(counts)),
    part('.sum', ({ sumSeconds }) => sumSeconds),
  ];
}

/** gyre_worker_run_delay_seconds_total is gyre.worker.run_delay in s. */
function nameOf(prometheus: string): { name: string; unit: string } {
  const [, base = '', unit] = /^(.*?)(?:_(seconds|bytes))?(?:_total)?$/.exec(prometheus) ?? [];
  const name = base.replace(/^gyre_(worker|listener)_/, 'gyre.$1.').replace(/^gyre_/, 'gyre.');
  return { name, unit: unit === 'seconds' ? 's' : unit === 'bytes' ? 'By' : '1' };
}
