/**
 * What a benchmark found, with everything that a reader needs to believe it: machine, commit, flags
 * and every sample. As JSON it is what `--json` writes and bench/page draws; as text it is what a
 * benchmark prints. Pure.
 */
import type { Spread } from './statistics.js';

export interface Metric {
  readonly unit: string;
  /** Decimals that are shown. */
  readonly digits: number;
  /** Which of two values is the better one. Absent: neither, it is there to judge the others by. */
  readonly better?: 'less' | 'more';
}

/** Samples of one metric of one variant, in the order of the rounds. */
export interface Result extends Spread {
  readonly metric: string;
  readonly unit: string;
  readonly variant: string;
  readonly samples: readonly number[];
}

/** Whole distributions: one line for each variant and round. */
export interface Curves {
  /** What they are of, with its unit. */
  readonly of: string;
  /** From 0 to 100, ascending. */
  readonly percentiles: readonly number[];
  readonly variants: readonly {
    readonly variant: string;
    /** For each round the values at `percentiles`. */
    readonly rounds: readonly (readonly number[])[];
  }[];
}

/**
 * The format of the files in docs/benchmarks. Samples of different variants at the same place are of
 * the same round, and so is a pair.
 */
export interface Report {
  readonly benchmark: string;
  readonly question: string;
  readonly pinning: string;
  /** What gives such a report once more, typed in the root of the repository. */
  readonly command: string;
  /** When it began, in ISO 8601. */
  readonly startedAt: string;
  readonly machine: Machine;
  readonly flags: Readonly<Record<string, number>>;
  /** By their names, in the order in which they are shown. */
  readonly metrics: Readonly<Record<string, Metric>>;
  readonly ratios: readonly (Spread & { metric: string; of: string; to: string })[];
  readonly results: readonly Result[];
  /** Null: the benchmark has none. */
  readonly curves: Curves | null;
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
  readonly memoryMb: number;
  readonly kernel: string;
  readonly node: string;
  /** Versions of the other programs that took part, by their names. */
  readonly programs: Readonly<Record<string, string>>;
  readonly gyre: string;
  /** Of the repository; with `+` where something that it has under control was changed since. */
  readonly commit: string;
  /** Load average over the minute before: above 0, somebody else was at work. */
  readonly loadBefore: number;
}

export const sayLeftOut = ({ variant, reason }: LeftOut): string =>
  `${variant} is left out: ${reason}`;

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

/** `report` as JSON, in which each metric of a variant has a line, so that two can be compared as text. */
export function stringify(report: Report): string {
  const parts = Object.entries(report).map(([key, value]) => {
    const lines = Array.isArray(value) ? value.map((each) => `    ${JSON.stringify(each)}`) : [];
    const text = lines.length > 0 ? `[\n${lines.join(',\n')}\n  ]` : JSON.stringify(value);
    return `  ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${parts.join(',\n')}\n}\n`;
}

/** `report` as text. */
export function show(report: Report): string {
  const { machine } = report;
  const programs = [
    `Node ${machine.node}`,
    `gyre ${machine.gyre} (${machine.commit})`,
    ...Object.entries(machine.programs).map(([name, version]) => `${name} ${version}`),
  ];
  const flags = Object.entries(report.flags).map(([name, value]) => `--${name} ${value}`);
  const cells = (spread: Spread, digits: number) => HEAD.map((key) => spread[key].toFixed(digits));
  const parts = [
    `${report.benchmark}: ${report.question}\n`,
    `${machine.cpu}, ${machine.cpus} CPUs, may use ${machine.allowedCpus}; ${machine.kernel}; ` +
      `${programs.join('; ')}; load before ${machine.loadBefore.toFixed(2)}\n`,
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
  for (const [metric, { unit, digits }] of Object.entries(report.metrics)) {
    const rows = report.results
      .filter((result) => result.metric === metric)
      .map((result) => [result.variant, ...cells(result, digits)]);
    parts.push('\n', table([[`${metric} (${unit})`, ...HEAD], ...rows]));
  }
  return `${parts.join('')}\n`;
}
