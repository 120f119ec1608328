/**
 * The catalogue of metrics: what each is called, what it means, and where in a {@link Status} it
 * comes from. Pure; any thread. docs/operating.md has the same table, and a test compares the two.
 */
import type { RuntimeState } from '../runtime/api.js';
import { WORKER_STATES } from '../scheduler/layout.js';
import { counter, gauge, histogram, labelOf, type Metric, summed } from './metric.js';

const RUNTIME_STATES: readonly RuntimeState[] = ['starting', 'serving', 'closing', 'closed'];

const JOB_OUTCOMES = ['finished', 'failed', 'crashed', 'cancelled', 'refused'] as const;
const FIRING_OUTCOMES = {
  ...{ handled: 'handled', failed: 'failed', lost: 'lost', timedOut: 'timed out' },
  ...{ unhandled: 'unhandled', cancelled: 'cancelled', skipped: 'skipped' },
} as const;

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
  gauge.ofRuntime(
    'gyre_ready',
    '1 if some worker serves and listens, as /readyz has it.',
    (status) => Number(status.ready),
  ),
  gauge.ofRuntime(
    'gyre_workers',
    'Workers, spares not counted.',
    ({ workers }) => workers.filter(({ spare }) => !spare).length,
  ),
  gauge.ofRuntime(
    'gyre_spares',
    'Spares that run.',
    ({ workers }) => workers.filter(({ spare }) => spare).length,
  ),
  counter.ofRuntime(
    'gyre_reloads_total',
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
    read: ({ moves }) =>
      summed(
        moves.flatMap(({ ring, given, rescued }) => [
          { labels: { ring: `${ring ?? 'spare'}`, by: 'worker' }, value: given },
          { labels: { ring: `${ring ?? 'spare'}`, by: 'governor' }, value: rescued },
        ]),
      ),
  },
  {
    ...{ name: 'gyre_jobs_total', type: 'counter', labels: ['outcome'] },
    help: 'CPU-bound jobs that are over: finished, failed, crashed, cancelled or refused.',
    read: ({ jobs }) =>
      JOB_OUTCOMES.map((outcome) => ({ labels: { outcome }, value: jobs[outcome] })),
  },
  gauge.ofRuntime(
    'gyre_jobs_waiting',
    'CPU-bound jobs that wait for a thread.',
    ({ jobs }) => jobs.waiting,
  ),
  gauge.ofRuntime(
    'gyre_jobs_running',
    'CPU-bound jobs that were handed to a thread, and are not over.',
    ({ jobs }) => jobs.running,
  ),
  gauge.ofRuntime(
    'gyre_job_threads',
    'Threads of the job pool.',
    ({ jobs }) => jobs.threads.length,
  ),
  counter.ofSource(
    'gyre_firings_total',
    'Firings of open sources that are over: handled, failed, lost, timed out, unhandled or cancelled; and those that were due and skipped.',
    (source) =>
      Object.entries(FIRING_OUTCOMES).map(([key, outcome]) => ({
        labels: { outcome },
        value: source[key as keyof typeof FIRING_OUTCOMES],
      })),
    ['outcome'],
  ),
  gauge.ofSource('gyre_firings_waiting', 'Firings that no worker has.', ({ waiting }) => [
    { labels: {}, value: waiting },
  ]),
  gauge.ofSource(
    'gyre_firings_running',
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
  gauge.ofWorker(
    'stuck_seconds',
    'For how long it has not returned to its event loop; 0 while it waits there.',
    (worker) => worker.stuckSeconds,
  ),
  gauge.ofWorker('connections', 'Open connections.', (worker) => worker.connections),
  gauge.ofWorker(
    'held_connections',
    'Open connections that it must keep, because the application said so.',
    (worker) => worker.held,
  ),
  gauge.ofWorker(
    'outstanding_events',
    'Events that were ready and waiting when it last looked, after a long iteration.',
    (worker) => worker.outstanding,
  ),
  gauge.ofWorker(
    'follows_messages',
    '1 while it follows the messages of its connections, so that these can move.',
    (worker) => Number(worker.armed),
  ),
  counter.ofWorker(
    'accepted_total',
    'Connections that it accepted itself.',
    (worker) => worker.accepted,
  ),
  counter.ofWorker(
    'requests_total',
    'HTTP/1 requests that it answered.',
    (worker) => worker.requests,
  ),
  gauge.ofWorker(
    'requests_in_flight',
    'HTTP/1 requests to be answered; 0 without maxOutstanding.',
    (worker) => worker.inFlight,
  ),
  counter.ofWorker(
    'shed_total',
    'Connections and requests that it refused because of maxConnections or maxOutstanding.',
    (worker) => worker.shed,
  ),
  gauge.ofWorker(
    'accepts',
    '1 while it accepts new connections; 0 while they wait in the kernel, at a limit or for descriptors.',
    (worker) => Number(worker.accepting === 'accepts'),
  ),
  histogram.ofWorker(
    'request_duration_seconds',
    'With requestTimes, from handing an HTTP/1 request to the application to the end of its response; above 5,000 requests a second a sample of them.',
    (worker) => worker.requestTimes,
  ),
  counter.ofWorker(
    'messages_total',
    'HTTP/1 messages that were seen to begin while it followed them.',
    (worker) => worker.messages,
  ),
  counter.ofWorker('loops_total', 'Iterations of its event loop.', (worker) => worker.loops),
  counter.ofWorker(
    'events_total',
    'Events that its event loop handled.',
    (worker) => worker.events,
  ),
  histogram.ofWorker(
    'iteration_seconds',
    'How long an iteration kept its event loop busy, which is how long an event may have had to wait for it.',
    (worker) => worker.iterations,
  ),
  counter.ofWorker(
    'idle_seconds_total',
    'Time that its event loop slept; what is missing to a second per second is its utilization.',
    (worker) => worker.idleSeconds,
  ),
  counter.ofWorker(
    'cpu_seconds_total',
    'CPU time that its thread used.',
    (worker) => worker.cpuSeconds,
  ),
  counter.ofWorker(
    'run_delay_seconds_total',
    'Time that its thread was ready to run and waited for a CPU.',
    (worker) => worker.runDelaySeconds,
  ),
  counter.ofWorker(
    'rounds_total',
    'Times it looked and had more than one event waiting.',
    (worker) => worker.rounds,
  ),
  counter.ofWorker(
    'given_total',
    'Connections that it gave away itself.',
    (worker) => worker.given,
  ),
  counter.ofWorker('received_total', 'Connections that it was given.', (worker) => worker.received),
  counter.ofWorker(
    'rescued_total',
    'Connections that the governor took from it while it stood still.',
    (worker) => worker.rescued,
  ),
  counter.ofWorker(
    'refused_total',
    'Moves that were decided on and not made.',
    (worker) => worker.refused,
  ),
  histogram.ofWorker(
    'pause_seconds',
    'How long the governor paused it, each time.',
    (worker) => worker.pauses,
  ),
  counter.ofWorker(
    'mismatches_total',
    'Connections that stayed because the kernel saw them inside a message.',
    (worker) => worker.mismatches,
  ),
  counter.ofWorker(
    'failures_total',
    'System calls that failed when a connection was to move; it stayed.',
    (worker) => worker.failures,
  ),
  gauge.ofWorker(
    'pin_rings',
    'Rings of CPUs around its own on which it may run as well, because others use that.',
    (worker) => worker.rings,
  ),
  counter.ofWorker(
    'widened_total',
    'Times that its pin gave way to other processes by one ring more.',
    (worker) => worker.widened,
  ),
  counter.ofWorker(
    'narrowed_total',
    'Times that its pin was tightened by one ring.',
    (worker) => worker.narrowed,
  ),
  gauge.ofWorker(
    'heap_used_bytes',
    'Heap in use, as the worker said last.',
    (worker) => worker.heap?.usedBytes ?? null,
  ),
  gauge.ofWorker(
    'heap_limit_bytes',
    'Heap that it may use, as the worker said last.',
    (worker) => worker.heap?.limitBytes ?? null,
  ),
  gauge.ofWorker(
    'report_age_seconds',
    'How long ago the worker said how much heap it uses, and what the application counts.',
    (worker) => worker.heap?.ageSeconds ?? null,
  ),
  gauge.ofWorker(
    'metrics_failed',
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
  counter.ofWorker(
    'restarts_total',
    'Times that it was started again after its death.',
    (worker) => worker.restarts,
  ),
  counter.ofWorker(
    'hangs_total',
    'Times that it did not return to its event loop for hangMs.',
    (worker) => worker.hangs,
  ),
  counter.ofWorker(
    'recycles_total',
    'Times that it was replaced because its heap was nearly full.',
    (worker) => worker.recycles,
  ),
  gauge.ofListener(
    'queue_connections',
    'Connections that wait to be accepted at an address; worker is empty where all accept from one socket.',
    ({ queue }) => queue,
  ),
  gauge.ofListener('queue_limit_connections', 'How many may wait.', ({ queueLimit }) => queueLimit),
  counter.ofListener(
    'dropped_total',
    'Connections that were turned away, mostly because the accept queue was full. A client that tries again counts again.',
    ({ dropped }) => dropped,
  ),
  counter.ofRuntime(
    'process_cpu_seconds_total',
    'CPU time that the whole process used.',
    (status) => status.process.cpuSeconds,
  ),
  gauge.ofRuntime(
    'process_resident_memory_bytes',
    'Memory of the whole process.',
    (status) => status.process.residentBytes,
  ),
  gauge.ofRuntime(
    'process_open_fds',
    'Descriptors that the process has open.',
    (status) => status.process.openDescriptors,
  ),
  gauge.ofRuntime(
    'process_start_time_seconds',
    'When the process began, in seconds since 1970.',
    (status) => status.process.startedAtSeconds,
  ),
];

export const METRIC_NAMES: ReadonlySet<string> = new Set(METRICS.map(({ name }) => name));
