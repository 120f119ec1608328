/**
 * Takes the readings of a runtime: the scoreboard, the kernel's figures of its threads and
 * sockets, what its workers say of themselves, and what has happened. Main thread only. Reading costs
 * nothing until somebody asks.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { queueOf } from '../native.js';
import type { MetricObject } from '../protocol.js';
import type { EndReason } from '../runtime/api.js';
import { readTopology } from '../runtime/sysfs.js';
import type { WorkerHandle } from '../runtime/worker-handle.js';
import type { Topology } from '../scheduler/topology.js';
import type { Times, WorkerRow } from '../scheduler/worker-row.js';
import { Lifetimes, Unwrapped } from './counters.js';
import { total } from './histogram.js';
import type { ListeningSocket, Observed } from './observed.js';
import { openDescriptors, threadTimes } from './proc.js';
import { Reports } from './reports.js';
import {
  type HeapStatus,
  type Histogram,
  type LevelStatus,
  type ListenerStatus,
  SCHEMA,
  type Status,
  type WorkerStatus,
} from './status.js';

/** From this file's place in dist/src/admin. */
const { version } = JSON.parse(
  readFileSync(path.join(__dirname, '..', '..', '..', 'package.json'), 'utf8'),
) as { version: string };

/** What is shown of TIMES.BY_US: bounds of 2^4 to 2^24 µs. Less and more is nobody's question. */
const [BOUND_FIRST, BOUND_LAST] = [4, 24];
/** The first bucket of PAUSES_BY_US is below 2^3 µs. */
const PAUSE_BOUND_FIRST = 3;

const REASONS = [
  ...['died', 'finished', 'replaced', 'not-started', 'closed'],
] as readonly EndReason[];

/** What has happened to one worker. */
interface Life {
  readonly exits: Record<EndReason, number>;
  restarts: number;
  hangs: number;
  recycles: number;
}

export class Readings {
  readonly #observed: Observed;
  readonly #counts = new Unwrapped();
  readonly #times = new Lifetimes<WorkerHandle, 'cpuSeconds' | 'runDelaySeconds' | 'idleSeconds'>([
    'cpuSeconds',
    'runDelaySeconds',
    'idleSeconds',
  ]);
  readonly #reports = new Reports();
  readonly #lives = new Map<number, Life>();
  #reloads = 0;
  #machine: Topology | null = null;
  /** Of the machine, or none if it could not be read: looked for once. */
  #levels: readonly LevelStatus[] | null = null;
  /** Those of whom it is under way, or was when they asked. */
  #reading: { readonly status: Promise<Status>; readonly metrics: boolean } | null = null;

  /** Before anything has started, so that nothing is missed. */
  constructor(observed: Observed) {
    this.#observed = observed;
    const { runtime } = observed;
    runtime.on('exit', ({ worker, reason, restartInMs }) => {
      const life = this.#life(worker.index);
      life.exits[reason]++;
      if (restartInMs !== null) life.restarts++;
    });
    runtime.on('hang', ({ worker }) => {
      this.#life(worker.index).hangs++;
    });
    runtime.on('recycle', ({ worker }) => {
      this.#life(worker.index).recycles++;
    });
    runtime.on('reload', () => {
      this.#reloads++;
    });
  }

  /** Read when first asked for. @throws GyreError where it cannot be read */
  get machine(): Topology {
    this.#machine ??= readTopology();
    return this.#machine;
  }

  /** What the applications keep, as it was at the last {@link read} with `metrics`. */
  get applicationMetrics(): readonly (readonly MetricObject[])[] {
    return this.#reports.applicationMetrics();
  }

  /**
   * Everything now. Those who ask while it is being found out get the same.
   *
   * @param metrics whether workers are asked for the application's metrics as well
   */
  read(metrics = false): Promise<Status> {
    const under = this.#reading;
    if (under !== null && (under.metrics || !metrics)) return under.status;
    const status = this.#read(metrics).finally(() => {
      if (this.#reading?.status === status) this.#reading = null;
    });
    this.#reading = { status, metrics };
    return status;
  }

  async #read(metrics: boolean): Promise<Status> {
    const { runtime, name } = this.#observed;
    await this.#reports.collect(this.#observed.threads(), metrics);
    const threads = this.#observed.threads();
    this.#times.update(threads, (thread) => {
      const idleMs = thread.loopIdleMs();
      return {
        ...threadTimes(thread.tid),
        idleSeconds: idleMs === null ? null : idleMs / 1e3,
      };
    });
    const { workers, spares, moves, blamed, jobs, sources } = runtime.snapshot();
    const { user, system } = process.cpuUsage();
    return {
      schema: SCHEMA,
      takenAtMs: Date.now(),
      ...{ name, version, node: process.version, pid: process.pid },
      ...{ state: runtime.state, ready: runtime.ready, addresses: runtime.addresses },
      ...{ capabilities: runtime.capabilities, reloads: this.#reloads, blamed, jobs, sources },
      workers: [
        ...workers.map((row) => this.#worker(row, false, threads)),
        ...spares.map((row) => this.#worker(row, true, threads)),
      ],
      moves: moves.map((move) => {
        const { from, to } = move;
        const total = (key: 'given' | 'rescued') =>
          this.#counts.total(`${from} ${to} ${key}`, move[key]);
        return { ...move, given: total('given'), rescued: total('rescued') };
      }),
      listeners: this.#observed.sockets().flatMap((socket) => this.#listener(socket)),
      process: {
        startedAtSeconds: Math.round(performance.timeOrigin) / 1e3,
        cpuSeconds: (user + system) / 1e6,
        residentBytes: process.memoryUsage.rss(),
        openDescriptors: openDescriptors(),
      },
      levels: this.#knownLevels(),
    };
  }

  #knownLevels(): readonly LevelStatus[] {
    if (this.#levels !== null) return this.#levels;
    try {
      this.#levels = this.machine.levels.map(({ kinds, groups }) => ({ kinds, groups }));
    } catch {
      this.#levels = [];
    }
    return this.#levels;
  }

  #worker(row: WorkerRow, spare: boolean, threads: readonly WorkerHandle[]): WorkerStatus {
    const { runtime } = this.#observed;
    const { index, cpu, rings, tid, state } = row;
    const all = spare ? runtime.spares : runtime.workers;
    const info = all.find((each) => each.index === index);
    const count = (key: keyof WorkerRow) =>
      this.#counts.total(`${index} ${key}`, row[key] as number);
    const { cpuSeconds, runDelaySeconds, idleSeconds } = this.#times.of(index);
    const current = threads.find(({ threadId }) => threadId === info?.threadId);
    const last = current === undefined ? null : this.#reports.last(current);
    return {
      ...{ index, spare, state, cpu, rings, tid },
      threadId: info?.threadId ?? 0,
      stuckSeconds: (info?.stuckMs ?? 0) / 1e3,
      ...{ connections: row.connections, held: row.held },
      ...{ outstanding: row.outstanding, armed: row.armed },
      ...{ accepted: count('accepted'), messages: count('messages'), requests: count('requests') },
      requestTimes: this.#histogram(`${index} requestTimes`, row.requestTimes),
      ...{ inFlight: row.inFlight, shed: count('shed'), accepting: row.accepting },
      ...{ loops: count('loops'), events: count('events') },
      iterations: this.#histogram(`${index} iterations`, row.iterations),
      ...{ rounds: count('rounds'), given: count('given'), received: count('received') },
      ...{ rescued: count('rescued'), refused: count('refused') },
      pauses: {
        sumSeconds: count('pauseUs') / 1e6,
        boundsSeconds: row.pausesByUs.slice(1).map((_, i) => 2 ** (PAUSE_BOUND_FIRST + i) / 1e6),
        counts: row.pausesByUs.map((raw, i) => this.#counts.total(`${index} pauses ${i}`, raw)),
      },
      ...{ mismatches: count('mismatches'), failures: count('failures') },
      ...{ widened: count('widened'), narrowed: count('narrowed') },
      ...{ cpuSeconds, runDelaySeconds, idleSeconds },
      heap: heapOf(last),
      metricsFailure: last?.report.failure ?? null,
      ...structuredClone(this.#life(index)),
    };
  }

  #histogram(key: string, { sumNs, byUs }: Times): Histogram {
    const counts = byUs.map((raw, i) => this.#counts.total(`${key} ${i}`, raw));
    const sum = (from: number, to: number) => total(counts.slice(from, to));
    return {
      sumSeconds: sumNs / 1e9,
      boundsSeconds: byUs
        .slice(BOUND_FIRST, BOUND_LAST + 1)
        .map((_, i) => 2 ** (BOUND_FIRST + i) / 1e6),
      counts: [
        sum(0, BOUND_FIRST + 1),
        ...counts.slice(BOUND_FIRST + 1, BOUND_LAST + 1),
        sum(BOUND_LAST + 1, counts.length),
      ],
    };
  }

  #listener({ address, worker, fd }: ListeningSocket): ListenerStatus[] {
    const state = queueOf(fd);
    if (state === null) return [];
    const { length: queue, limit: queueLimit, dropped } = state;
    return [{ address, worker, queue, queueLimit, dropped }];
  }

  #life(index: number): Life {
    const known = this.#lives.get(index);
    if (known !== undefined) return known;
    const exits = Object.fromEntries(REASONS.map((reason) => [reason, 0]));
    const life: Life = { exits: exits as Life['exits'], restarts: 0, hangs: 0, recycles: 0 };
    this.#lives.set(index, life);
    return life;
  }
}

function heapOf(last: ReturnType<Reports['last']>): HeapStatus | null {
  if (last === null) return null;
  const { heapUsedBytes: usedBytes, heapLimitBytes: limitBytes } = last.report;
  return { usedBytes, limitBytes, ageSeconds: (performance.now() - last.atMs) / 1e3 };
}
