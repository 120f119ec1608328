/**
 * What charts are drawn with: an SVG document with its own ground and colours, light or dark as its reader
 * has it, and axes. Pure.
 */

/** As the classes of its elements say. The first is for light screens, the second for dark ones. */
const COLOURS = {
  ground: ['#ffffff', '#0d1117'],
  frame: ['#d0d7de', '#30363d'],
  text: ['#1f2328', '#e6edf3'],
  muted: ['#59636e', '#9198a1'],
  grid: ['#e4e8ec', '#21262d'],
  // Of series: told apart by those who do not see some colours, too (after Okabe and Ito).
  a: ['#0064c8', '#58a6ff'],
  b: ['#c2410c', '#f0883e'],
  c: ['#8a3ffc', '#be95ff'],
  d: ['#00795c', '#3fb68b'],
  e: ['#a16207', '#d4a72c'],
  f: ['#6e7781', '#8b949e'],
} as const;

export type Colour = keyof typeof COLOURS;

/** In px, at the size at which it is meant to be looked at. */
export const WIDTH = 800;
const FONT = "-apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif";

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** To a tenth of a px: finer cannot be seen. */
export const px = (value: number) => String(Math.round(value * 10) / 10);

function style(scheme: 0 | 1): string {
  return Object.entries(COLOURS)
    .map(([name, values]) => {
      const value = values[scheme];
      return `.${name}{fill:${value}}.${name}-line{stroke:${value};fill:none}`;
    })
    .join('');
}

/** A whole document. @param title what it shows, for those who do not see it */
export function document(height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${px(height)}" viewBox="0 0 ${WIDTH} ${px(height)}" role="img" font-family="${FONT}" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    `<style>${style(0)}@media (prefers-color-scheme:dark){${style(1)}}</style>`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${px(height - 1)}" rx="6" class="ground"/>`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${px(height - 1)}" rx="6" class="frame-line"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

export function text(
  x: number,
  y: number,
  content: string,
  { colour = 'text', anchor = 'start', size = 13, bold = false } = {} as TextLook,
): string {
  const weight = bold ? ' font-weight="600"' : '';
  const sized = size === 13 ? '' : ` font-size="${size}"`;
  const anchored = anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
  return `<text x="${px(x)}" y="${px(y)}" class="${colour}"${anchored}${sized}${weight}>${escaped(content)}</text>`;
}

export interface TextLook {
  readonly colour?: Colour;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly size?: number;
  readonly bold?: boolean;
}

export function line(
  [x1, y1]: readonly [number, number],
  [x2, y2]: readonly [number, number],
  colour: Colour,
  width = 1,
): string {
  return `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" class="${colour}-line" stroke-width="${width}"/>`;
}

/** A scale from values to px, and the values at which it is marked. */
export interface Axis {
  at(value: number): number;
  readonly ticks: readonly number[];
}

/** Some five marks from 0 to `max` or a little more; to 1 where nothing is above 0. */
export function linearAxis(max: number, from: number, to: number): Axis {
  const rough = (max > 0 ? max : 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) as number) * power;
  const count = Math.ceil((5 * rough) / step - 1e-9);
  const at = (value: number) => from + ((to - from) * value) / (count * step);
  return { at, ticks: Array.from({ length: count + 1 }, (_, tick) => tick * step) };
}

/** From `min` to `max`, both above 0, or a little more; marked at 1, 2 and 5 times powers of ten. */
export function logAxis(min: number, max: number, from: number, to: number): Axis {
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    // From the text, so that there is no 0.30000000000000004.
    ticks.push(...[1, 2, 5].map((factor) => Number(`${factor}e${power}`)));
  }
  const first = Math.max(
    0,
    ticks.findLastIndex((tick) => tick <= min),
  );
  // An axis has two ends, even where all values are one.
  const beyond = Math.max(
    first + 1,
    ticks.findIndex((tick) => tick >= max),
  );
  const shown = ticks.slice(first, beyond + 1);
  const [low, high] = [Math.log(shown[0] as number), Math.log(shown.at(-1) as number)];
  const at = (value: number) => from + ((to - from) * (Math.log(value) - low)) / (high - low);
  return { at, ticks: shown };
}
