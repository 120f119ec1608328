/**
 * A drawing of who does what to whom, from top to bottom: lanes, and steps between them. Pure.
 */
import { arrow, drawing, type Kind, LINE, line, rectangle, text, WIDTH } from './svg.js';

export interface Lane {
  readonly name: string;
  readonly about: string;
  readonly kind: Kind;
}

/** `from` does something to `to`; or something happens in one lane. */
export type Step =
  | { readonly from: number; readonly to: number; readonly says: readonly string[] }
  | { readonly at: number; readonly says: readonly string[] };

/** What a lane is from the beginning of one step to the end of another. */
export interface Span {
  readonly lane: number;
  readonly first: number;
  readonly last: number;
  readonly kind: Kind;
  readonly says: string;
}

export interface Sequence {
  readonly title: string;
  readonly lanes: readonly Lane[];
  readonly steps: readonly Step[];
  readonly spans: readonly Span[];
}

const MARGIN = 12;
const HEAD = 46;
const GAP = 16;
/** Half of the width of a span. */
const SPAN = 9;

interface Placed {
  readonly top: number;
  readonly bottom: number;
}

export function sequence({ title, lanes, steps, spans }: Sequence): string {
  const pitch = (WIDTH - 2 * MARGIN) / lanes.length;
  const centre = (lane: number) => MARGIN + pitch * (lane + 0.5);
  const places: Placed[] = [];
  let y = MARGIN + HEAD + GAP;
  for (const { says } of steps) {
    const bottom = y + says.length * LINE + 4;
    places.push({ top: y, bottom });
    y = bottom + GAP;
  }
  const height = y + MARGIN;

  const heads = lanes.map(({ name, about, kind }, lane) => {
    const area = {
      x: centre(lane) - pitch / 2 + 6,
      y: MARGIN,
      width: pitch - 12,
      height: HEAD,
    };
    return [
      line(centre(lane), MARGIN + HEAD, centre(lane), height - MARGIN, 'dashed'),
      rectangle(area, kind),
      text(centre(lane), MARGIN + 20, [name], { anchor: 'middle', look: 'name' }),
      text(centre(lane), MARGIN + 37, [about], { anchor: 'middle', look: 'small' }),
    ].join('');
  });

  const bars = spans.map(({ lane, first, last, kind, says }) => {
    const top = (places[first]?.top ?? 0) - GAP / 2 + 2;
    const bottom = (places[last]?.bottom ?? 0) + GAP / 2 - 2;
    const x = centre(lane);
    const middle = (top + bottom) / 2;
    const upright = `<g transform="translate(${x + 4} ${middle}) rotate(-90)">${text(0, 0, [says], { anchor: 'middle', look: 'small' })}</g>`;
    return (
      rectangle({ x: x - SPAN, y: top, width: 2 * SPAN, height: bottom - top }, kind) + upright
    );
  });

  const isSpanned = (lane: number, step: number) =>
    spans.some((span) => span.lane === lane && span.first <= step && step <= span.last);

  const drawn = steps.map((step, index) => {
    const { top, bottom } = places[index] as Placed;
    const { says } = step;
    if ('at' in step) {
      const last = step.at === lanes.length - 1;
      const x = centre(step.at) + (last ? -SPAN - 8 : SPAN + 8);
      return text(x, top + 14, says, { anchor: last ? 'end' : 'start', look: 'halo' });
    }
    const { from, to } = step;
    const towards = Math.sign(to - from);
    const x1 = centre(from) + towards * (isSpanned(from, index) ? SPAN : 0);
    const x2 = centre(to) - towards * (isSpanned(to, index) ? SPAN : 1);
    const middle = (x1 + x2) / 2;
    return (
      text(middle, top + 12, says, { anchor: 'middle', look: 'halo' }) +
      arrow([
        [x1, bottom],
        [x2, bottom],
      ])
    );
  });
  return drawing(title, height, [...heads, ...bars, ...drawn]);
}
