/**
 * What only this worker can tell: its heap, and the metrics that its application keeps. Worker's
 * thread only. Main asks, and does not wait for long.
 */
import Module from 'node:module';
import { getHeapStatistics } from 'node:v8';
import type { MetricObject, Report } from '../protocol.js';
import { type MetricsRegistry, namedRegistries } from './self.js';

/** The file whose exports are prom-client's, however it was installed. */
const PROM_CLIENT = /[\\/]prom-client[\\/]index\.js$/;

const cache = (Module as unknown as { _cache: Record<string, NodeModule | undefined> })._cache;

/** Answers `report`. Never rejects. */
export async function report({ id, metrics }: { id: number; metrics: boolean }): Promise<Report> {
  const { used_heap_size: heapUsedBytes, heap_size_limit: heapLimitBytes } = getHeapStatistics();
  const own = metrics ? await applicationMetrics() : { metrics: null, failure: null };
  return { kind: 'report', id, heapUsedBytes, heapLimitBytes, ...own };
}

async function applicationMetrics(): Promise<Pick<Report, 'metrics' | 'failure'>> {
  const found: MetricObject[] = [];
  let failure: string | null = null;
  for (const registry of new Set([...defaultRegistries(), ...namedRegistries()])) {
    try {
      const told = (await registry.getMetricsAsJSON()) as readonly MetricObject[];
      found.push(...told.map(plain));
    } catch (error) {
      failure = String(error);
    }
  }
  return { metrics: found, failure };
}

/** What an application put into a label may be anything, and not everything can be sent. */
function plain({ name, help, type, aggregator, values }: MetricObject): MetricObject {
  return {
    ...{ name: `${name}`, help: `${help}`, type: `${type}`, aggregator: `${aggregator ?? 'sum'}` },
    values: values.map(({ value, labels, metricName }) => ({
      value: Number(value),
      labels: Object.fromEntries(Object.entries(labels).map(([key, label]) => [key, `${label}`])),
      ...(metricName !== undefined && { metricName: `${metricName}` }),
    })),
  };
}

let known: MetricsRegistry[] = [];
let modulesThen = -1;

/** Those of every prom-client that the application has loaded. Gyre loads none here. */
function defaultRegistries(): MetricsRegistry[] {
  const files = Object.keys(cache);
  if (files.length === modulesThen) return known;
  modulesThen = files.length;
  known = files
    .filter((file) => PROM_CLIENT.test(file))
    .map((file) => (cache[file]?.exports as { register?: MetricsRegistry } | undefined)?.register)
    .filter((registry) => registry !== undefined)
    .filter(({ getMetricsAsJSON }) => typeof getMetricsAsJSON === 'function');
  return known;
}
