/**
 * A machine drawn as a floor plan: boxes within boxes, as SVG. Pure. One CPU's gyres can be
 * highlighted, the nearest darkest.
 */
import { type Box, containment, coreText, showIds } from './containment.js';
import { ringsFor } from './scheduler/neighbourhood.js';
import type { Topology } from './scheduler/topology.js';
import type { Plan } from './topology-report.js';

/** In px, at the size at which it is meant to be looked at. */
const CPU_WIDTH = 38;
const CPU_HEIGHT = 30;
const GAP = 6;
const TITLE = 18;
/** Widths of a character of the two sizes of text, with any common sans-serif font. */
const LABEL_WIDTH = 6.4;
const HEADING_WIDTH = 9;
/** The shape that a group of boxes shall have, width to height: about that of a screen. */
const ASPECT = 1.6;

interface Colour {
  readonly fill: string;
  readonly text: string;
}

const PLAIN: Colour = { fill: '#ffffff', text: '#222222' };
const CHOSEN: Colour = { fill: '#5b1a6e', text: '#ffffff' };
/** Dark to light, so that it is also readable without colours. The last one is for all beyond. */
const RINGS: readonly Colour[] = [
  { fill: '#c0392b', text: '#ffffff' },
  { fill: '#e8743b', text: '#222222' },
  { fill: '#f7b267', text: '#222222' },
  { fill: '#fbe0b8', text: '#222222' },
  { fill: '#eef1f4', text: '#222222' },
];
/** Of nested boxes, from the outside. */
const FLOORS = ['#ffffff', '#eef2f6', '#dfe7ee', '#d0dce6', '#c1d1de'] as const;

/** A box with its place relative to that around it, and its size. */
interface Room {
  readonly box: Box;
  readonly title: string;
  readonly rooms: readonly Room[];
  x: number;
  y: number;
  readonly width: number;
  readonly height: number;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Into how many columns `count` rooms of a size go best: near {@link ASPECT}, without a ragged end. */
function columnsFor(count: number, width: number, height: number): number {
  let best = 1;
  let least = Number.POSITIVE_INFINITY;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const shape = ((width + GAP) * columns) / ((height + GAP) * rows);
    const cost = Math.abs(Math.log(shape / ASPECT)) + (4 * (rows * columns - count)) / count;
    if (cost >= least) continue;
    least = cost;
    best = columns;
  }
  return best;
}

/** Runs of neighbours of the same size. */
function runs(rooms: readonly Room[]): Room[][] {
  const found: Room[][] = [];
  for (const room of rooms) {
    const [last] = found.at(-1) ?? [];
    if (last?.width === room.width && last.height === room.height) found.at(-1)?.push(room);
    else found.push([room]);
  }
  return found;
}

/** Furnishes a box: its children in rows, those of different sizes below each other. */
function roomOf(box: Box): Room {
  if (box.children.length === 0) {
    return { box, title: '', rooms: [], x: 0, y: 0, width: CPU_WIDTH, height: CPU_HEIGHT };
  }
  const core = box.cores === 1;
  const rooms = box.children.map(roomOf);
  const title = core ? '' : box.labels.join(', ');
  const gap = core ? 2 : GAP;
  let width = title.length * LABEL_WIDTH + GAP;
  let y = title === '' ? gap : TITLE;
  for (const run of runs(rooms)) {
    const [first] = run as [Room];
    const columns = core ? run.length : columnsFor(run.length, first.width, first.height);
    run.forEach((room, at) => {
      room.x = gap + (at % columns) * (room.width + gap);
      room.y = y + Math.floor(at / columns) * (room.height + gap);
    });
    y += Math.ceil(run.length / columns) * (first.height + gap);
    width = Math.max(width, gap + columns * (first.width + gap));
  }
  return { box, title, rooms, x: 0, y: 0, width, height: y };
}

/** How many kinds of core the heading lists. */
const KINDS_MAX = 4;

/** What all cores are: they are too small to be labelled. */
function coreKinds(root: Box): string[] {
  const counts = new Map<string, number>();
  const visit = (box: Box): void => {
    if (box.cores > 1) for (const child of box.children) visit(child);
    else counts.set(coreText(box), (counts.get(coreText(box)) ?? 0) + 1);
  };
  visit(root);
  return [...counts].slice(0, KINDS_MAX).map(([text, count]) => {
    const noun = count === 1 ? '1 core' : `${count} cores`;
    return text === '' ? noun : `${noun}: ${text}`;
  });
}

/**
 * The plan as an SVG document. Boxes of CPUs have the class `cpu`, those around them `floor`, and
 * `data-cpu` is on a CPU's box and on the text that names its workers: src/admin/page fills them in.
 *
 * @param chosen the CPU whose gyres are highlighted, as if every CPU had a worker; or null
 */
export function floorPlan(topology: Topology, plan: Plan, chosen: number | null): string {
  const ids = topology.cpus.map(({ id }) => id);
  const at = chosen === null ? -1 : ids.indexOf(chosen);
  const gyres = at === -1 ? [] : (ringsFor(ids, topology)[at] ?? []);
  const colours = new Map<number, Colour>();
  gyres.forEach((gyre, ring) => {
    const colour = RINGS[Math.min(ring, RINGS.length - 1)] as Colour;
    for (const index of gyre) colours.set(ids[index] as number, colour);
  });
  if (chosen !== null) colours.set(chosen, CHOSEN);
  const workersOn = new Map<number, number[]>();
  plan.cpus.forEach((cpu, worker) => {
    if (cpu !== null) workersOn.set(cpu, [...(workersOn.get(cpu) ?? []), worker]);
  });

  const parts: string[] = [];
  const text = (x: number, y: number, size: number, value: string, more = '') =>
    parts.push(`<text x="${x}" y="${y}" font-size="${size}"${more}>${escaped(value)}</text>`);
  const rect = (x: number, y: number, width: number, height: number, fill: string, more = '') =>
    parts.push(
      `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="3" fill="${fill}" stroke="#7a8896"${more}/>`,
    );
  const draw = (room: Room, left: number, top: number, depth: number): void => {
    const x = left + room.x;
    const y = top + room.y;
    if (room.rooms.length > 0) {
      const fill = room.box.cores === 1 ? '#8fa3b5' : FLOORS[Math.min(depth, FLOORS.length - 1)];
      rect(x, y, room.width, room.height, fill as string, ' class="floor"');
      if (room.title !== '') text(x + GAP, y + TITLE - 5, 11, room.title);
      for (const inner of room.rooms) draw(inner, x, y, depth + 1);
      return;
    }
    const [cpu] = room.box.cpus as [number];
    const colour = colours.get(cpu) ?? PLAIN;
    const workers = workersOn.get(cpu) ?? [];
    const middle = ` text-anchor="middle" fill="${colour.text}"`;
    const centre = x + CPU_WIDTH / 2;
    rect(x, y, CPU_WIDTH, CPU_HEIGHT, colour.fill, ` class="cpu" data-cpu="${cpu}"`);
    text(centre, y + (workers.length > 0 ? 14 : 19), 12, `${cpu}`, middle);
    if (workers.length > 0) {
      const more = workers.length > 1 ? `+${workers.length - 1}` : '';
      text(centre, y + 25, 9, `w${workers[0]}${more}`, `${middle} data-cpu="${cpu}"`);
    }
  };

  const root = containment(topology);
  const house = roomOf(root);
  const margin = 16;
  const { processor, types } = topology;
  const name = processor?.brand || types[0]?.midr?.name || 'machine';
  const lines = coreKinds(root);
  let y = margin + 16;
  text(margin, y, 16, name, ' font-weight="bold"');
  for (const line of lines) {
    y += 17;
    text(margin, y, 12, line);
  }
  y += 12;
  draw(house, margin, y, 0);
  y += house.height + 10;
  const legend: [Colour, string][] = [];
  if (chosen !== null) legend.push([CHOSEN, `CPU ${chosen}`]);
  gyres.forEach((gyre, ring) => {
    const cpus = showIds(gyre.map((index) => ids[index] as number));
    const cut = cpus.length > 60 ? `${cpus.slice(0, 57)}...` : cpus;
    const colour = RINGS[Math.min(ring, RINGS.length - 1)] as Colour;
    const noun = gyre.length === 1 ? 'CPU' : 'CPUs';
    legend.push([colour, `gyre ${ring + 1}: ${gyre.length} ${noun}: ${cut}`]);
  });
  for (const [colour, label] of legend) {
    rect(margin, y, 16, 12, colour.fill);
    text(margin + 22, y + 10, 11, label);
    y += 18;
  }
  const workers = `w: worker, of ${plan.cpus.length} (${plan.placement})`;
  text(margin, y + 10, 11, workers);
  y += 10 + margin;

  const longest = Math.max(
    house.width,
    name.length * HEADING_WIDTH,
    ...[...lines, workers, ...legend.map(([, label]) => `    ${label}`)].map(
      (line) => line.length * LABEL_WIDTH,
    ),
  );
  const width = Math.ceil(longest + 2 * margin);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" fill="#222222">`,
    `<rect width="${width}" height="${y}" fill="#ffffff" class="ground"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
