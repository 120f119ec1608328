/**
 * docs/benchmarks.md, its charts and the figures in the README, made of results. Pure. The same results make
 * the same files, so it can be told whether these are of those.
 */
import type { Report } from '../report.js';
import { QUESTIONS, stallLoad } from './questions.js';
import { machineText, programsText, type Reports, resultsTable, roundsText } from './reading.js';
import { type Section, SWEPT, sectionOf, sweepSection } from './sections.js';
import { RR } from './variants.js';
import { summary } from './verdicts.js';

/** Where results are, and charts go, in the repository. */
export const FOLDER = 'docs/benchmarks';
const PAGE = 'docs/benchmarks.md';

/** That results have this name. */
export const isKnown = (name: string): boolean =>
  SWEPT.test(name) || QUESTIONS.some((question) => question.name === name);

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
