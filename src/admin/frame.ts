/**
 * One picture of `gyre top`: figures as lines of text that fit a terminal. Pure. Everything in it is
 * ASCII; of names only that is shown, so a character is a column.
 */
import { showAddress } from '../address.js';
import { type Paint, painted, type Screen } from '../terminal.js';
import { countBelow, total } from './histogram.js';
import { type Rates, rateOf, type WorkerRates } from './rates.js';
import type { LevelStatus } from './status.js';

interface Cell {
  readonly text: string;
  readonly paint: Paint;
}

interface Column {
  readonly head: string;
  readonly width: number;
  readonly left?: true;
  readonly cell: (worker: WorkerRates) => Cell;
}

const plain = (text: string): Cell => ({ text, paint: 'plain' });
const BAR = 10;
/** Functions that are named. */
const STALLS_MAX = 3;
/** Bounds of the durations that are told apart, in ms of 1,024 µs: where buckets end. */
const DURATIONS_MS = [1, 4, 16, 64, 256, 1024];

/** Those on the right are left out first where there is no room. */
const COLUMNS: readonly Column[] = [
  { head: 'WORKER', width: 6, cell: ({ index, spare }) => plain(`${index}${spare ? ' S' : ''}`) },
  { head: 'CPU', width: 4, cell: ({ cpu }) => plain(cpu === null ? '-' : `${cpu}`) },
  { head: 'STATE', width: 8, left: true, cell: stateOf },
  { head: 'LOAD', width: BAR + 7, left: true, cell: ({ load }) => bar(load) },
  { head: 'CONN', width: 6, cell: ({ connections }) => plain(short(connections)) },
  { head: 'REQ/S', width: 7, cell: (worker) => plain(short(worker.requestsPerSecond)) },
  { head: 'P99 MS', width: 7, cell: ({ p99Seconds }) => plain(ms(p99Seconds)) },
  { head: 'RESC/S', width: 6, cell: ({ rescuedPerSecond: rate }) => busy(rate) },
  { head: 'GIVE/S', width: 6, cell: ({ givenPerSecond }) => plain(short(givenPerSecond)) },
  { head: 'RECV/S', width: 6, cell: (worker) => plain(short(worker.receivedPerSecond)) },
  { head: 'WAIT', width: 5, cell: ({ runDelayShare }) => plain(percent(runDelayShare)) },
  { head: 'RUN', width: 5, cell: ({ cpuShare }) => plain(percent(cpuShare)) },
  { head: 'OUT', width: 4, cell: ({ outstanding }) => plain(short(outstanding)) },
  { head: 'HEAP MB', width: 8, cell: heapOf },
  { head: 'RESTARTS', width: 8, cell: ({ restarts }) => plain(`${restarts}`) },
];

/** The lines of a picture: at most `rows`, each of at most `columns` characters. */
export function frameOf(rates: Rates, screen: Screen): string[] {
  const shown = fitting(screen.columns);
  const head = shown.map(({ head: text, width, left }) => pad(text, width, left)).join(' ');
  const top = [
    titleOf(rates, screen),
    cut(summaryOf(rates), screen.columns),
    ...rates.listeners.map((listener) => {
      const { address, queue, queueLimit, droppedPerSecond } = listener;
      const text = `${showAddress(address)}  queue ${queue}/${queueLimit}  dropped ${short(droppedPerSecond)}/s`;
      return cut(text, screen.columns);
    }),
    '',
    painted(head, 'bold', screen.colors),
  ];
  const stalls = stallsOf(rates, screen);
  const room = Math.max(screen.rows - top.length - stalls.length, 1);
  const many = rates.workers.length > room;
  const rows = rates.workers
    .slice(0, many ? room - 1 : room)
    .map((worker) => rowOf(worker, shown, screen.colors));
  const left = `... and ${rates.workers.length - rows.length} more`;
  const rest = many ? [cut(left, screen.columns)] : [];
  const space = screen.rows - top.length - rows.length - rest.length - stalls.length;
  return [...top, ...rows, ...rest, ...stalls, ...pictureOf(rates, screen, space)].slice(
    0,
    screen.rows,
  );
}

/** Where the workers are, what goes between them, and how long requests took: in so many lines. */
function pictureOf(rates: Rates, { columns }: Screen, rows: number): string[] {
  const lines = [durationsOf(rates), movesOf(rates), floorOf(rates)]
    .filter((line) => line !== '')
    .map((line) => cut(line, columns));
  return rows < 2 || lines.length === 0 ? [] : ['', ...lines.slice(0, rows - 1)];
}

/** CPUs by what they share, as in `gyre topology`, with the load of each one's worker. */
function floorOf({ levels, workers }: Rates): string {
  const loads = new Map(workers.map(({ cpu, load }) => [cpu, load]));
  return levels.length === 0 ? '' : `machine   ${groupText(levels, levels.length - 1, 0, loads)}`;
}

/** Group `at` of a level, with those of the level below inside. */
function groupText(
  levels: readonly LevelStatus[],
  level: number,
  at: number,
  loads: ReadonlyMap<number | null, number | null>,
): string {
  const { kinds, groups } = levels[level] as LevelStatus;
  const cpus = groups[at] ?? [];
  if (level === 0) return cpus.map((cpu) => `${cpu}:${percent(loads.get(cpu) ?? null)}`).join(' ');
  const parts = (levels[level - 1]?.groups ?? []).flatMap(([first], part) =>
    first !== undefined && cpus.includes(first) ? [groupText(levels, level - 1, part, loads)] : [],
  );
  return `${ascii(kinds[0] ?? '')} [${parts.join(' ')}]`;
}

function movesOf({ moves, workers }: Rates): string {
  const spares = new Set(workers.filter(({ spare }) => spare).map(({ index }) => index));
  const called = (index: number) => `${index}${spares.has(index) ? ' S' : ''}`;
  const pairs = moves.map(
    (move) =>
      `${called(move.from)} > ${called(move.to)}  ${short(rateOf(move))}/s` +
      (move.rescuedPerSecond > 0 ? ` (rescued ${short(move.rescuedPerSecond)})` : ''),
  );
  return pairs.length === 0 ? '' : `moves     ${pairs.join('   ')}`;
}

function durationsOf({ requestTimes }: Rates): string {
  const all = total(requestTimes?.counts ?? []);
  if (requestTimes === null || all === 0) return '';
  let told = 0;
  const part = (name: string, upTo: number) => {
    const share = (upTo - told) / all;
    told = upTo;
    return share === 0 ? [] : [`${name} ${(share * 100).toFixed(1)}%`];
  };
  const parts = [
    ...DURATIONS_MS.flatMap((bound) =>
      part(`< ${bound} ms`, countBelow(requestTimes, (bound * 2 ** 10) / 1e6)),
    ),
    ...part('more', all),
  ];
  return `requests  ${parts.join('   ')}`;
}

/** Where workers stood still, below a line of space; nothing where nobody did. */
function stallsOf({ blamed }: Rates, { columns, colors }: Screen): string[] {
  const lines = blamed.slice(0, STALLS_MAX).map(({ where, count }) => {
    const text = `stood still in ${ascii(where)}  x ${count}`;
    return painted(cut(text, columns), 'yellow', colors);
  });
  return lines.length === 0 ? [] : ['', ...lines];
}

function ascii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

/** The first of COLUMNS, as many as fit, but at least one. */
function fitting(columns: number): readonly Column[] {
  let width = -1;
  const count = COLUMNS.findIndex((column) => {
    width += column.width + 1;
    return width > columns;
  });
  return count < 0 ? COLUMNS : COLUMNS.slice(0, Math.max(count, 1));
}

function titleOf(rates: Rates, { columns, colors }: Screen): string {
  const { name, version, pid, state, ready, node, uptimeSeconds } = rates;
  const text = `${ascii(name)}  ${state}${ready ? '' : ', not ready'}  pid ${pid}  up ${ago(uptimeSeconds)}  gyre ${version}  node ${node}`;
  return painted(cut(text, columns), ready ? 'bold' : 'red', colors);
}

function summaryOf(rates: Rates): string {
  const { requestsPerSecond, p50Seconds, p99Seconds, connections, movesPerSecond } = rates;
  return [
    `${short(requestsPerSecond)} requests/s`,
    `p50 ${ms(p50Seconds)} ms`,
    `p99 ${ms(p99Seconds)} ms`,
    `${short(connections)} connections`,
    `${short(movesPerSecond)} moves/s`,
    `${Math.round(rates.residentBytes / 2 ** 20)} MB`,
  ].join('  ');
}

function rowOf(worker: WorkerRates, columns: readonly Column[], colors: boolean): string {
  return columns
    .map(({ cell, width, left }) => {
      const { text, paint } = cell(worker);
      return painted(pad(text, width, left), paint, colors);
    })
    .join(' ')
    .trimEnd();
}

/** From so long on a worker that does not return to its loop is called stuck. */
const STUCK_SECONDS = 0.2;

function stateOf({ state, stuckSeconds }: WorkerRates): Cell {
  if (stuckSeconds >= STUCK_SECONDS) return { text: `!${stuckSeconds.toFixed(1)} s`, paint: 'red' };
  return { text: state, paint: state === 'serving' ? 'green' : 'yellow' };
}

function bar(load: number | null): Cell {
  if (load === null) return { text: '', paint: 'plain' };
  const full = Math.round(load * BAR);
  const text = `[${'|'.repeat(full).padEnd(BAR)}] ${percent(load)}`;
  return { text, paint: load >= 0.9 ? 'red' : load >= 0.7 ? 'yellow' : 'plain' };
}

function busy(rate: number): Cell {
  return { text: short(rate), paint: rate > 0 ? 'yellow' : 'plain' };
}

function heapOf({ heapUsedBytes }: WorkerRates): Cell {
  return plain(heapUsedBytes === null ? '-' : (heapUsedBytes / 2 ** 20).toFixed(1));
}

function pad(text: string, width: number, left?: true): string {
  const fits = cut(text, width);
  return left ? fits.padEnd(width) : fits.padStart(width);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : text.slice(0, Math.max(width, 0));
}

function percent(share: number | null): string {
  return share === null ? '-' : `${Math.round(share * 100)}%`;
}

function ms(seconds: number | null): string {
  if (seconds === null) return '-';
  const value = seconds * 1e3;
  return value >= 1e4 ? short(value) : value.toPrecision(value < 1 ? 2 : 3).replace(/e.*$/, '');
}

/** At most five characters. */
function short(value: number): string {
  if (value >= 999.5e6) return `${(value / 1e9).toFixed(1)}G`;
  if (value >= 999.5e3) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 9999.5) return `${(value / 1e3).toFixed(1)}k`;
  return Number.isInteger(value) || value >= 99.95 ? value.toFixed(0) : value.toFixed(1);
}

function ago(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 1) return `${minutes} min`;
  const days = Math.floor(hours / 24);
  return days < 1 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}
