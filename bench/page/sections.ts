/** The sections of the page, one a question: text, charts, tables, and where the figures are from. Pure. */
import type { Report } from '../report.js';
import { type Bar, distributionChart, spreadChart } from './charts.js';
import { ratioText, shown, table } from './figures.js';
import type { CurvesOf, Question } from './questions.js';
import {
  headOf,
  metricOf,
  provenance,
  type Reports,
  resultsOf,
  resultsTable,
  roundsText,
} from './reading.js';
import { colourOf, isSimulated, labelOf, RR } from './variants.js';
import { ratioOf } from './verdicts.js';

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function curvesChart(report: Report, { title, variants, load }: CurvesOf): string | null {
  const { curves, flags } = report;
  const series = (curves?.variants ?? []).filter(({ variant }) => variants.includes(variant));
  if (curves === null || series.length === 0) return null;
  return distributionChart({
    title,
    lines: [
      load(flags),
      `line: median of ${roundsText(report)}; band: from the first to the third quartile`,
    ],
    unit: 'ms',
    percentiles: curves.percentiles,
    series: series.map(({ variant, rounds }) => ({
      ...{ label: labelOf(variant), colour: colourOf(variant), rounds },
      dashed: isSimulated(variant),
    })),
  });
}

function figuresChart(report: Report, { chart }: Question): string {
  const panels = chart.map((name) => {
    const metric = metricOf(report, name);
    const better = metric.better === undefined ? '' : ` (${metric.better} is better)`;
    const bars = resultsOf(report, name).map(
      (result): Bar => ({
        ...{ label: labelOf(result.variant), colour: colourOf(result.variant), spread: result },
        value: shown(result.median, metric.digits),
      }),
    );
    return { title: `${headOf(name, metric)}${better}`, bars };
  });
  return spreadChart(capital(report.question), panels);
}

/** A row for each pair that the benchmark compares. */
function ratiosTable(report: Report, names: readonly string[]): string {
  const pairs = new Map(
    report.ratios
      .filter(({ metric }) => names.includes(metric))
      .map(({ of, to }) => [`${labelOf(of)} / ${labelOf(to)}`, { of, to }]),
  );
  if (pairs.size === 0) return '';
  return table(
    ['ratio in the same round', ...names.map((name) => headOf(name, metricOf(report, name)))],
    [...pairs].map(([label, { of, to }]) => [
      label,
      ...names.map((metric) => ratioText(ratioOf(report, { metric, of, to }))),
    ]),
  );
}

/** A section's text, and its charts by name. */
export interface Section {
  readonly text: string;
  readonly charts: ReadonlyMap<string, string>;
}

export function sectionOf(question: Question, report: Report, machine: string): Section {
  const { name } = question;
  const charts = new Map<string, string>();
  const curves = question.curves && curvesChart(report, question.curves);
  if (curves) charts.set(`${name}.svg`, curves);
  if (question.chart.length > 0) charts.set(`${name}-spread.svg`, figuresChart(report, question));
  const images = [...charts.keys()].map(
    (file) => `![${capital(report.question)} The table below has the figures.](benchmarks/${file})`,
  );
  const parts = [
    `## ${capital(report.question)}`,
    question.text,
    ...images,
    resultsTable(report, question.table),
    ratiosTable(report, question.ratios),
    provenance(report, machine),
  ];
  return { text: parts.filter((part) => part !== '').join('\n\n'), charts };
}

/** The name of a cell's results of `npm run bench:sweep`. */
export const SWEPT = /^sweep-(\d+)ms-(\d+)$/;

const SWEEP_METRICS = ['p50', 'p95', 'p99', 'p999', 'slow50'] as const;

/** All cells of `npm run bench:sweep` in one table; empty without results. */
export function sweepSection(reports: Reports, machine: string): string {
  const cells = [...reports]
    .flatMap(([name, report]) => {
      const [, ms, percent] = SWEPT.exec(name) ?? [];
      return ms === undefined ? [] : [{ ms: Number(ms), percent: Number(percent), report }];
    })
    .toSorted((a, b) => a.ms - b.ms || a.percent - b.percent);
  const [first] = cells;
  if (first === undefined) return '';
  return [
    '## How much does it depend on the slow requests?',
    'The first question with slow requests of other lengths, which together use so much of one CPU. Each figure is ' +
      `gyre's as a ratio to ${labelOf(RR)}'s in the same round. Where it is 1, nothing is gained.`,
    table(
      [
        'slow requests of',
        'which use',
        ...SWEEP_METRICS.map((name) =>
          headOf(name, metricOf(first.report, name)).replace(', ms', ''),
        ),
      ],
      cells.map(({ ms, percent, report }) => [
        `${ms} ms`,
        `${percent}% of a CPU`,
        ...SWEEP_METRICS.map((metric) =>
          ratioText(ratioOf(report, { metric, of: 'gyre', to: RR })),
        ),
      ]),
      2,
    ),
    provenance(first.report, machine).replace(
      /^- `.*`$/m,
      '- `npm run bench:sweep`, of whose first run is this:',
    ),
  ].join('\n\n');
}
