/** Who is better: ratios of two variants in the same round, and what follows from them. Pure. */
import type { Metric, Report } from '../report.js';
import { pairRatios, type Spread, spreadOf } from '../statistics.js';
import { ratioText, table } from './figures.js';
import { type Claim, QUESTIONS } from './questions.js';
import { metricOf, type Reports } from './reading.js';
import { labelOf } from './variants.js';

/** Fewer have no quartiles that say something. */
const ROUNDS_MIN = 3;

type Verdict = 'better' | 'same' | 'worse' | 'unknown';

/** `of / to` in each round, or null where there is no such ratio. */
export function ratioOf(
  { results }: Report,
  { metric, of, to }: Omit<Claim, 'text'>,
): Spread | null {
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

/** What was found at all, by verdict. */
export function summary(reports: Reports): string {
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
