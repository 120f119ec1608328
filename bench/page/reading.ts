/** What the page reads off a report: its results, how its metrics are called, and under what they were measured. Pure. */
import type { Metric, Report, Result } from '../report.js';
import { shown, spread, table } from './figures.js';
import { labelOf } from './variants.js';

/** By the names of their files, without extension. */
export type Reports = ReadonlyMap<string, Report>;

const HEADS: Readonly<Record<string, string>> = {
  slow50: 'slow requests: p50, ms',
  slow95: 'slow requests: p95, ms',
  late: 'generator late: p99, ms',
  waitP50: 'waiting: p50, ms',
  waitP99: 'waiting: p99, ms',
  shortP99: 'short jobs: p99, ms',
  longP99: 'long jobs: p99, ms',
  pauseP50: 'pause: p50 below, µs',
  pauseP99: 'pause: p99 below, µs',
};

/** A metric for people, with its unit. */
export function headOf(name: string, { unit }: Metric): string {
  const percentile = /^p(99|\d\d)(9?)/.exec(name);
  const [, whole, tenth] = percentile ?? [];
  const prefix = percentile ? `p${whole}${tenth ? `.${tenth}` : ''}, ` : '';
  return HEADS[name] ?? `${prefix}${unit}`;
}

export const resultsOf = ({ results }: Report, metric: string): Result[] =>
  results.filter((result) => result.metric === metric);

export const metricOf = ({ metrics }: Report, name: string): Metric => metrics[name] as Metric;

export function roundsText({ results }: Report): string {
  const rounds = results[0]?.n ?? 0;
  return rounds === 1 ? 'one round' : `${rounds} rounds`;
}

export const machineText = ({ machine }: Report) =>
  `${machine.cpu}, ${machine.cpus} CPUs (of which ${machine.allowedCpus} may be used), ` +
  `${shown(machine.memoryMb / 1024, 0)} GB of memory, ${machine.kernel}`;

export function programsText({ machine: { node, programs } }: Report): string {
  const others = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
  return [`Node ${node}`, ...others].join(', ');
}

/** By what, when and on what the figures of a section were measured. */
export function provenance(report: Report, machine: string): string {
  const { machine: on, command, startedAt, pinning, leftOut, discarded } = report;
  return [
    `\`${command}\``,
    `${startedAt.slice(0, 10)}, ${roundsText(report)}; gyre ${on.gyre} (commit ${on.commit}), ${programsText(report)}`,
    ...(machineText(report) === machine ? [] : [machineText(report)]),
    `bound to CPUs: ${pinning}; load average before: ${shown(on.loadBefore, 2)}`,
    ...leftOut.map(({ variant, reason }) => `left out: ${labelOf(variant)} (${reason})`),
    ...(discarded.length > 0 ? [`discarded rounds: ${discarded.join('; ')}`] : []),
  ]
    .map((text) => `- ${text}`)
    .join('\n');
}

export function resultsTable(report: Report, names: readonly string[]): string {
  const variants = resultsOf(report, names[0] as string).map(({ variant }) => variant);
  return table(
    ['', ...names.map((name) => headOf(name, metricOf(report, name)))],
    variants.map((variant) => [
      labelOf(variant),
      ...names.map((name) => {
        const result = resultsOf(report, name).find((each) => each.variant === variant) as Result;
        return spread(result, metricOf(report, name).digits);
      }),
    ]),
  );
}
