/**
 * What a metric is, and how one is described that there is for each worker, source or listener, or once. Pure; any thread.
 * Names follow Prometheus's conventions.
 */
import { showAddress } from '../address.js';
import type { SourceInfo } from '../runtime/sources/api.js';
import type { Histogram, ListenerStatus, Status, WorkerStatus } from './status.js';

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

export interface HistogramSample {
  readonly labels: Labels;
  readonly histogram: Histogram;
}

interface Described {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

export type Metric = Described &
  (
    | { readonly type: 'counter' | 'gauge'; read: (status: Status) => Sample[] }
    | { readonly type: 'histogram'; read: (status: Status) => HistogramSample[] }
  );

/** A number, or null where it cannot be known. */
type Reading<Of> = (of: Of) => number | null;

export function labelOf({ index }: WorkerStatus): Labels {
  return { worker: `${index}` };
}

/** One sample for each set of labels: the sum of those of `samples` that have it. */
export function summed(samples: readonly Sample[]): Sample[] {
  const sums = new Map<string, Sample>();
  for (const { labels, value } of samples) {
    const key = JSON.stringify(labels);
    sums.set(key, { labels, value: (sums.get(key)?.value ?? 0) + value });
  }
  return [...sums.values()];
}

function family(type: 'counter' | 'gauge') {
  return {
    ofRuntime(name: string, help: string, read: Reading<Status>): Metric {
      const sample = (value: number | null) => (value === null ? [] : [{ labels: {}, value }]);
      return { name, type, help, labels: [], read: (status) => sample(read(status)) };
    },

    /** An emitted event may be called as a source is: their kinds differ. */
    ofSource(
      name: string,
      help: string,
      read: (source: SourceInfo) => Sample[],
      labels: readonly string[] = [],
    ): Metric {
      return {
        ...{ name, type, help, labels: ['source', 'kind', ...labels] },
        read: ({ sources }) =>
          sources.flatMap((source) =>
            read(source).map(({ labels: more, value }) => ({
              labels: { source: source.name, kind: source.kind, ...more },
              value,
            })),
          ),
      };
    },

    ofWorker(name: string, help: string, read: Reading<WorkerStatus>): Metric {
      return {
        ...{ name: `gyre_worker_${name}`, type, help, labels: ['worker'] },
        read: ({ workers }) =>
          workers.flatMap((worker) => {
            const value = read(worker);
            return value === null ? [] : [{ labels: labelOf(worker), value }];
          }),
      };
    },

    /** One worker may accept from several sockets of an address. */
    ofListener(name: string, help: string, read: (listener: ListenerStatus) => number): Metric {
      return {
        ...{ name: `gyre_listener_${name}`, type, help, labels: ['address', 'worker'] },
        read: ({ listeners }) =>
          summed(
            listeners.map((listener) => ({
              labels: {
                address: showAddress(listener.address),
                worker: `${listener.worker ?? ''}`,
              },
              value: read(listener),
            })),
          ),
      };
    },
  };
}

export const counter = family('counter');
export const gauge = family('gauge');

export const histogram = {
  ofWorker(name: string, help: string, read: (worker: WorkerStatus) => Histogram): Metric {
    return {
      ...{ name: `gyre_worker_${name}`, type: 'histogram', help, labels: ['worker'] },
      read: ({ workers }) =>
        workers.map((worker) => ({ labels: labelOf(worker), histogram: read(worker) })),
    };
  },
};
