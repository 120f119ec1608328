/** How figures are written on the page: numbers, spreads, ratios and tables, as Markdown. Pure. */
import type { Spread } from '../statistics.js';

/** With `digits` decimals, or fewer where four digits are enough. */
export function shown(value: number, digits: number): string {
  const whole = Math.abs(value) >= 1 ? Math.floor(Math.log10(Math.abs(value))) + 1 : 1;
  const decimals = Math.max(0, Math.min(digits, 4 - whole));
  return value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** A median with its quartiles. */
export const spread = ({ median, q1, q3 }: Spread, digits: number): string =>
  `${shown(median, digits)} (${shown(q1, digits)}–${shown(q3, digits)})`;

/** @param ratio null: there is no such ratio */
export const ratioText = (ratio: Spread | null): string =>
  ratio === null ? '–' : spread(ratio, ratio.median < 0.1 ? 3 : 2);

/** @param texts how many of the first columns are text, and not figures */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  texts: number = 1,
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(head),
    line(head.map((_, at) => (at < texts ? '---' : '---:'))),
    ...rows.map(line),
  ].join('\n');
}
