/** The drawing: every room inside of the one around it, no two on the same place, all in the picture. */
import t from 'tap';
import { floorPlan } from '../src/floor-plan.js';
import { describeMachine } from '../src/scheduler/machine.js';
import { MACHINES, type MachineName } from './fixtures/topology/machines.js';
import { machine } from './support/described.js';

interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

const PLAN = { placement: 'divergent', cpus: [0, null, 0] } as const;

/** The rooms, without the background and the legend's samples, which are 12 high. */
function rooms(svg: string): Rect[] {
  return [...svg.matchAll(/<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)" rx/g)]
    .map(([, ...numbers]) => {
      const [x = 0, y = 0, width = 0, height = 0] = numbers.map(Number);
      return { x, y, width, height };
    })
    .filter(({ height }) => height !== 12);
}

/** Whether `inner` is inside of `outer`, they do not touch, or neither. */
function relation(a: Rect, b: Rect): 'inside' | 'apart' | 'overlap' {
  const apart =
    a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
  if (apart) return 'apart';
  const within = (inner: Rect, outer: Rect) =>
    inner.x > outer.x &&
    inner.y > outer.y &&
    inner.x + inner.width < outer.x + outer.width &&
    inner.y + inner.height < outer.y + outer.height;
  return within(a, b) || within(b, a) ? 'inside' : 'overlap';
}

t.test('rooms nest or are apart, and the picture holds all of them', async (t) => {
  for (const name of Object.keys(MACHINES) as MachineName[]) {
    if (name === 'giant') continue;
    const topology = machine(name);
    const svg = floorPlan(topology, PLAN, topology.cpus[0]?.id ?? null);
    const [, width, height] = /^<svg [^>]*width="(\d+)" height="(\d+)"/.exec(svg) ?? [];
    const all = rooms(svg);
    t.ok(all.length >= topology.cpus.length, name);
    const picture = { x: 0, y: 0, width: Number(width), height: Number(height) };
    const wrong = all.filter(
      (room, at) =>
        relation(room, picture) !== 'inside' ||
        all.slice(0, at).some((other) => relation(room, other) === 'overlap'),
    );
    t.same(wrong, [], name);
  }
});

t.test('the machine has about the shape of a screen', async (t) => {
  for (const name of ['epyc', 'epyc without SMT', 'xeon', 'graviton'] as const) {
    const [house] = rooms(floorPlan(machine(name), PLAN, null)) as [Rect];
    const shape = house.width / house.height;
    t.ok(shape > 0.6 && shape < 2.5, `${name}: ${shape}`);
  }
});

t.test('gyres are coloured from dark to light, and the legend says who is in them', async (t) => {
  const svg = floorPlan(machine('wopr'), PLAN, 12);
  const colour = (text: string) => {
    // The text of a CPU comes right after its rectangle.
    const before = svg.slice(0, svg.indexOf(`>${text}</text>`));
    return [...before.matchAll(/<rect [^>]*fill="(#\w+)"/g)].at(-1)?.[1];
  };
  const rings = [['12'], ['4'], ['0', '8'], ['1', '15']].map((cpus) => new Set(cpus.map(colour)));
  t.ok(rings.every(({ size }) => size === 1));
  t.equal(new Set(rings.flatMap((ring) => [...ring])).size, 4);
  for (const line of ['CPU 12', 'gyre 1: 1 CPU: 4', 'gyre 2: 2 CPUs: 0,8']) {
    t.match(svg, `>${line}</text>`);
  }
  t.match(svg, '>w0+1</text>', 'workers 0 and another one on CPU 0');
  t.notMatch(floorPlan(machine('wopr'), PLAN, null), /gyre \d/);
});

t.test('what a processor calls itself cannot break the document', async (t) => {
  const brand = '<script>&"';
  const processor = {
    ...{ vendor: '', brand, family: 0, model: 0, stepping: 0, hypervisor: null },
    ...{ tlbs: [], caches: [], directCacheAccess: false, features: [] },
  };
  const tree = { read: () => null, list: () => [] };
  const topology = describeMachine(tree, { affinity: [3], processor, pageBytes: null });
  const svg = floorPlan(topology, PLAN, 3);
  t.match(svg, '&#60;script&#62;&#38;&#34;');
  t.notMatch(svg, /<script/);
});
