/**
 * The two kinds of chart on the page: a distribution for each variant, and the spread of a figure for each
 * variant. Pure.
 */
import { type Spread, spreadOf } from '../statistics.js';
import { type Colour, document, line, linearAxis, logAxis, px, text, WIDTH } from './svg.js';

const MARGIN = 16;

/** A line of the chart of distributions. */
export interface Series {
  readonly label: string;
  readonly colour: Colour;
  /** It is no server, but what one is compared with. */
  readonly dashed: boolean;
  /** For each round the values at the percentiles. */
  readonly rounds: readonly (readonly number[])[];
}

export interface DistributionChart {
  readonly title: string;
  /** What is below the title. */
  readonly lines: readonly string[];
  /** Of the values. */
  readonly unit: string;
  /** From 0 to below 100, ascending. */
  readonly percentiles: readonly number[];
  readonly series: readonly Series[];
}

const PLOT_HEIGHT = 330;
/** Clocks may say that something took no time, for which a logarithmic axis has no place. */
const VALUE_MIN = 0.001;
/** Of the marks beside the axis. */
const AXIS_WIDTH = 48;
/** Where the axis of percentiles is marked: as far from 100 as can be told apart. */
const MARKS = [50, 75, 90, 95, 99, 99.5, 99.9] as const;
/** The names are in the upper left, where there is room: curves begin low. */
const LEGEND_LINE = 19;

/** Nines: how far from 100, on a logarithmic scale. */
const nines = (percentile: number) => -Math.log10(1 - percentile / 100);

const ofUnit = (value: number, unit: string) =>
  `${value >= 1000 ? value.toLocaleString('en-US') : value} ${unit}`;

/**
 * Values (logarithmic) at percentiles (by nines): a line is the median of the rounds at each, and the
 * band around it goes from the first to the third quartile.
 */
export function distributionChart(chart: DistributionChart): string {
  const { percentiles, unit } = chart;
  const series = chart.series.map((each) => ({
    ...each,
    spreads: percentiles.map((_, at) => spreadOf(each.rounds.map((round) => round[at] as number))),
  }));
  const values = series.flatMap(({ spreads }) => spreads);
  const floor = Math.max(VALUE_MIN, Math.min(...values.map(({ q1 }) => q1)));
  const top = MARGIN + 32 + 18 * chart.lines.length;
  const bottom = top + PLOT_HEIGHT;
  const [left, right] = [MARGIN + AXIS_WIDTH, WIDTH - MARGIN - 8];
  const y = logAxis(floor, Math.max(floor, ...values.map(({ q3 }) => q3)), bottom, top);
  const last = nines(percentiles.at(-1) as number);
  const x = (percentile: number) => left + ((right - left) * nines(percentile)) / last;
  const parts = [
    text(MARGIN, MARGIN + 12, chart.title, { size: 15, bold: true }),
    ...chart.lines.map((each, at) =>
      text(MARGIN, MARGIN + 32 + 18 * at, each, { colour: 'muted' }),
    ),
  ];
  for (const tick of y.ticks) {
    const height = y.at(tick);
    parts.push(line([left, height], [right, height], 'grid'));
    const label = ofUnit(tick, unit);
    parts.push(text(left - 6, height + 4, label, { colour: 'muted', anchor: 'end', size: 12 }));
  }
  for (const mark of MARKS.filter((percentile) => nines(percentile) <= last + 1e-9)) {
    parts.push(line([x(mark), top], [x(mark), bottom], 'grid'));
    const anchor = nines(mark) > last - 0.05 ? 'end' : 'middle';
    parts.push(text(x(mark), bottom + 18, `${mark} %`, { colour: 'muted', anchor, size: 12 }));
  }
  const about = { colour: 'muted', anchor: 'middle', size: 12 } as const;
  parts.push(text((left + right) / 2, bottom + 36, 'of the requests took less', about));
  const point = (value: number, at: number) =>
    `${px(x(percentiles[at] as number))},${px(y.at(Math.max(floor, value)))}`;
  for (const { colour, spreads } of series) {
    const upper = spreads.map(({ q3 }, at) => point(q3, at));
    const lower = spreads.map(({ q1 }, at) => point(q1, at)).reverse();
    parts.push(
      `<polygon points="${[...upper, ...lower].join(' ')}" class="${colour}" opacity="0.14"/>`,
    );
  }
  for (const { colour, dashed, spreads } of series) {
    const dashes = dashed ? ' stroke-dasharray="5 4"' : '';
    const points = spreads.map(({ median }, at) => point(median, at)).join(' ');
    parts.push(
      `<polyline points="${points}" class="${colour}-line" stroke-width="2.2" stroke-linejoin="round"${dashes}/>`,
    );
  }
  // In the order of the curves where they are farthest from each other.
  const at = percentiles.findIndex((percentile) => percentile >= 95);
  const medianAt = ({ spreads }: { spreads: readonly Spread[] }) => spreads[at]?.median ?? 0;
  const sorted = series.toSorted((a, b) => medianAt(b) - medianAt(a));
  sorted.forEach(({ label, colour, dashed }, row) => {
    const height = top + 16 + row * LEGEND_LINE;
    const dashes = dashed ? ' stroke-dasharray="5 4"' : '';
    parts.push(
      `<line x1="${left + 14}" y1="${px(height)}" x2="${left + 38}" y2="${px(height)}" class="${colour}-line" stroke-width="2.6"${dashes}/>`,
      text(left + 46, height + 4.5, label),
    );
  });
  return document(bottom + 36 + MARGIN, [chart.title, ...chart.lines].join('; '), parts);
}

/** A variant's row in a panel. */
export interface Bar {
  readonly label: string;
  readonly colour: Colour;
  readonly spread: Spread;
  /** The median, as it is written in the table. */
  readonly value: string;
}

/** The spreads of one figure. */
export interface Panel {
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** From here on, greatest to least, the small ones could not be told apart on a linear axis. */
const FAR_APART = 50;

const ROW = 22;
/** Of a character of 13 px, with any common sans-serif font. */
const CHARACTER = 6.9;

/**
 * Panels one below the other. A bar ends at the median; the thick line across its end goes from the first
 * to the third quartile, the thin one from the least to the most of the rounds.
 */
export function spreadChart(title: string, panels: readonly Panel[]): string {
  const parts = [text(MARGIN, MARGIN + 12, title, { size: 15, bold: true })];
  const bars = panels.flatMap((panel) => panel.bars);
  const labelWidth = Math.max(...bars.map(({ label }) => label.length)) * CHARACTER;
  const valueWidth = Math.max(...bars.map(({ value }) => value.length)) * CHARACTER + 10;
  const [left, right] = [MARGIN + labelWidth + 8, WIDTH - MARGIN - valueWidth];
  let y = MARGIN + 22;
  for (const panel of panels) {
    y += 22;
    parts.push(text(MARGIN, y, panel.title, { colour: 'muted' }));
    y += 8;
    const bottom = y + panel.bars.length * ROW + 4;
    const most = Math.max(...panel.bars.map(({ spread }) => spread.max));
    const least = Math.min(...panel.bars.map(({ spread }) => spread.min));
    const logarithmic = least > 0 && most / least > FAR_APART;
    const axis = logarithmic ? logAxis(least, most, left, right) : linearAxis(most, left, right);
    for (const tick of axis.ticks) {
      parts.push(line([axis.at(tick), y], [axis.at(tick), bottom], 'grid'));
      const label = Number(tick.toPrecision(3)).toLocaleString('en-US', {
        maximumFractionDigits: 6,
      });
      const look = { colour: 'muted', anchor: 'middle', size: 11 } as const;
      parts.push(text(axis.at(tick), bottom + 13, label, look));
    }
    for (const { label, colour, spread, value } of panel.bars) {
      const middle = y + ROW / 2 + 2;
      const at = (of: keyof Spread) => Math.max(left, axis.at(spread[of]));
      parts.push(
        text(left - 8, middle + 4.5, label, { anchor: 'end' }),
        // Its length would say nothing on a logarithmic scale.
        logarithmic
          ? ''
          : `<rect x="${px(left)}" y="${px(middle - 6)}" width="${px(at('median') - left)}" height="12" class="${colour}" opacity="0.35"/>`,
        line([at('min'), middle], [at('max'), middle], colour),
        line([at('q1'), middle], [at('q3'), middle], colour, 5),
        `<circle cx="${px(at('median'))}" cy="${px(middle)}" r="4" class="${colour}"/>`,
        text(WIDTH - MARGIN, middle + 4.5, value, { anchor: 'end' }),
      );
      y += ROW;
    }
    y = bottom + 18;
  }
  const about = `${title}: ${panels.map((panel) => panel.title).join('; ')}`;
  return document(
    y + 8,
    about,
    parts.filter((part) => part !== ''),
  );
}
