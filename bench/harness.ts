/**
 * What every benchmark here does alike: flags, interleaved rounds, and a report that says
 * on what machine the figures were taken.
 *
 * A round measures each variant once, each in a process of its own. Rounds run forwards
 * and backwards in turn (A B, B A, A B, …), so that a machine that slowly gets faster
 * or slower favours nobody. The headline is the ratio of two variants in the same round.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pairRatios, type Spread, spreadOf } from './statistics.js';

/** From dist/bench. */
export const ROOT = path.join(__dirname, '..', '..');

/** What one run measured, by metric. */
export type Measured<M extends string> = Readonly<Record<M, number>>;

/** A run that says nothing about its variant: its round is discarded and repeated. */
export class VoidRun extends Error {}

/** A reason to stop that is not a bug: it is shown without a stack. */
export class CannotRun extends Error {
  /** Exit code: 1, or 2 where the command line was wrong. */
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export interface Metric {
  readonly unit: string;
  /** Decimals that are shown. */
  readonly digits: number;
}

/** Ratio of a metric of one variant to the same metric of another, round by round. */
export interface Comparison<M extends string> {
  readonly metric: M;
  readonly of: string;
  readonly to: string;
}

export interface Benchmark<M extends string> {
  readonly name: string;
  /** The one question that it answers. */
  readonly question: string;
  /** Which of the threads concerned are bound to CPUs, and how. */
  readonly pinning: string;
  /** Flags, all integers from 1, with their defaults; `rounds` is one of them. */
  readonly flags: Readonly<Record<string, number>> & { readonly rounds: number };
  /** Those flags that may be any number above 0. */
  readonly fractions?: readonly string[];
  readonly metrics: Readonly<Record<M, Metric>>;
  readonly variants: readonly string[];
  readonly comparisons: readonly Comparison<NoInfer<M>>[];
  /** Throws a {@link CannotRun} where this machine cannot run it. */
  check?(): void;
  /** Why this machine cannot run one of the variants, which is then left out; or null. */
  missing?(variant: string): string | null;
  /**
   * Measures `variant` once, in a process that has not run before.
   *
   * @param round from 0; a seed from it makes all variants of a round face the same.
   */
  measure(
    variant: string,
    flags: Readonly<Record<string, number>>,
    round: number,
  ): Promise<Measured<NoInfer<M>>>;
}

interface Settings {
  readonly flags: Readonly<Record<string, number>>;
  readonly json: boolean;
  /** Variants to run. */
  readonly only: readonly string[];
}

export interface Report {
  readonly benchmark: string;
  readonly question: string;
  readonly pinning: string;
  readonly machine: Machine;
  readonly flags: Readonly<Record<string, number>>;
  readonly ratios: readonly (Spread & { metric: string; of: string; to: string })[];
  readonly results: readonly (Spread & {
    metric: string;
    unit: string;
    variant: string;
    samples: readonly number[];
  })[];
  /** Variants that were not run, and why. */
  readonly leftOut: readonly LeftOut[];
  /** Why rounds were discarded. */
  readonly discarded: readonly string[];
}

export interface LeftOut {
  readonly variant: string;
  readonly reason: string;
}

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  /** CPUs that the benchmark and all it starts may use, as the kernel lists them. */
  readonly allowedCpus: string;
  readonly kernel: string;
  readonly node: string;
  readonly gyre: string;
  /** Load average over the minute before: above 0, somebody else was at work. */
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
  };
  let allowedCpus = 'unknown';
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    allowedCpus = /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? allowedCpus;
  } catch {
    // not Linux
  }
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cpus: os.cpus().length,
    allowedCpus,
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    gyre: version,
    loadBefore: os.loadavg()[0] ?? 0,
  };
}

function parseFlags<M extends string>(benchmark: Benchmark<M>): Settings {
  const numeric = Object.keys(benchmark.flags);
  const options = {
    json: { type: 'boolean' as const },
    only: { type: 'string' as const },
    ...Object.fromEntries(numeric.map((name) => [name, { type: 'string' as const }])),
  };
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ options }).values as typeof given;
  } catch (error) {
    throw new CannotRun((error as Error).message, 2);
  }
  const flags = numeric.map((name) => {
    const value = Number(given[name] ?? benchmark.flags[name]);
    const fraction = benchmark.fractions?.includes(name) && Number.isFinite(value);
    if ((fraction || Number.isInteger(value)) && value > 0) return [name, value] as const;
    const expected = benchmark.fractions?.includes(name) ? 'a number above 0' : 'an integer from 1';
    throw new CannotRun(`--${name} is ${expected}, not '${given[name]}'`, 2);
  });
  const only = typeof given.only === 'string' ? given.only.split(',') : benchmark.variants;
  const unknown = only.filter((variant) => !benchmark.variants.includes(variant));
  if (unknown.length > 0) {
    const known = benchmark.variants.join(', ');
    throw new CannotRun(`--only: no ${unknown.join(', ')} among ${known}`, 2);
  }
  return { flags: Object.fromEntries(flags), json: given.json === true, only };
}

/**
 * Measures each variant `rounds` times. A round in which a run is void is discarded as a
 * whole, so that what is left stays paired, and repeated.
 *
 * @throws CannotRun when more than `rounds` were void.
 */
export async function interleave<R>(
  rounds: number,
  variants: readonly string[],
  measure: (variant: string, round: number) => Promise<R>,
): Promise<{ samples: Map<string, R[]>; discarded: string[] }> {
  const samples = new Map<string, R[]>(variants.map((variant) => [variant, []]));
  const discarded: string[] = [];
  for (let done = 0; done < rounds; ) {
    const order = done % 2 === 0 ? variants : variants.toReversed();
    const round = new Map<string, R>();
    const failed = await measureRound(order, round, (variant) => measure(variant, done));
    if (failed !== null) {
      discarded.push(failed);
      if (discarded.length > rounds) throw new CannotRun(`too many void runs: ${failed}`);
      continue;
    }
    for (const [variant, result] of round) samples.get(variant)?.push(result);
    done++;
  }
  return { samples, discarded };
}

/** Fills `results`; why the round is void, or null. */
async function measureRound<R>(
  order: readonly string[],
  results: Map<string, R>,
  measure: (variant: string) => Promise<R>,
): Promise<string | null> {
  for (const variant of order) {
    try {
      results.set(variant, await measure(variant));
    } catch (error) {
      if (!(error instanceof VoidRun)) throw error;
      process.stderr.write(`void, ${variant}: ${error.message}\n`);
      return `${variant}: ${error.message}`;
    }
  }
  return null;
}

/** Runs `benchmark` and says what it found. Sets the exit code; rejects on a bug only. */
export async function run<M extends string>(benchmark: Benchmark<M>): Promise<void> {
  try {
    const settings = parseFlags(benchmark);
    benchmark.check?.();
    const report = await measureAll(benchmark, settings);
    process.stdout.write(
      settings.json ? `${JSON.stringify(report)}\n` : show(report, benchmark.metrics),
    );
  } catch (error) {
    if (!(error instanceof CannotRun)) throw error;
    process.stderr.write(`${benchmark.name}: ${error.message}\n`);
    process.exitCode = error.exitCode;
  }
}

async function measureAll<M extends string>(
  benchmark: Benchmark<M>,
  { flags, only }: Settings,
): Promise<Report> {
  const machine = describeMachine();
  const rounds = flags.rounds as number;
  const { present, leftOut } = sortOut(benchmark, only);
  const { samples, discarded } = await interleave(rounds, present, (variant, round) => {
    process.stderr.write(`${benchmark.name}: round ${round + 1} of ${rounds}, ${variant}\n`);
    return benchmark.measure(variant, flags, round);
  });
  const of = (variant: string, metric: M) =>
    (samples.get(variant) ?? []).map((measured) => measured[metric]);
  const metrics = Object.keys(benchmark.metrics) as M[];
  return {
    benchmark: benchmark.name,
    question: benchmark.question,
    pinning: benchmark.pinning,
    machine,
    flags,
    ratios: benchmark.comparisons
      .filter((pair) => present.includes(pair.of) && present.includes(pair.to))
      .map((pair) => ({
        ...pair,
        ...spreadOf(pairRatios(of(pair.of, pair.metric), of(pair.to, pair.metric))),
      })),
    results: metrics.flatMap((metric) =>
      present.map((variant) => ({
        ...{ metric, unit: benchmark.metrics[metric].unit, variant },
        ...spreadOf(of(variant, metric)),
        samples: of(variant, metric),
      })),
    ),
    leftOut,
    discarded,
  };
}

/** @throws CannotRun when none of `variants` can be run. */
function sortOut<M extends string>(
  benchmark: Benchmark<M>,
  variants: readonly string[],
): { present: string[]; leftOut: LeftOut[] } {
  const present: string[] = [];
  const leftOut: LeftOut[] = [];
  for (const variant of variants) {
    const reason = benchmark.missing?.(variant) ?? null;
    if (reason === null) present.push(variant);
    else leftOut.push({ variant, reason });
  }
  if (present.length === 0) throw new CannotRun(leftOut.map(sayLeftOut).join('; '));
  return { present, leftOut };
}

const sayLeftOut = ({ variant, reason }: LeftOut) => `${variant} is left out: ${reason}`;

const HEAD = ['median', 'q1', 'q3', 'min', 'max'] as const;

/** A table with its first column to the left and all others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, at) =>
          at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
        )
        .join('  '),
    )
    .map((line) => `  ${line.trimEnd()}\n`)
    .join('');
}

function show<M extends string>(report: Report, metrics: Readonly<Record<M, Metric>>): string {
  const { machine } = report;
  const flags = Object.entries(report.flags).map(([name, value]) => `--${name} ${value}`);
  const cells = (spread: Spread, digits: number) => HEAD.map((key) => spread[key].toFixed(digits));
  const parts = [
    `${report.benchmark}: ${report.question}\n`,
    `${machine.cpu}, ${machine.cpus} CPUs, may use ${machine.allowedCpus}; ${machine.kernel}; ` +
      `Node ${machine.node}; gyre ${machine.gyre}; load before ${machine.loadBefore.toFixed(2)}\n`,
    `pinning: ${report.pinning}\n`,
    `${flags.join(' ')}\n`,
  ];
  parts.push(...report.leftOut.map((each) => `${sayLeftOut(each)}\n`));
  if (report.discarded.length > 0) {
    parts.push(`${report.discarded.length} rounds discarded: ${report.discarded.join('; ')}\n`);
  }
  if (report.ratios.length > 0) {
    const rows = report.ratios.map((ratio) => [
      `${ratio.metric}: ${ratio.of} / ${ratio.to}`,
      ...cells(ratio, 3),
    ]);
    parts.push('\n', table([['ratios of pairs', ...HEAD], ...rows]));
  }
  for (const [metric, { unit, digits }] of Object.entries<Metric>(metrics)) {
    const rows = report.results
      .filter((result) => result.metric === metric)
      .map((result) => [result.variant, ...cells(result, digits)]);
    parts.push('\n', table([[`${metric} (${unit})`, ...HEAD], ...rows]));
  }
  return `${parts.join('')}\n`;
}
