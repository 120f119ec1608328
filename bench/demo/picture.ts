/**
 * What the demo shows: latencies of the same requests on two servers, side by side, as lines of text.
 * Pure. Every figure in it is computed from the latencies that it is given, whoever has the
 * better ones.
 */
import { type Paint, painted, type Screen } from '../../src/terminal.js';
import { quantile } from '../statistics.js';

/** One of the two servers. */
export interface Side {
  readonly title: string;
  readonly paint: Paint;
  /** For each round the latencies of its fast requests, in ms. */
  readonly fast: readonly (readonly number[])[];
  /** The same of the slow ones. */
  readonly slow: readonly (readonly number[])[];
  /** For each round that is over how late the load generator noticed that a request was due, p99, in ms. */
  readonly late: readonly number[];
}

export type Sides = readonly [Side, Side];

/** What was asked of both. */
export interface Setting {
  readonly workers: number;
  readonly connections: number;
  readonly fastPerSecond: number;
  readonly slowPerSecond: number;
  readonly slowMs: number;
  /** Of the machine. */
  readonly cpus: number;
  readonly node: string;
}

/** No wider, so that sentences can be read. */
const COLUMNS_MAX = 80;
/** Ends of the histogram's rows but the last, in ms. */
const EDGES_MS = [1, 5, 10, 20, 50, 100] as const;
const LABEL_WIDTH = 12;
/** Of a count: up to 999,999. */
const COUNT_WIDTH = 7;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
/** From here on a request is said to have waited. */
const LONG_MS = 10;
/** The generator is late when its p99 is more than this share of the least p99 that is compared. No evidence. */
const LATE_SHARE = 0.25;

const widthOf = ({ columns }: Screen) => Math.min(columns, COLUMNS_MAX);
const whole = (count: number) => Math.round(count).toLocaleString('en-US');
const sortedOf = (rounds: readonly (readonly number[])[]) =>
  Float64Array.from(rounds.flat()).sort();

/** Two digits or more, as far as a load generator's clock is good for it. */
function inMs(ms: number): string {
  if (Number.isNaN(ms)) return '-';
  const digits = ms < 0.995 ? 2 : ms < 9.95 ? 1 : 0;
  return `${digits === 0 ? whole(ms) : ms.toFixed(digits)} ms`;
}

/** `text` in lines of at most `columns`. */
function wrapped(text: string, columns: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) as string;
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] += ` ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** What is compared, in some lines. */
export function heading(setting: Setting, screen: Screen): string[] {
  const { workers, connections, fastPerSecond, slowPerSecond, slowMs } = setting;
  const text =
    `The same server under node:cluster and under gyre, ${workers} workers each: it answers ` +
    `${whole(fastPerSecond)} requests/s at once, and computes ${slowMs} ms for ${slowPerSecond}/s more, at ` +
    `random times on ${connections} keep-alive connections. How long do the fast ones take, from when ` +
    'they are due?';
  return wrapped(text, widthOf(screen));
}

/** In columns, by eighths; what is not 0 can be seen. */
function bar(columns: number): string {
  const eighths = columns > 0 ? Math.max(1, Math.round(columns * 8)) : 0;
  return `${'█'.repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8]}`;
}

/** How many of `rounds` fall in each row. */
function countsOf(rounds: readonly (readonly number[])[]): number[] {
  const counts = new Array<number>(EDGES_MS.length + 1).fill(0);
  for (const latencies of rounds) {
    for (const ms of latencies) {
      const row = EDGES_MS.findIndex((edge) => ms < edge);
      const at = row === -1 ? EDGES_MS.length : row;
      counts[at] = (counts[at] as number) + 1;
    }
  }
  return counts;
}

function labelOf(row: number): string {
  const [from, to] = [EDGES_MS[row - 1], EDGES_MS[row]];
  if (from === undefined) return `under ${to} ms`;
  return to === undefined ? `over ${from} ms` : `${from} to ${to} ms`;
}

/**
 * The two distributions. All bars have one scale; the first row has none, since it has most of the
 * requests and would leave the others no room.
 */
export function histogram(sides: Sides, screen: Screen): string[] {
  const cellWidth = Math.floor((widthOf(screen) - LABEL_WIDTH) / 2) - 2;
  const barWidth = Math.max(1, cellWidth - COUNT_WIDTH - 1);
  const columns = sides.map((side) => {
    const counts = countsOf(side.fast);
    return { ...side, counts, total: counts.reduce((sum, count) => sum + count, 0) };
  });
  const most = Math.max(1, ...columns.flatMap(({ counts }) => counts.slice(1)));
  const line = (label: string, cellOf: (column: (typeof columns)[number]) => string) =>
    `${label.padStart(LABEL_WIDTH)}${columns.map((column) => `  ${cellOf(column)}`).join('')}`;
  const row = (at: number) =>
    line(labelOf(at), ({ counts, total, paint }) => {
      const count = counts[at] as number;
      const share = total === 0 ? '' : `${((100 * count) / total).toFixed(1)} %`;
      const text = (at === 0 ? share : bar((barWidth * count) / most)).padEnd(barWidth);
      return `${painted(text, paint, screen.colors)} ${whole(count).padStart(COUNT_WIDTH)}`;
    });
  return [
    line('', ({ title }) => painted(title.padEnd(cellWidth), 'bold', screen.colors)),
    ...Array.from({ length: EDGES_MS.length + 1 }, (_, at) => row(at)),
  ];
}

const SHARES = [
  ['half took less than', 0.5],
  ['95 of 100 less than', 0.95],
  ['99 of 100 less than', 0.99],
  ['999 of 1,000 less than', 0.999],
] as const;

/** Percentiles, and the second side's as a multiple of the first's. */
export function percentiles(sides: Sides, screen: Screen): string[] {
  const [first, second] = sides;
  const [a, b] = sides.map(({ fast }) => sortedOf(fast)) as [Float64Array, Float64Array];
  const line = (label: string, cells: readonly string[]) =>
    `${label.padStart(22)}${cells.map((cell) => cell.padStart(14)).join('')}`;
  const head = line('', [first.title, second.title, 'ratio']);
  const rows = SHARES.map(([label, share]) => {
    const [before, after] = [quantile(a, share), quantile(b, share)];
    const ratio = after / before;
    return line(label, [inMs(before), inMs(after), Number.isNaN(ratio) ? '-' : ratio.toFixed(2)]);
  });
  return [painted(head, 'bold', screen.colors), ...rows];
}

/** Of 1,000, those that took {@link LONG_MS} or longer. */
function longOf1000({ fast }: Side): string {
  const all = fast.flat();
  return whole((1000 * all.filter((ms) => ms >= LONG_MS).length) / all.length);
}

/** What was seen, in sentences. */
export function conclusion(
  sides: Sides,
  { slowMs, cpus, node }: Setting,
  screen: Screen,
): string[] {
  const [first, second] = sides;
  const p99s = sides.map(({ fast }) => fast.map((round) => quantile(sortedOf([round]), 0.99)));
  const [before, after] = p99s as [number[], number[]];
  const lower = after.filter((ms, round) => ms < (before[round] as number)).length;
  const said = [
    `Of 1,000 fast requests ${longOf1000(first)} took ${LONG_MS} ms or longer under ` +
      `${first.title}, and ${longOf1000(second)} under ${second.title}.`,
    `Their p99 was lower under ${second.title} in ${lower} of ${after.length} ${after.length === 1 ? 'round' : 'rounds'}.`,
  ];
  const [slowBefore, slowAfter] = sides.map(({ slow }) => quantile(sortedOf(slow), 0.5));
  if (!Number.isNaN((slowBefore as number) + (slowAfter as number))) {
    said.push(
      `Half of the slow ones, of ${slowMs} ms, took less than ${inMs(slowBefore as number)} under ` +
        `${first.title}, and ${inMs(slowAfter as number)} under ${second.title}.`,
    );
  }
  const lateMs = quantile(sortedOf(sides.map(({ late }) => late)), 0.5);
  if (lateMs > LATE_SHARE * Math.min(...p99s.flat())) {
    said.push(
      `The load generator itself was late, by ${inMs(lateMs)} (p99), for want of CPU time: the ` +
        'figures say little.',
    );
  }
  said.push(
    `One run, on ${cpus} CPUs, Node ${node}; \`npm run bench:stall\` takes more care, and has more rivals.`,
  );
  return wrapped(said.join(' '), widthOf(screen));
}

/** How far it is, in a line. */
export function progress(share: number, now: string, screen: Screen): string {
  const width = Math.max(10, widthOf(screen) - now.length - 2);
  const done = Math.round(Math.min(1, share) * width);
  return `${painted('━'.repeat(done), 'bold', screen.colors)}${painted('─'.repeat(width - done), 'dim', screen.colors)}  ${now}`;
}
