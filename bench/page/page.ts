/**
 * docs/benchmarks.md, its charts and the figures in the README, made of results. Pure. The same results make
 * the same files, so it can be told whether these are of those.
 */
import type { Metric, Report, Result } from '../report.js';
import { pairRatios, type Spread, spreadOf } from '../statistics.js';
import { type Bar, distributionChart, spreadChart } from './charts.js';
import { ratioText, shown, spread, table } from './figures.js';
import {
  type Claim,
  type CurvesOf,
  colourOf,
  isSimulated,
  labelOf,
  QUESTIONS,
  type Question,
  RR,
  stallLoad,
} from './questions.js';

/** By the names of their files, without extension. */
export type Reports = ReadonlyMap<string, Report>;

/** Where results are, and charts go, in the repository. */
export const FOLDER = 'docs/benchmarks';
const PAGE = 'docs/benchmarks.md';

/** Fewer have no quartiles that say something. */
const ROUNDS_MIN = 3;

const SWEPT = /^sweep-(\d+)ms-(\d+)$/;

/** That results have this name. */
export const isKnown = (name: string): boolean =>
  SWEPT.test(name) || QUESTIONS.some((question) => question.name === name);

type Verdict = 'better' | 'same' | 'worse' | 'unknown';

/** `of / to` in each round, or null where there is no such ratio. */
function ratioOf({ results }: Report, { metric, of, to }: Omit<Claim, 'text'>): Spread | null {
  const samplesOf = (variant: string) =>
    results.find((result) => result.metric === metric && result.variant === variant)?.samples;
  const [above, below] = [samplesOf(of), samplesOf(to)];
  if (above === undefined || below === undefined) return null;
  // A ratio to nothing, or of differences that fell below 0, says nothing.
  if (![...above, ...below].every((sample) => sample > 0)) return null;
  return spreadOf(pairRatios(above, below));
}

/** Both quartiles have to be on one side of 1. */
function verdictOf(ratio: Spread | null, { better }: Metric): Verdict {
  if (ratio === null || ratio.n < ROUNDS_MIN || better === undefined) return 'unknown';
  const [less, more] =
    better === 'less' ? (['better', 'worse'] as const) : (['worse', 'better'] as const);
  if (ratio.q3 < 1) return less;
  return ratio.q1 > 1 ? more : 'same';
}

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
function headOf(name: string, { unit }: Metric): string {
  const percentile = /^p(99|\d\d)(9?)/.exec(name);
  const [, whole, tenth] = percentile ?? [];
  const prefix = percentile ? `p${whole}${tenth ? `.${tenth}` : ''}, ` : '';
  return HEADS[name] ?? `${prefix}${unit}`;
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

const resultsOf = ({ results }: Report, metric: string): Result[] =>
  results.filter((result) => result.metric === metric);

const metricOf = ({ metrics }: Report, name: string): Metric => metrics[name] as Metric;

function roundsText({ results }: Report): string {
  const rounds = results[0]?.n ?? 0;
  return rounds === 1 ? 'one round' : `${rounds} rounds`;
}

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

function resultsTable(report: Report, names: readonly string[]): string {
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

const machineText = ({ machine }: Report) =>
  `${machine.cpu}, ${machine.cpus} CPUs (of which ${machine.allowedCpus} may be used), ` +
  `${shown(machine.memoryMb / 1024, 0)} GB of memory, ${machine.kernel}`;

function programsText({ machine: { node, programs } }: Report): string {
  const others = Object.entries(programs).map(([name, version]) => `${name} ${version}`);
  return [`Node ${node}`, ...others].join(', ');
}

/** By what, when and on what the figures of a section were measured. */
function provenance(report: Report, machine: string): string {
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

/** A section's text, and its charts by name. */
interface Section {
  readonly text: string;
  readonly charts: ReadonlyMap<string, string>;
}

function sectionOf(question: Question, report: Report, machine: string): Section {
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

const SWEEP_METRICS = ['p50', 'p95', 'p99', 'p999', 'slow50'] as const;

/** All cells of `npm run bench:sweep` in one table; empty without results. */
function sweepSection(reports: Reports, machine: string): string {
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

/** What was found at all, by verdict. */
function summary(reports: Reports): string {
  const rows = new Map<Verdict, string[][]>();
  for (const { name, claims } of QUESTIONS) {
    const report = reports.get(name);
    if (report === undefined) continue;
    for (const claim of claims) {
      const has = (variant: string) => report.results.some((result) => result.variant === variant);
      if (!has(claim.of) || !has(claim.to)) continue;
      const ratio = ratioOf(report, claim);
      const verdict = verdictOf(ratio, metricOf(report, claim.metric));
      const cells = [claim.text, labelOf(claim.of), labelOf(claim.to), ratioText(ratio)];
      rows.set(verdict, [...(rows.get(verdict) ?? []), cells]);
    }
  }
  const order: readonly (readonly [Verdict, string])[] = [
    ['better', '### Where gyre is better'],
    ['same', '### Where no difference was found'],
    ['worse', '### Where gyre is worse'],
    ['unknown', '### Where nothing can be said'],
  ];
  return order
    .flatMap(([verdict, heading]) => {
      const found = rows.get(verdict);
      if (found === undefined) return [];
      return [heading, table(['what', 'of this', 'compared with', 'ratio'], found, 3)];
    })
    .join('\n\n');
}

const INTRODUCTION = `# Benchmarks

<!-- Made by \`npm run bench:report\` of the results in docs/benchmarks. Change those, or bench/page, and not this. -->

What gyre gains, where it gains nothing, and where it loses. Each figure was measured by the command below its table; all of them by

\`\`\`sh
npm run bench -- --json-dir docs/benchmarks
npm run bench:report
\`\`\`

Each figure is the median of several rounds, with the first and third quartiles in brackets. A round measures each variant once, in
processes of its own, and rounds run forwards and backwards in turn. A ratio compares two variants in the same round, so what slows a
round down does not show in it. Something is called better or worse only if both quartiles of its ratio are on the same side of 1.
In the charts a dot is the median, the thick line goes from the first to the third quartile, and the thin one from the least to the most. The load
generator shares the CPUs with the servers. [bench/README.md](../bench/README.md) says more.`;

/** The page, and its charts by name. */
function pageOf(reports: Reports): Section {
  const all = [...reports.values()];
  const machine = machineText(all[0] as Report);
  const charts = new Map<string, string>();
  const sections = QUESTIONS.flatMap((question) => {
    const report = reports.get(question.name);
    if (report === undefined) return [];
    const section = sectionOf(question, report, machine);
    for (const [file, content] of section.charts) charts.set(file, content);
    return [section.text];
  });
  const missing = QUESTIONS.filter(({ name }) => !reports.has(name));
  const parts = [
    INTRODUCTION,
    `The machine: ${machine}.`,
    '## In short',
    summary(reports),
    ...sections.slice(0, 1),
    sweepSection(reports, machine),
    ...sections.slice(1),
    missing.length === 0
      ? ''
      : `Without results here: ${missing.map(({ name }) => `\`npm run bench:${name}\``).join(', ')}.`,
  ];
  return { text: `${parts.filter((part) => part !== '').join('\n\n')}\n`, charts };
}

const BEGIN = '<!-- npm run bench:report: begin -->';
const END = '<!-- npm run bench:report: end -->';

/** Rows of the README's table. */
const README_VARIANTS = ['gyre', RR, 'go'] as const;
const README_METRICS = ['p50', 'p95', 'p99', 'p999', 'slow50'] as const;

function readmeFigures(report: Report): string {
  const { machine } = report;
  const results = report.results.filter(({ variant }) =>
    README_VARIANTS.some((each) => each === variant),
  );
  return [
    `![Latencies of fast requests beside slow ones, by percentile, of gyre and others](${FOLDER}/stall.svg)`,
    `${stallLoad(report.flags)}, on ${machine.cpus} CPUs (${machine.cpu}) that the load generator shares; latency from the moment ` +
      `a request was due; ${programsText(report)}. Median of ${roundsText(report)}, interleaved, with quartiles:`,
    resultsTable({ ...report, results }, README_METRICS),
    `All figures, and where gyre loses: [docs/benchmarks.md](docs/benchmarks.md).`,
  ].join('\n\n');
}

/**
 * All files that are made of `reports`, by their paths in the repository. None without reports.
 *
 * @param readme as it is; it has the figures of `stall` between two marks
 * @throws RangeError when it has no marks
 */
export function filesOf(reports: Reports, readme: string): Map<string, string> {
  const files = new Map<string, string>();
  if (reports.size === 0) return files;
  const { text, charts } = pageOf(reports);
  files.set(PAGE, text);
  for (const [file, content] of charts) files.set(`${FOLDER}/${file}`, content);
  const stall = reports.get('stall');
  if (stall === undefined) return files;
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin === -1 || end < begin) throw new RangeError(`README.md lacks ${BEGIN} or ${END}`);
  const [before, after] = [readme.slice(0, begin + BEGIN.length), readme.slice(end)];
  files.set('README.md', `${before}\n${readmeFigures(stall)}\n${after}`);
  return files;
}
