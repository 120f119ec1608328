/**
 * What is said about a run, and tables of runs. Pure.
 *
 * Runs that differ in nothing but their seed make one row: the median of each figure.
 */
import { createHash } from 'node:crypto';
import { table } from '../report.js';
import { spreadOf } from '../statistics.js';
import type { Flags } from './flags.js';
import type { Parameters, Result } from './simulation.js';
import { DISTANCES } from './topology.js';

/** One run. */
export interface Row {
  readonly flags: Flags;
  /** Latencies of the fast requests, in ms. */
  readonly fast: Readonly<Record<'mean' | 'p50' | 'p95' | 'p99' | 'p999', number>>;
  /** Of the slow ones. NaN (null in JSON) of none. */
  readonly slow: Readonly<Record<'p50' | 'p95', number>>;
  /** Per second of simulated time: moves, and connections in them. */
  readonly movesPerSecond: number;
  readonly movedPerSecond: number;
  /** Shares of the connections moved between workers, by what giver and recipient share. */
  readonly within: Readonly<Record<string, number>>;
  /** CPU time of all governors, of one CPU. */
  readonly governorShare: number;
  /** Over every latency in order: equal digests, equal runs. */
  readonly digest: string;
}

/** A set of runs that are shown together. */
export interface Table {
  readonly title: string;
  /** Flags, several values of one with commas between them. Each set is multiplied out by itself. */
  readonly sets: readonly Flags[];
  /** What each row is compared with: the row that differs from it in these flags only. */
  readonly versus?: Flags;
}

function digestOf({ fast, slow }: Result): string {
  const hash = createHash('sha256');
  for (const { values } of [fast, slow]) hash.update(values);
  return hash.digest('hex').slice(0, 12);
}

export function rowOf(flags: Flags, { seconds, warmupSeconds }: Parameters, result: Result): Row {
  const { fast, slow, tally } = result;
  const [p50 = 0, p95 = 0, p99 = 0, p999 = 0] = fast.percentiles([0.5, 0.95, 0.99, 0.999]);
  const [slow50 = 0, slow95 = 0] = slow.percentiles([0.5, 0.95]);
  const moved = tally?.byDistance ?? [];
  const total = moved.reduce((sum, count) => sum + count, 0);
  const perSecond = (count = 0) => count / (seconds + warmupSeconds);
  const shares = DISTANCES.map((name, at) => [name, (moved[at] ?? 0) / total]);
  return {
    flags,
    fast: { mean: fast.mean(), p50, p95, p99, p999 },
    slow: { p50: slow50, p95: slow95 },
    movesPerSecond: perSecond(tally?.moves),
    movedPerSecond: perSecond(tally?.connections),
    within: total === 0 ? {} : Object.fromEntries(shares),
    governorShare: perSecond(tally?.governorMs) / 1000,
    digest: digestOf(result),
  };
}

const median = (values: readonly number[]) =>
  values.every(Number.isFinite) ? spreadOf(values).median : Number.NaN;

/** A figure of a row: its head, how it is got, and how it is written. */
type Figure = readonly [head: string, of: (row: Row) => number, write: (value: number) => string];

const ms = (digits: number) => (value: number) =>
  Number.isNaN(value) ? '' : value.toFixed(digits);
const count = (value: number) => (value === 0 ? '' : value.toFixed(0));
const percent = (value: number) => (Number.isNaN(value) ? '' : `${(100 * value).toFixed(0)}%`);

const FIGURES: readonly Figure[] = [
  ['mean', ({ fast }) => fast.mean, ms(2)],
  ['p50', ({ fast }) => fast.p50, ms(2)],
  ['p95', ({ fast }) => fast.p95, ms(2)],
  ['p99', ({ fast }) => fast.p99, ms(2)],
  ['p99.9', ({ fast }) => fast.p999, ms(1)],
  ['slow p95', ({ slow }) => slow.p95, ms(0)],
  ['moves/s', ({ movesPerSecond }) => movesPerSecond, count],
  ['governor', ({ governorShare }) => governorShare || Number.NaN, percent],
  ...DISTANCES.map((name): Figure => [name, ({ within }) => within[name] ?? Number.NaN, percent]),
];

const RATIOS: readonly [head: string, of: (row: Row) => number][] = [
  ['mean', ({ fast }) => fast.mean],
  ['p95', ({ fast }) => fast.p95],
  ['p99', ({ fast }) => fast.p99],
  ['p99.9', ({ fast }) => fast.p999],
];

function without({ seed, ...rest }: Flags): Flags {
  return rest;
}

const keyOf = (flags: Flags) => JSON.stringify(Object.entries(flags).sort());

/** Rows that differ in their seed only, in the order of the first of each. */
function grouped(rows: readonly Row[]): Row[][] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = keyOf(without(row.flags));
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()];
}

/** `of[i] / to[i]`: the median, and the least and the most if there are several. */
function ratio(of: readonly Row[], to: readonly Row[], value: (row: Row) => number): string {
  const ratios = of.flatMap((row) => {
    const other = to.find(({ flags }) => flags.seed === row.flags.seed);
    return other === undefined ? [] : value(row) / value(other);
  });
  if (ratios.length === 0) return '';
  const { median: middle, min, max } = spreadOf(ratios);
  const range = ratios.length > 1 ? ` (${min.toFixed(2)}–${max.toFixed(2)})` : '';
  return `${middle.toFixed(2)}${range}`;
}

/** `rows`, which are of `shown`, as text. */
export function show({ title, versus }: Table, rows: readonly Row[]): string {
  const groups = grouped(rows);
  const first = without(groups[0]?.[0]?.flags ?? {});
  const names = Object.keys(first);
  const varies = names.filter((name) => rows.some(({ flags }) => flags[name] !== first[name]));
  const fixed = names.filter((name) => !varies.includes(name));
  const figures = FIGURES.filter(([, of, write]) => rows.some((row) => write(of(row)) !== ''));
  const seeds = new Set(rows.map(({ flags }) => flags.seed)).size;
  const word = versus && Object.values(versus).join(' ');
  const heads = [
    ...(varies.length > 0 ? varies : ['']),
    ...figures.map(([head]) => head),
    ...(versus ? RATIOS.map(([head]) => `${head} / ${word}`) : []),
    ...(seeds > 1 ? [] : ['digest']),
  ];
  const lines = groups.map((group) => {
    const { flags, digest } = group[0] as Row;
    const to = groups.find(
      ([other]) => keyOf(without({ ...other?.flags })) === keyOf({ ...without(flags), ...versus }),
    );
    return [
      ...(varies.length > 0 ? varies.map((name) => flags[name] as string) : ['']),
      ...figures.map(([, of, write]) => write(median(group.map(of)))),
      ...(versus ? RATIOS.map(([, of]) => (to === group ? '' : ratio(group, to ?? [], of))) : []),
      ...(seeds > 1 ? [] : [digest]),
    ];
  });
  const said = fixed.map((name) => `${name} ${first[name]}`).join(', ');
  const caption = [said, seeds > 1 ? `medians of ${seeds} seeds` : ''].filter(
    (text) => text !== '',
  );
  return `${title}\n  ${caption.join('; ') || 'defaults'}\n${table([heads, ...lines])}\n`;
}
