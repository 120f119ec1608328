/**
 * The catalogue of metrics: what each is called, what it means, and where in a {@link Status} it
 * comes from. Names follow Prometheus's conventions. Pure. docs/operating.md has the same table,
 * and a test compares the two.
 */
import { showAddress } from '../address.js';
import type { RuntimeState } from '../runtime/api.js';
import type { SourceInfo } from '../runtime/sources/api.js';
import { WORKER_STATES } from '../scheduler/layout.js';
import type { Histogram, ListenerStatus, Status, WorkerStatus } from './status.js';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
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

const RUNTIME_STATES: readonly RuntimeState[] = ['starting', 'serving', 'closing', 'closed'];

const JOB_OUTCOMES = ['finished', 'failed', 'crashed', 'cancelled', 'refused'] as const;
const FIRING_OUTCOMES = {
  ...{ handled: 'handled', failed: 'failed', lost: 'lost', timedOut: 'timed out' },
  ...{ unhandled: 'unhandled', cancelled: 'cancelled', skipped: 'skipped' },
} as const;

type Reading = (worker: WorkerStatus) => number | null;

function ofRuntime(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  read: (status: Status) => number | null,
): Metric {
  const sample = (value: number | null) => (value === null ? [] : [{ labels: {}, value }]);
  return { name, type, help, labels: [], read: (status) => sample(read(status)) };
}

/** One for each source. An emitted event may be called as a source is: their kinds differ. */
function ofSource(
  name: string,
  type: 'counter' | 'gauge',
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
}

function ofWorker(name: string, type: 'counter' | 'gauge', help: string, read: Reading): Metric {
  return {
    ...{ name: `gyre_worker_${name}`, type, help, labels: ['worker'] },
    read: ({ workers }) =>
      workers.flatMap((worker) => {
        const value = read(worker);
        return value === null ? [] : [{ labels: labelOf(worker), value }];
      }),
  };
}

function times(name: string, help: string, read: (worker: WorkerStatus) => Histogram): Metric {
  return {
    ...{ name: `gyre_worker_${name}`, type: 'histogram', help, labels: ['worker'] },
    read: ({ workers }) =>
      workers.map((worker) => ({ labels: labelOf(worker), histogram: read(worker) })),
  };
}

function ofListener(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  read: (listener: ListenerStatus) => number,
): Metric {
  return {
    ...{ name: `gyre_listener_${name}`, type, help, labels: ['address', 'worker'] },
    read: ({ listeners }) => {
      // One worker may accept from several sockets of an address.
      const sums = new Map<string, Sample>();
      for (const listener of listeners) {
        const worker = listener.worker === null ? '' : `${listener.worker}`;
        const labels = { address: showAddress(listener.address), worker };
        const key = JSON.stringify(labels);
        sums.set(key, { labels, value: (sums.get(key)?.value ?? 0) + read(listener) });
      }
      return [...sums.values()];
    },
  };
}

function labelOf({ index }: WorkerStatus): Labels {
  return { worker: `${index}` };
}

export const METRICS: readonly Metric[] = [
  {
    ...{ name: 'gyre_info', type: 'gauge', labels: ['name', 'version', 'node'] },
    help: 'Always 1: what runs here.',
    read: ({ name, version, node }) => [{ labels: { name, version, node }, value: 1 }],
  },
  {
    ...{ name: 'gyre_state', type: 'gauge', labels: ['state'] },
    help: '1 for the state that the runtime is in, 0 for all others.',
    read: ({ state }) =>
      RUNTIME_STATES.map((each) => ({ labels: { state: each }, value: Number(each === state) })),
  },
  ofRuntime(
    'gyre_ready',
    'gauge',
    '1 if some worker serves and listens, as /readyz has it.',
    (status) => Number(status.ready),
  ),
  ofRuntime(
    'gyre_workers',
    'gauge',
    'Workers, spares not counted.',
    ({ workers }) => workers.filter(({ spare }) => !spare).length,
  ),
  ofRuntime(
    'gyre_spares',
    'gauge',
    'Spares that run.',
    ({ workers }) => workers.filter(({ spare }) => spare).length,
  ),
  ofRuntime(
    'gyre_reloads_total',
    'counter',
    'Times that every worker was replaced.',
    (status) => status.reloads,
  ),
  {
    ...{ name: 'gyre_stalls_total', type: 'counter', labels: ['function'] },
    help: 'Samples in which a worker stood still in a function while others waited; only with blame.',
    read: ({ blamed }) =>
      blamed.map(({ where, count }) => ({ labels: { function: where }, value: count })),
  },
  {
    ...{ name: 'gyre_moved_total', type: 'counter', labels: ['ring', 'by'] },
    help: 'Connections that went from one worker to another, by how near that is (1: the nearest ring; spare: to or from one) and by who moved them: worker or governor.',
    read: ({ moves }) => {
      const sums = new Map<string, Sample>();
      for (const { ring, given, rescued } of moves) {
        for (const [by, count] of [
          ['worker', given],
          ['governor', rescued],
        ] as const) {
          const labels = { ring: `${ring ?? 'spare'}`, by };
          const key = JSON.stringify(labels);
          sums.set(key, { labels, value: (sums.get(key)?.value ?? 0) + count });
        }
      }
      return [...sums.values()];
    },
  },
  {
    ...{ name: 'gyre_jobs_total', type: 'counter', labels: ['outcome'] },
    help: 'CPU-bound jobs that are over: finished, failed, crashed, cancelled or refused.',
    read: ({ jobs }) =>
      JOB_OUTCOMES.map((outcome) => ({ labels: { outcome }, value: jobs[outcome] })),
  },
  ofRuntime(
    'gyre_jobs_waiting',
    'gauge',
    'CPU-bound jobs that wait for a thread.',
    ({ jobs }) => jobs.waiting,
  ),
  ofRuntime(
    'gyre_jobs_running',
    'gauge',
    'CPU-bound jobs that were handed to a thread, and are not over.',
    ({ jobs }) => jobs.running,
  ),
  ofRuntime(
    'gyre_job_threads',
    'gauge',
    'Threads of the job pool.',
    ({ jobs }) => jobs.threads.length,
  ),
  ofSource(
    'gyre_firings_total',
    'counter',
    'Firings of open sources that are over: handled, failed, lost, timed out, unhandled or cancelled; and those that were due and skipped.',
    (source) =>
      Object.entries(FIRING_OUTCOMES).map(([key, outcome]) => ({
        labels: { outcome },
        value: source[key as keyof typeof FIRING_OUTCOMES],
      })),
    ['outcome'],
  ),
  ofSource('gyre_firings_waiting', 'gauge', 'Firings that no worker has.', ({ waiting }) => [
    { labels: {}, value: waiting },
  ]),
  ofSource(
    'gyre_firings_running',
    'gauge',
    'Firings that a worker has and has not settled.',
    ({ running }) => [{ labels: {}, value: running }],
  ),
  {
    ...{ name: 'gyre_worker_info', type: 'gauge', labels: ['worker', 'cpu', 'spare'] },
    help: 'Always 1: the CPU that a worker is pinned to, if any, and whether it is a spare.',
    read: ({ workers }) =>
      workers.map((worker) => {
        const { cpu, spare } = worker;
        return { labels: { ...labelOf(worker), cpu: `${cpu ?? ''}`, spare: `${spare}` }, value: 1 };
      }),
  },
  {
    ...{ name: 'gyre_worker_state', type: 'gauge', labels: ['worker', 'state'] },
    help: '1 for the state that a worker is in, 0 for all others.',
    read: ({ workers }) =>
      workers.flatMap((worker) =>
        WORKER_STATES.map((state) => ({
          labels: { ...labelOf(worker), state },
          value: Number(state === worker.state),
        })),
      ),
  },
  ofWorker(
    ...(['stuck_seconds', 'gauge'] as const),
    'For how long it has not returned to its event loop; 0 while it waits there.',
    (worker) => worker.stuckSeconds,
  ),
  ofWorker('connections', 'gauge', 'Open connections.', (worker) => worker.connections),
  ofWorker(
    ...(['held_connections', 'gauge'] as const),
    'Open connections that it must keep, because the application said so.',
    (worker) => worker.held,
  ),
  ofWorker(
    ...(['outstanding_events', 'gauge'] as const),
    'Events that were ready and waiting when it last looked, after a long iteration.',
    (worker) => worker.outstanding,
  ),
  ofWorker(
    ...(['follows_messages', 'gauge'] as const),
    '1 while it follows the messages of its connections, so that these can move.',
    (worker) => Number(worker.armed),
  ),
  ofWorker(
    ...(['accepted_total', 'counter'] as const),
    'Connections that it accepted itself.',
    (worker) => worker.accepted,
  ),
  ofWorker(
    ...(['requests_total', 'counter'] as const),
    'HTTP/1 requests that it answered.',
    (worker) => worker.requests,
  ),
  ofWorker(
    ...(['requests_in_flight', 'gauge'] as const),
    'HTTP/1 requests to be answered; 0 without maxOutstanding.',
    (worker) => worker.inFlight,
  ),
  ofWorker(
    ...(['shed_total', 'counter'] as const),
    'Connections and requests that it refused because of maxConnections or maxOutstanding.',
    (worker) => worker.shed,
  ),
  ofWorker(
    ...(['accepts', 'gauge'] as const),
    '1 while it accepts new connections; 0 while they wait in the kernel, at a limit or for descriptors.',
    (worker) => Number(worker.accepting === 'accepts'),
  ),
  times(
    'request_duration_seconds',
    'With requestTimes, from handing an HTTP/1 request to the application to the end of its response; above 5,000 requests a second a sample of them.',
    (worker) => worker.requestTimes,
  ),
  ofWorker(
    ...(['messages_total', 'counter'] as const),
    'HTTP/1 messages that were seen to begin while it followed them.',
    (worker) => worker.messages,
  ),
  ofWorker(
    ...(['loops_total', 'counter'] as const),
    'Iterations of its event loop.',
    (worker) => worker.loops,
  ),
  ofWorker(
    ...(['events_total', 'counter'] as const),
    'Events that its event loop handled.',
    (worker) => worker.events,
  ),
  times(
    'iteration_seconds',
    'How long an iteration kept its event loop busy, which is how long an event may have had to wait for it.',
    (worker) => worker.iterations,
  ),
  ofWorker(
    ...(['idle_seconds_total', 'counter'] as const),
    'Time that its event loop slept; what is missing to a second per second is its utilization.',
    (worker) => worker.idleSeconds,
  ),
  ofWorker(
    ...(['cpu_seconds_total', 'counter'] as const),
    'CPU time that its thread used.',
    (worker) => worker.cpuSeconds,
  ),
  ofWorker(
    ...(['run_delay_seconds_total', 'counter'] as const),
    'Time that its thread was ready to run and waited for a CPU.',
    (worker) => worker.runDelaySeconds,
  ),
  ofWorker(
    ...(['rounds_total', 'counter'] as const),
    'Times it looked and had more than one event waiting.',
    (worker) => worker.rounds,
  ),
  ofWorker(
    ...(['given_total', 'counter'] as const),
    'Connections that it gave away itself.',
    (worker) => worker.given,
  ),
  ofWorker(
    ...(['received_total', 'counter'] as const),
    'Connections that it was given.',
    (worker) => worker.received,
  ),
  ofWorker(
    ...(['rescued_total', 'counter'] as const),
    'Connections that the governor took from it while it stood still.',
    (worker) => worker.rescued,
  ),
  ofWorker(
    ...(['refused_total', 'counter'] as const),
    'Moves that were decided on and not made.',
    (worker) => worker.refused,
  ),
  times('pause_seconds', 'How long the governor paused it, each time.', (worker) => worker.pauses),
  ofWorker(
    ...(['mismatches_total', 'counter'] as const),
    'Connections that stayed because the kernel saw them inside a message.',
    (worker) => worker.mismatches,
  ),
  ofWorker(
    ...(['failures_total', 'counter'] as const),
    'System calls that failed when a connection was to move; it stayed.',
    (worker) => worker.failures,
  ),
  ofWorker(
    ...(['pin_rings', 'gauge'] as const),
    'Rings of CPUs around its own on which it may run as well, because others use that.',
    (worker) => worker.rings,
  ),
  ofWorker(
    ...(['widened_total', 'counter'] as const),
    'Times that its pin gave way to other processes by one ring more.',
    (worker) => worker.widened,
  ),
  ofWorker(
    ...(['narrowed_total', 'counter'] as const),
    'Times that its pin was tightened by one ring.',
    (worker) => worker.narrowed,
  ),
  ofWorker(
    ...(['heap_used_bytes', 'gauge'] as const),
    'Heap in use, as the worker said last.',
    (worker) => worker.heap?.usedBytes ?? null,
  ),
  ofWorker(
    ...(['heap_limit_bytes', 'gauge'] as const),
    'Heap that it may use, as the worker said last.',
    (worker) => worker.heap?.limitBytes ?? null,
  ),
  ofWorker(
    ...(['report_age_seconds', 'gauge'] as const),
    'How long ago the worker said how much heap it uses, and what the application counts.',
    (worker) => worker.heap?.ageSeconds ?? null,
  ),
  ofWorker(
    ...(['metrics_failed', 'gauge'] as const),
    "1 if some of the application's metrics could not be collected.",
    (worker) => Number(worker.metricsFailure !== null),
  ),
  {
    ...{ name: 'gyre_worker_exits_total', type: 'counter', labels: ['worker', 'reason'] },
    help: 'Ends of its threads: died, finished, replaced, not-started or closed.',
    read: ({ workers }) =>
      workers.flatMap((worker) =>
        Object.entries(worker.exits).map(([reason, value]) => ({
          labels: { ...labelOf(worker), reason },
          value,
        })),
      ),
  },
  ofWorker(
    ...(['restarts_total', 'counter'] as const),
    'Times that it was started again after its death.',
    (worker) => worker.restarts,
  ),
  ofWorker(
    ...(['hangs_total', 'counter'] as const),
    'Times that it did not return to its event loop for hangMs.',
    (worker) => worker.hangs,
  ),
  ofWorker(
    ...(['recycles_total', 'counter'] as const),
    'Times that it was replaced because its heap was nearly full.',
    (worker) => worker.recycles,
  ),
  ofListener(
    ...(['queue_connections', 'gauge'] as const),
    'Connections that wait to be accepted at an address; worker is empty where all accept from one socket.',
    ({ queue }) => queue,
  ),
  ofListener(
    ...(['queue_limit_connections', 'gauge'] as const),
    'How many may wait.',
    ({ queueLimit }) => queueLimit,
  ),
  ofListener(
    ...(['dropped_total', 'counter'] as const),
    'Connections that were turned away, mostly because the accept queue was full. A client that tries again counts again.',
    ({ dropped }) => dropped,
  ),
  ofRuntime(
    'process_cpu_seconds_total',
    'counter',
    'CPU time that the whole process used.',
    (status) => status.process.cpuSeconds,
  ),
  ofRuntime(
    'process_resident_memory_bytes',
    'gauge',
    'Memory of the whole process.',
    (status) => status.process.residentBytes,
  ),
  ofRuntime(
    'process_open_fds',
    'gauge',
    'Descriptors that the process has open.',
    (status) => status.process.openDescriptors,
  ),
  ofRuntime(
    'process_start_time_seconds',
    'gauge',
    'When the process began, in seconds since 1970.',
    (status) => status.process.startedAtSeconds,
  ),
];

export const METRIC_NAMES: ReadonlySet<string> = new Set(METRICS.map(({ name }) => name));
