/**
 * The questions of the page: what is shown of each benchmark, and what is said about it. Figures come from
 * the results alone, so no text here has one that was measured.
 */
import type { Report } from '../report.js';
import { shown } from './figures.js';
import { RR } from './variants.js';

/** A comparison that the summary lists: a metric of one variant as a ratio to that of another. */
export interface Claim {
  readonly metric: string;
  readonly of: string;
  readonly to: string;
  /** What is compared, for a reader who has not seen the question. */
  readonly text: string;
}

/** A chart of whole distributions. */
export interface CurvesOf {
  readonly title: string;
  readonly variants: readonly string[];
  /** What was asked of the servers, in a line. */
  load(flags: Report['flags']): string;
}

export interface Question {
  /** Name of the file of results, without its extension. */
  readonly name: string;
  /** What was done, and what to look at. */
  readonly text: string;
  /** Metrics of the chart, one below the other, of the table, and of the table of ratios. */
  readonly chart: readonly string[];
  readonly table: readonly string[];
  readonly ratios: readonly string[];
  /** Absent: there is none. */
  readonly curves?: CurvesOf;
  readonly claims: readonly Claim[];
}

/** Of the flags of `stall`. */
export function stallLoad({
  fast = 0,
  slow = 0,
  ms = 0,
  connections = 0,
  workers = 0,
}: Report['flags']): string {
  return (
    `${shown(fast, 0)} fast requests/s beside ${slow}/s that compute for ${ms} ms, ` +
    `${connections} connections, ${workers} workers`
  );
}

export const QUESTIONS: readonly Question[] = [
  {
    name: 'stall',
    text:
      'Most requests are answered at once, and a few compute. Both arrive at random times on keep-alive ' +
      'connections, whether or not earlier ones were answered, and a latency counts from the moment when the ' +
      'request was due. All variants of a round face the same arrivals. The chart and the table are about the fast ' +
      'requests, but for the columns of slow ones: these pay, because gyre gives their CPUs to others in ' +
      'between. One queue is no server but the limit: the same arrivals before as many processors as there ' +
      'are workers, first come, first served. Go interrupts requests that compute, so it may be below that limit; ' +
      'and so may gyre with its spares.',
    chart: ['p95', 'p99'],
    table: ['p50', 'p95', 'p99', 'p999', 'slow50', 'slow95', 'late'],
    ratios: ['p50', 'p95', 'p99', 'p999'],
    curves: {
      title: 'How long the fast requests took',
      variants: ['gyre', RR, 'transfer', 'watt', 'go', 'limit'],
      load: stallLoad,
    },
    claims: [
      { metric: 'p95', of: 'gyre', to: RR, text: 'p95 of fast requests beside slow ones' },
      { metric: 'p99', of: 'gyre', to: RR, text: 'p99 of fast requests beside slow ones' },
      { metric: 'p999', of: 'gyre', to: RR, text: 'p99.9 of fast requests beside slow ones' },
      { metric: 'p50', of: 'gyre', to: RR, text: 'p50 of fast requests beside slow ones' },
      { metric: 'slow50', of: 'gyre', to: RR, text: 'p50 of the slow requests themselves' },
      { metric: 'p99', of: 'gyre', to: 'watt', text: 'p99 of fast requests beside slow ones' },
      { metric: 'p99', of: 'gyre', to: 'transfer', text: 'p99 of fast requests beside slow ones' },
      { metric: 'p99', of: 'gyre', to: 'go', text: 'p99 of fast requests beside slow ones' },
      { metric: 'p999', of: 'gyre', to: 'go', text: 'p99.9 of fast requests beside slow ones' },
    ],
  },
  {
    name: 'hello',
    text:
      'A closed loop over keep-alive connections, so this is about throughput. Nobody is slow, so there is ' +
      'nothing to gain by moving connections; what keeping track of them costs is the difference to gyre with moving off. ' +
      'The load generator uses the same CPUs, so the CPU time for each request is the fairer figure.',
    chart: ['throughput', 'cpu'],
    table: ['throughput', 'cpu', 'p99'],
    ratios: ['throughput', 'cpu'],
    claims: [
      ...[RR, 'cluster-none'].flatMap((to) => [
        { metric: 'throughput', of: 'gyre', to, text: 'throughput of a hello world' },
        { metric: 'cpu', of: 'gyre', to, text: 'CPU time for each request of a hello world' },
      ]),
      { metric: 'cpu', of: 'gyre', to: 'gyre-still', text: 'CPU time for each request' },
    ],
  },
  {
    name: 'upstream',
    text:
      'nginx stands in front, with a few long-lived connections to the server. Even: every request computes for the same ' +
      'short time, so the workers differ by the number of connections only. Stalls: a few compute for long besides; the ' +
      'chart is of these, and the figures are of the others.',
    chart: ['p95', 'p99'],
    table: ['p50', 'p95', 'p99', 'p999', 'late'],
    ratios: ['p50', 'p95', 'p99'],
    curves: {
      title: 'How long the short requests took through nginx, beside some that stall a worker',
      variants: ['gyre stalls', 'gyre-still stalls', `${RR} stalls`],
      load: ({ fast = 0, work = 0, slow = 0, ms = 0, connections = 0, workers = 0 }) =>
        `${shown(fast, 0)} requests/s that compute for ${work} ms beside ${slow}/s for ${ms} ms, ` +
        `${connections} connections from nginx, ${workers} workers`,
    },
    claims: (['even', 'stalls'] as const).flatMap((load) =>
      (['p50', 'p95', 'p99'] as const).map((metric) => ({
        ...{ metric, of: `gyre ${load}`, to: `${RR} ${load}` },
        text: `${metric} behind nginx, ${load === 'even' ? 'all requests alike' : 'some slow'}`,
      })),
    ),
  },
  {
    name: 'pinning',
    text:
      'Another process burns the CPU of one worker. A soft pin gives way, a hard one does not, and without a pin the ' +
      'kernel decides. The first three are what that costs when nobody burns. How often a soft pin gave way, and was ' +
      'taken back, is beside the latencies.',
    chart: ['p95', 'p99'],
    table: ['p50', 'p95', 'p99', 'p999', 'widened', 'narrowed', 'late'],
    ratios: ['p50', 'p95', 'p99', 'p999'],
    curves: {
      title: "How long requests took while another process burnt a worker's CPU",
      variants: ['soft-burnt', 'hard-burnt', 'off-burnt'],
      load: ({ fast = 0, ms = 0, connections = 0, workers = 0 }) =>
        `${shown(fast, 0)} requests/s that compute for ${ms} ms, ${connections} connections, ${workers} workers`,
    },
    claims: [
      { metric: 'p99', of: 'soft-burnt', to: 'hard-burnt', text: 'p99 while the CPU is burnt' },
      { metric: 'p99', of: 'soft-burnt', to: 'off-burnt', text: 'p99 while the CPU is burnt' },
      { metric: 'p99', of: 'soft', to: 'hard', text: 'p99 when nobody competes' },
      { metric: 'p99', of: 'soft', to: 'off', text: 'p99 when nobody competes' },
    ],
  },
  {
    name: 'overload',
    text:
      'Each request computes, comes on a connection of its own, and its client leaves when its patience is over. ' +
      'Without a limit on connections any server works its way through a queue of clients who have left, gyre as well.',
    chart: ['share'],
    table: ['goodput', 'share', 'useful', 'refused', 'p50', 'p99'],
    ratios: ['goodput'],
    claims: [1, 2].flatMap((times) =>
      ['gyre', 'gyre-refuse'].map((of) => ({
        ...{ metric: 'goodput', of: `${of}@${times}`, to: `${RR}@${times}` },
        text: 'answers in time',
      })),
    ),
  },
  {
    name: 'memory',
    text:
      'What one more worker costs, as a thread and as a process: the slope over several numbers of workers. RSS counts a ' +
      'page that processes share once for each of them; PSS shares it out, so it is what the machine loses.',
    chart: ['pssIdle', 'pss'],
    table: ['rssIdle', 'pssIdle', 'rss', 'pss', 'pss2'],
    ratios: ['pssIdle', 'pss', 'pss2'],
    claims: ['hello', 'express'].map((app) => ({
      ...{ metric: 'pss', of: `gyre ${app}`, to: `${RR} ${app}` },
      text: 'memory of one more worker (PSS), after a load',
    })),
  },
  {
    name: 'startup',
    text:
      'From the start of the first process; a new connection asks every millisecond. The program is loaded once for each ' +
      'worker, in a thread as in a process. One process is plain node with one thread, so it has less to start.',
    chart: ['first', 'all'],
    table: ['first', 'all'],
    ratios: ['first', 'all'],
    claims: ['hello', 'express'].flatMap((app) => [
      {
        ...{ metric: 'first', of: `gyre ${app}`, to: `${RR} ${app}` },
        text: 'time until the first answer',
      },
      {
        ...{ metric: 'all', of: `gyre ${app}`, to: `${RR} ${app}` },
        text: 'time until all workers listen',
      },
      {
        ...{ metric: 'first', of: `gyre ${app}`, to: `single ${app}` },
        text: 'time until the first answer',
      },
    ]),
  },
  {
    name: 'idle',
    text:
      'The same server is loaded alone, and with many idle connections. Memory is that of its processes; what the kernel ' +
      'keeps for a connection is not in it. Nobody is slow, so nothing has to move: the difference to gyre with moving off ' +
      'is what keeping track of the idle ones costs.',
    chart: ['throughput', 'p99', 'memory'],
    table: ['alone', 'throughput', 'kept', 'p99Alone', 'p99', 'memory'],
    ratios: ['throughput', 'kept', 'p99', 'memory'],
    claims: [
      { metric: 'memory', of: 'gyre', to: RR, text: 'memory of an idle connection' },
      { metric: 'throughput', of: 'gyre', to: RR, text: 'throughput beside idle connections' },
      { metric: 'p99', of: 'gyre', to: RR, text: 'p99 beside idle connections' },
      {
        ...{ metric: 'throughput', of: 'gyre', to: 'gyre-still' },
        text: 'throughput beside idle connections',
      },
    ],
  },
  {
    name: 'moving',
    text:
      'Chaos moves connections at random, as fast as it can; stalls are those of the first question. The cost of a move ' +
      'is what the whole server used more of the CPUs than one in which nothing moves; under stalls few connections move ' +
      'and the slow requests use most of the CPUs, so there it is a rough figure. A pause is how long a worker stands ' +
      'still so that others can take from it. Pauses are counted by powers of two, so a percentile is the power above it.',
    chart: ['cost', 'governor', 'pause'],
    table: ['moves', 'perPause', 'pause', 'pauseP50', 'pauseP99', 'governor', 'cost'],
    ratios: [],
    claims: [],
  },
  {
    name: 'governor',
    text:
      'The governor is two threads: one decides what moves on behalf of workers that stand still, and one watches them. ' +
      'Idle: nothing is sent. Hello: as many requests as the workers can answer. Stalls: those of the first question. A ' +
      'wake-up is a sleep that ended. Those of an idle process come some seconds after its start, when V8 collects ' +
      'its garbage, which the threads of the governor see; after that there are none.',
    chart: ['cpu', 'wakeups'],
    table: ['cpu', 'wakeups', 'others'],
    ratios: [],
    claims: [],
  },
  {
    name: 'admin',
    text: 'With the endpoint on workers count requests and time iterations, and each scrape wakes them.',
    chart: ['throughput', 'cpu'],
    table: ['throughput', 'cpu', 'p99', 'scrape'],
    ratios: ['throughput', 'cpu', 'p99'],
    claims: [
      { metric: 'cpu', of: 'gyre-admin', to: 'gyre', text: 'CPU time for each request, scraped' },
    ],
  },
  {
    name: 'jobs',
    text:
      'First as many jobs of one length as get done, then short and long ones at random times. All pools have as many ' +
      'threads and run the same function.',
    chart: ['waitP99', 'shortP99'],
    table: ['throughput', 'waitP50', 'waitP99', 'shortP99', 'longP99'],
    ratios: ['throughput', 'waitP50', 'waitP99', 'shortP99', 'longP99'],
    claims: [
      { metric: 'throughput', of: 'gyre', to: 'piscina', text: 'jobs done' },
      { metric: 'waitP99', of: 'gyre', to: 'piscina', text: 'p99 of waiting for a thread' },
    ],
  },
  {
    name: 'false-sharing',
    text:
      'Two threads add to words of their own, which are so many bytes apart; two neighbouring cache lines, which a ' +
      'processor may fetch together, are 64 apart. The rows are those of the scoreboard, written by its own code: where ' +
      'they are laid out, and packed side by side.',
    chart: ['cost'],
    table: ['cost'],
    ratios: ['cost'],
    claims: [
      {
        ...{ metric: 'cost', of: 'rows as laid out', to: 'rows packed' },
        text: 'an addition in a row of the scoreboard',
      },
      { metric: 'cost', of: 'atomic 128', to: 'atomic 4', text: 'an addition in two threads' },
      { metric: 'cost', of: 'atomic 128', to: 'atomic 64', text: 'an addition in two threads' },
    ],
  },
  {
    name: 'arena',
    text:
      'Two threads count; one thread walks through records; one walks at random through much memory. Colours should gain ' +
      'nothing where one cache set holds all records, or where the records are in all sets by themselves.',
    chart: ['cost'],
    table: ['cost'],
    ratios: ['cost'],
    claims: [
      ['add, counter()', 'add, neighbours', 'counting in two threads'],
      ['walk 64 × 4096, coloured', 'walk 64 × 4096, close', 'a walk through many large records'],
      ['walk 64 × 128, coloured', 'walk 64 × 128, close', 'a walk through small records'],
    ].map(([of = '', to = '', text = '']) => ({ metric: 'cost', of, to, text })),
  },
];
