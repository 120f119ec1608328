/**
 * What happened between two snapshots of one runtime, per second: the figures of `gyre top`. Pure.
 */
import type { ListenAddress } from '../protocol.js';
import type { RuntimeState } from '../runtime/api.js';
import type { Blamed } from '../runtime/blame.js';
import type { WorkerStateName } from '../scheduler/layout.js';
import { quantile, since, sumOf } from './histogram.js';
import type { Histogram, LevelStatus, Status, WorkerStatus } from './status.js';

/** What `gyre top --once --json` prints. What cannot be known is null. */
export interface Rates {
  readonly schema: 1;
  readonly takenAtMs: number;
  /** What the figures are of. */
  readonly intervalSeconds: number;
  readonly name: string;
  readonly version: string;
  readonly node: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly state: RuntimeState;
  readonly ready: boolean;
  readonly connections: number;
  readonly requestsPerSecond: number;
  /** Half, and 99%, of the requests took no longer; null: there were none. */
  readonly p50Seconds: number | null;
  readonly p99Seconds: number | null;
  /** Connections that went from one worker to another. */
  readonly movesPerSecond: number;
  readonly residentBytes: number;
  readonly workers: readonly WorkerRates[];
  readonly listeners: readonly ListenerRates[];
  /** Functions that workers stood still in, with the option `blame`: how often each was seen. */
  readonly blamed: readonly Blamed[];
  /** Pairs of workers between which connections went, the busiest first. */
  readonly moves: readonly MoveRates[];
  /** Of all workers together. */
  readonly requestTimes: Histogram | null;
  /** As in the snapshot. */
  readonly levels: readonly LevelStatus[];
}

interface MoveRates {
  readonly from: number;
  readonly to: number;
  readonly ring: number | null;
  readonly givenPerSecond: number;
  readonly rescuedPerSecond: number;
}

export interface WorkerRates {
  readonly index: number;
  readonly spare: boolean;
  readonly state: WorkerStateName;
  readonly cpu: number | null;
  /** Share of the time in which its loop did not sleep. */
  readonly load: number | null;
  /** Share of the time in which its thread was on a CPU, and waited for one. */
  readonly cpuShare: number | null;
  readonly runDelayShare: number | null;
  readonly connections: number;
  readonly outstanding: number;
  readonly requestsPerSecond: number;
  readonly p99Seconds: number | null;
  readonly givenPerSecond: number;
  readonly receivedPerSecond: number;
  readonly rescuedPerSecond: number;
  readonly heapUsedBytes: number | null;
  readonly heapLimitBytes: number | null;
  readonly stuckSeconds: number;
  readonly restarts: number;
}

interface ListenerRates {
  readonly address: ListenAddress;
  readonly queue: number;
  readonly queueLimit: number;
  readonly droppedPerSecond: number;
}

/** @returns null if `after` is not of the same runtime, or not later */
export function ratesBetween(before: Status, after: Status): Rates | null {
  const seconds = (after.takenAtMs - before.takenAtMs) / 1e3;
  const same = before.process.startedAtSeconds === after.process.startedAtSeconds;
  if (!same || before.pid !== after.pid || seconds <= 0) return null;
  const earlier = new Map(before.workers.map((worker) => [worker.index, worker]));
  const workers = after.workers.map((now) => workerRates(earlier.get(now.index), now, seconds));
  const times = after.workers.map(({ index, requestTimes }) =>
    since(earlier.get(index)?.requestTimes, requestTimes),
  );
  const sum = (key: 'connections' | 'requestsPerSecond' | 'receivedPerSecond') =>
    workers.reduce((total, worker) => total + worker[key], 0);
  const { name, version, node, pid, state, ready, takenAtMs } = after;
  return {
    ...{ schema: 1, takenAtMs, intervalSeconds: seconds, name, version, node, pid },
    uptimeSeconds: takenAtMs / 1e3 - after.process.startedAtSeconds,
    ...{ state, ready, connections: sum('connections') },
    requestsPerSecond: sum('requestsPerSecond'),
    p50Seconds: quantile(times, 0.5),
    p99Seconds: quantile(times, 0.99),
    movesPerSecond: sum('receivedPerSecond'),
    residentBytes: after.process.residentBytes,
    workers,
    listeners: listenerRates(before, after, seconds),
    blamed: blamedBetween(before, after),
    moves: moveRates(before, after, seconds),
    requestTimes: sumOf(times),
    levels: after.levels,
  };
}

/** Ordered by count, the greatest first. */
function blamedBetween(before: Status, after: Status): Blamed[] {
  const earlier = new Map(before.blamed.map(({ where, count }) => [where, count]));
  return after.blamed
    .map(({ where, count }) => ({ where, count: count - (earlier.get(where) ?? 0) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
}

function moveRates(before: Status, after: Status, seconds: number): MoveRates[] {
  return after.moves
    .map(({ from, to, ring, given, rescued }) => {
      const earlier = before.moves.find((move) => move.from === from && move.to === to);
      const givenPerSecond = (given - (earlier?.given ?? 0)) / seconds;
      const rescuedPerSecond = (rescued - (earlier?.rescued ?? 0)) / seconds;
      return { ...{ from, to, ring }, givenPerSecond, rescuedPerSecond };
    })
    .filter((move) => rateOf(move) > 0)
    .sort((a, b) => rateOf(b) - rateOf(a));
}

/** Connections a second, whoever moved them. */
export function rateOf({ givenPerSecond, rescuedPerSecond }: MoveRates): number {
  return givenPerSecond + rescuedPerSecond;
}

function workerRates(
  before: WorkerStatus | undefined,
  now: WorkerStatus,
  seconds: number,
): WorkerRates {
  type Count = 'requests' | 'given' | 'received' | 'rescued';
  type Time = 'idleSeconds' | 'cpuSeconds' | 'runDelaySeconds';
  const rate = (key: Count) => (now[key] - (before?.[key] ?? 0)) / seconds;
  const share = (key: Time) => {
    const [later, earlier] = [now[key], before?.[key] ?? null];
    if (later === null || earlier === null) return null;
    // The two were not read in the same instant as the clock.
    return Math.min(1, Math.max(0, (later - earlier) / seconds));
  };
  const idle = share('idleSeconds');
  const { index, spare, state, cpu, connections, outstanding, heap, stuckSeconds, restarts } = now;
  return {
    ...{ index, spare, state, cpu, load: idle === null ? null : 1 - idle },
    ...{ cpuShare: share('cpuSeconds'), runDelayShare: share('runDelaySeconds') },
    ...{ connections, outstanding, requestsPerSecond: rate('requests') },
    p99Seconds: quantile([since(before?.requestTimes, now.requestTimes)], 0.99),
    ...{ givenPerSecond: rate('given'), receivedPerSecond: rate('received') },
    rescuedPerSecond: rate('rescued'),
    ...{ heapUsedBytes: heap?.usedBytes ?? null, heapLimitBytes: heap?.limitBytes ?? null },
    ...{ stuckSeconds, restarts },
  };
}

/** One for each address: the sum over its sockets. */
function listenerRates(before: Status, after: Status, seconds: number): ListenerRates[] {
  const key = (address: ListenAddress) => JSON.stringify(address);
  const dropped = (status: Status, of: string) =>
    status.listeners
      .filter(({ address }) => key(address) === of)
      .reduce((total, listener) => total + listener.dropped, 0);
  const sums = new Map<string, ListenerRates>();
  for (const { address, queue, queueLimit } of after.listeners) {
    const sum = sums.get(key(address));
    sums.set(key(address), {
      address,
      queue: queue + (sum?.queue ?? 0),
      queueLimit: queueLimit + (sum?.queueLimit ?? 0),
      droppedPerSecond:
        Math.max(0, dropped(after, key(address)) - dropped(before, key(address))) / seconds,
    });
  }
  return [...sums.values()];
}
