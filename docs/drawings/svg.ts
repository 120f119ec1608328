/**
 * What the drawings of docs/ are made of: boxes, lines and text as SVG. Pure. Each has a ground of
 * its own, so that it can be read on light and dark pages alike, and follows the reader's colours.
 */

/** Width of every drawing, in px: that of a page on GitHub. */
export const WIDTH = 880;
/** From one line of a text to the next. */
export const LINE = 17;

/** What a thing is, which is its colour. */
export type Kind =
  | 'main'
  | 'worker'
  | 'governor'
  | 'shared'
  | 'kernel'
  | 'client'
  | 'moves'
  | 'stays'
  | 'busy'
  | 'paused';

/** Fill and stroke by kind, light and dark. */
const COLOURS: Readonly<Record<Kind, readonly [string, string, string, string]>> = {
  main: ['#f3effc', '#8250df', '#271f3d', '#a371f7'],
  worker: ['#ddf0ff', '#0969da', '#12263f', '#4c9aff'],
  governor: ['#fff5c2', '#9a6700', '#322a0c', '#d2a83a'],
  shared: ['#e0f7e6', '#1a7f37', '#11301b', '#46b35e'],
  kernel: ['#eef0f3', '#6e7781', '#21262d', '#8b949e'],
  client: ['#ffffff', '#6e7781', '#0d1117', '#8b949e'],
  moves: ['#c9efd3', '#1a7f37', '#17452a', '#46b35e'],
  stays: ['#ffd9d4', '#cf222e', '#4c1d1d', '#f0776f'],
  busy: ['#ffdcb8', '#bc4c00', '#4a2a10', '#e8914a'],
  paused: ['#ffd9d4', '#cf222e', '#4c1d1d', '#f0776f'],
};

function rules(dark: boolean): string {
  const [ground, edge, ink, faint] = dark
    ? ['#0d1117', '#30363d', '#e6edf3', '#9aa4ae']
    : ['#ffffff', '#d0d7de', '#1f2328', '#59636e'];
  const kinds = Object.entries(COLOURS).map(([kind, colours]) => {
    const [fill, stroke] = dark ? colours.slice(2) : colours;
    return `.${kind}{fill:${fill};stroke:${stroke}}`;
  });
  return [
    `.ground{fill:${ground};stroke:${edge}}`,
    `text{fill:${ink}}.faint{fill:${faint}}.halo{stroke:${ground}}`,
    `.line{stroke:${faint};fill:none}.tip{fill:${faint}}`,
    ...kinds,
  ].join('');
}

const STYLE = [
  "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif}",
  '.name{font-weight:600}',
  '.small{font-size:12px}',
  '.halo{stroke-width:4;paint-order:stroke;stroke-linejoin:round}',
  '.dashed{stroke-dasharray:5 4}',
  rules(false),
  `@media (prefers-color-scheme:dark){${rules(true)}}`,
].join('');

export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

export interface TextStyle {
  readonly anchor?: 'start' | 'middle' | 'end';
  /** Classes of the style above. */
  readonly look?: string;
}

/** Lines of text; `y` is the base line of the first. */
export function text(
  x: number,
  y: number,
  lines: readonly string[],
  { anchor = 'start', look = '' }: TextStyle = {},
): string {
  return lines
    .map(
      (line, i) =>
        `<text x="${x}" y="${y + i * LINE}" text-anchor="${anchor}" class="${look}">${escaped(line)}</text>`,
    )
    .join('');
}

export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function rectangle({ x, y, width, height }: Area, look: string): string {
  return `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="6" class="${look}"/>`;
}

/** A box with a name and what is in it. */
export function box(area: Area, look: string, name: string, lines: readonly string[] = []): string {
  const { x, y } = area;
  return [
    rectangle(area, look),
    text(x + 12, y + 21, [name], { look: 'name' }),
    text(x + 12, y + 21 + LINE, lines, { look: 'small' }),
  ].join('');
}

/** A line through `points` with a tip at its end. */
export function arrow(points: readonly (readonly [number, number])[], look = ''): string {
  const path = points.map(([x, y]) => `${x},${y}`).join(' ');
  return `<polyline points="${path}" class="line ${look}" marker-end="url(#tip)"/>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, look = ''): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" class="line ${look}"/>`;
}

/** The file. */
export function drawing(title: string, height: number, parts: readonly string[]): string {
  const ground = `<rect x=".5" y=".5" width="${WIDTH - 1}" height="${height - 1}" rx="8" class="ground"/>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" class="tip"/></marker></defs>',
    ground,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
