/**
 * What every benchmark here does alike: flags (command-line.ts), interleaved rounds, and a report (report.ts).
 *
 * A round measures each variant once, each in a process of its own. Rounds run forwards
 * and backwards in turn (A B, B A, A B, …), so that a machine that slowly gets faster
 * or slower favours nobody. The headline is the ratio of two variants in the same round.
 */
import { accessSync, constants, mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseCommandLine } from './command-line.js';
import { CannotRun, runOrSay, VoidRun } from './failures.js';
import { describeMachine } from './machine.js';
import { type LeftOut, type Metric, type Report, sayLeftOut, show, stringify } from './report.js';
import { pairRatios, spreadOf } from './statistics.js';

/** What one run measured, by metric. */
export type Measured<M extends string> = Readonly<Record<M, number>>;

/** The whole distribution that a run measured, where its benchmark has `curves`. */
export interface Curved {
  /** Values at the benchmark's percentiles. */
  readonly curve?: readonly number[];
}

/** Ratio of a metric of one variant to the same metric of another, round by round. */
export interface Comparison<M extends string> {
  readonly metric: M;
  readonly of: string;
  readonly to: string;
}

export interface Benchmark<M extends string, F extends string> {
  readonly name: string;
  /** The one question that it answers. */
  readonly question: string;
  /** Which of the threads concerned are bound to CPUs, and how. */
  readonly pinning: string;
  /** Flags, all integers from 1, with their defaults; `rounds` is one of them. */
  readonly flags: Readonly<Record<F | 'rounds', number>>;
  /** Those flags that may be any number above 0. */
  readonly fractions?: readonly NoInfer<F>[];
  readonly metrics: Readonly<Record<M, Metric>>;
  /** That each run gives a {@link Curved.curve}, of what, with its unit, and at which percentiles. */
  readonly curves?: { readonly of: string; readonly percentiles: readonly number[] };
  readonly variants: readonly string[];
  readonly comparisons: readonly Comparison<NoInfer<M>>[];
  /** Throws a {@link CannotRun} where this machine cannot run it. */
  check?(): void;
  /** Why this machine cannot run one of the variants, which is then left out; or null. */
  missing?(variant: string): string | null;
  /** Versions of the programs besides this node that take part when `variants` are run. */
  programs?(variants: readonly string[]): Readonly<Record<string, string>>;
  /**
   * Measures `variant` once, in a process that has not run before.
   *
   * @param round from 0; a seed from it makes all variants of a round face the same.
   */
  measure(
    variant: string,
    flags: Readonly<Record<NoInfer<F> | 'rounds', number>>,
    round: number,
  ): Promise<Measured<NoInfer<M>> & Curved>;
}

/** `--json` with this is the report as JSON on standard output, in place of the text. */
const STDOUT = '-';

interface Settings<F extends string> {
  readonly flags: Readonly<Record<F | 'rounds', number>>;
  /** Where the report is written as JSON: a file, {@link STDOUT}, or null for nowhere. */
  readonly json: string | null;
  /** Arguments that say what is measured. */
  readonly args: readonly string[];
  /** Variants to run. */
  readonly only: readonly string[];
}

function parseFlags<M extends string, F extends string>(benchmark: Benchmark<M, F>): Settings<F> {
  const texts = ['json', 'only'];
  const { flags, given } = parseCommandLine(benchmark.flags, benchmark.fractions ?? [], texts);
  const only = given.only?.split(',') ?? benchmark.variants;
  const unknown = only.filter((variant) => !benchmark.variants.includes(variant));
  if (unknown.length > 0) {
    const known = benchmark.variants.join(', ');
    throw new CannotRun(`--only: no ${unknown.join(', ')} among ${known}`, 2);
  }
  const { json = null, ...measured } = given;
  const args = Object.entries(measured).flatMap(([name, value = '']) => [`--${name}`, value]);
  return { flags, json, args, only };
}

/** Before anything is measured, so that what took long is not lost. */
function checkWritable(json: string | null): void {
  if (json === null || json === STDOUT) return;
  let isFolder: boolean;
  try {
    mkdirSync(path.dirname(json), { recursive: true });
    accessSync(path.dirname(json), constants.W_OK);
    isFolder = statSync(json, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch (error) {
    throw new CannotRun(`--json: ${(error as Error).message}`, 2);
  }
  if (isFolder) throw new CannotRun(`--json: ${json} is a folder`, 2);
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
      return `${variant}: ${error.message}`;
    }
  }
  return null;
}

/** Runs `benchmark` and says what it found. Sets the exit code; rejects on a bug only. */
export function run<M extends string, F extends string>(benchmark: Benchmark<M, F>): Promise<void> {
  return runOrSay(benchmark.name, async () => {
    const settings = parseFlags(benchmark);
    const { json } = settings;
    benchmark.check?.();
    checkWritable(json);
    const report = await measureAll(benchmark, settings);
    if (json !== null && json !== STDOUT) writeFileSync(json, stringify(report));
    process.stdout.write(json === STDOUT ? stringify(report) : show(report));
  });
}

async function measureAll<M extends string, F extends string>(
  benchmark: Benchmark<M, F>,
  { flags, args, only }: Settings<F>,
): Promise<Report> {
  const startedAt = new Date().toISOString();
  const { rounds } = flags;
  const { present, leftOut } = sortOut(benchmark, only);
  const machine = describeMachine(benchmark.programs?.(present));
  const tell = (text: string) => process.stderr.write(`${benchmark.name}: ${text}\n`);
  const { samples, discarded } = await interleave(rounds, present, async (variant, round) => {
    tell(`round ${round + 1} of ${rounds}, ${variant}`);
    try {
      return await benchmark.measure(variant, flags, round);
    } catch (error) {
      if (error instanceof VoidRun) tell(`void, ${error.message}`);
      throw error;
    }
  });
  const of = (variant: string, metric: M) =>
    (samples.get(variant) ?? []).map((measured) => measured[metric]);
  const metrics = Object.keys(benchmark.metrics) as M[];
  return {
    benchmark: benchmark.name,
    question: benchmark.question,
    pinning: benchmark.pinning,
    command: [`npm run bench:${benchmark.name}`, ...(args.length > 0 ? ['--', ...args] : [])].join(
      ' ',
    ),
    startedAt,
    machine,
    flags,
    metrics: benchmark.metrics,
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
    curves: benchmark.curves
      ? {
          ...benchmark.curves,
          variants: present.map((variant) => ({
            variant,
            rounds: (samples.get(variant) ?? []).map(({ curve = [] }) => curve),
          })),
        }
      : null,
    leftOut,
    discarded,
  };
}

/** @throws CannotRun when none of `variants` can be run. */
function sortOut<M extends string, F extends string>(
  benchmark: Benchmark<M, F>,
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
