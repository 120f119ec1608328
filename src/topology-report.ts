/**
 * What `gyre topology` says: a text for people, and an object for programs (docs/topology.md). Pure.
 */
import { type Box, containment, coreText, showBytes, showIds } from './containment.js';
import { type Rings, ringsFor } from './scheduler/neighbourhood.js';
import type { Placement } from './scheduler/placement.js';
import { cacheName, type Topology } from './scheduler/topology.js';

/** Version of the JSON: changes when a field changes its meaning or goes; not when one is added. */
const SCHEMA_VERSION = 1;

/** Where gyre would put its workers. */
export interface Plan {
  readonly placement: Placement;
  /** Of each worker, or null. */
  readonly cpus: readonly (number | null)[];
}

/** As an object for JSON. */
export function topologyObject(topology: Topology, plan: Plan): object {
  const rings = ringsFor(plan.cpus, topology);
  const workers = plan.cpus.map((cpu, index) => ({ index, cpu, rings: rings[index] }));
  return { version: SCHEMA_VERSION, ...topology, placement: plan.placement, workers };
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;
const showWays = (ways: number | null) =>
  ways === null ? '' : ways === 0 ? 'fully associative' : `${ways}-way`;

/** Rows as aligned columns. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, at) => {
      widths[at] = Math.max(widths[at] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] as number))
      .join('  ')
      .trimEnd(),
  );
}

/** `CPUs 0-7 + 8-15`: first threads of the cores, then second ones. */
function threadsOf(cores: readonly Box[]): string {
  const depth = cores[0]?.cpus.length ?? 0;
  const columns = Array.from({ length: depth }, (_, thread) =>
    showIds(cores.map(({ cpus }) => cpus[thread] as number)),
  );
  const count = depth * cores.length;
  return `${count === 1 ? 'CPU' : 'CPUs'} ${columns.join(' + ')}`;
}

/** Cores that look the same, each kind on a line. */
function coreLines(cores: readonly Box[]): string[] {
  const kinds = new Map<string, Box[]>();
  for (const core of cores) {
    const text = coreText(core);
    const equal = kinds.get(text);
    if (equal === undefined) kinds.set(text, [core]);
    else equal.push(core);
  }
  return [...kinds].map(([text, equal]) => {
    const each = text === '' ? '' : `, ${equal.length === 1 ? '' : 'each '}${text}`;
    return `${plural(equal.length, 'core')}${each}: ${threadsOf(equal)}`;
  });
}

/** Boxes beside each other that look the same are drawn once if there are more. */
const ALIKE_MAX = 8;

/** How a box looks, whatever its parts are numbered. */
function look(box: Box): string {
  if (box.cores === 1) return coreText(box);
  const own = box.labels.map((label) => label.replace(/^([a-z]+) \d+/, '$1')).join();
  return `${own}(${box.children.map(look).join()})`;
}

function treeLines(box: Box): string[] {
  const cores = box.children.filter((child) => child.cores === 1);
  const others = box.children.filter((child) => child.cores !== 1);
  const branches: string[][] = coreLines(cores).map((line) => [line]);
  for (let at = 0; at < others.length; ) {
    const first = others[at] as Box;
    const alike = others.slice(at).findIndex((other) => look(other) !== look(first));
    const run = others.slice(at, alike === -1 ? others.length : at + alike);
    const shown = run.length > ALIKE_MAX ? run.slice(0, 1) : run;
    for (const one of shown) {
      const name = one.labels.length > 0 ? one.labels.join(', ') : plural(one.cpus.length, 'CPU');
      branches.push([name, ...treeLines(one)]);
    }
    const rest = run.slice(shown.length);
    if (rest.length > 0) {
      const cpus = showIds(rest.flatMap((one) => one.cpus));
      branches.push([`and ${rest.length} more like it: CPUs ${cpus}`]);
    }
    at += run.length;
  }
  return branches.flatMap(([head, ...below], at) => {
    const last = at === branches.length - 1;
    return [
      `${last ? '└─ ' : '├─ '}${head}`,
      ...below.map((line) => `${last ? '   ' : '│  '}${line}`),
    ];
  });
}

function machineLines(topology: Topology): string[] {
  const root = containment(topology);
  const name = ['machine', ...(root.cores === 1 ? [] : root.labels)].join(', ');
  return [
    name,
    ...(root.cores === 1 ? coreLines([root]).map((line) => `└─ ${line}`) : treeLines(root)),
  ];
}

function headLines(topology: Topology): string[] {
  const { processor, cpus, cores, packages, nodes, types, online } = topology;
  const lines: string[] = [];
  if (processor !== null) {
    const { vendor, family, model, stepping, hypervisor } = processor;
    const guest = hypervisor === null ? '' : `, under ${hypervisor || 'a hypervisor'}`;
    lines.push(
      `${processor.brand || 'unnamed processor'}  (${vendor}, family ${family}, model ${model}, stepping ${stepping}${guest})`,
    );
  } else if (types[0]?.midr?.name) {
    lines.push([...new Set(types.map(({ midr }) => midr?.name))].join(' and '));
  }
  const off = topology.present.length - online.length;
  const beyond = [
    ...(online.length > cpus.length ? [`${online.length} online`] : []),
    ...(off > 0 ? [`${off} offline`] : []),
  ];
  lines.push(
    [
      `${plural(cpus.length, 'usable CPU')}${beyond.length > 0 ? ` (${beyond.join(', ')})` : ''}`,
      plural(cores.length, 'core'),
      plural(packages.length, 'package'),
      plural(nodes.length, 'memory node'),
      ...(types.length > 1 ? [`${types.length} types of CPU`] : []),
    ].join(', '),
  );
  return lines;
}

function typeLines({ types }: Topology): string[] {
  const GHz = (kHz: number) => `${Number((kHz / 1e6).toFixed(2))} GHz`;
  const rows = types.map(({ kind, minKHz, maxKHz, baseKHz, capacity, midr, cpus }) => {
    const facts = [
      ...(kind === null ? [] : [kind]),
      ...(midr?.name ? [`${midr.name} r${midr.variant}p${midr.revision}`] : []),
      ...(minKHz !== null && maxKHz !== null ? [`${GHz(minKHz)} to ${GHz(maxKHz)}`] : []),
      ...(baseKHz === null ? [] : [`base ${GHz(baseKHz)}`]),
      ...(capacity === null || types.length === 1 ? [] : [`capacity ${capacity}`]),
    ];
    return [facts.join(', '), `CPUs ${showIds(cpus)}`];
  });
  return rows.some(([facts]) => facts !== '') ? table(rows) : [];
}

function cacheLines(topology: Topology): string[] {
  const kinds = new Map<string, { cells: string[]; count: number }>();
  for (const cache of topology.caches) {
    const { sizeBytes, ways, sets, lineBytes, cpus } = cache;
    const cells = [
      cacheName(cache),
      sizeBytes === null ? '' : showBytes(sizeBytes),
      showWays(ways),
      sets === null ? '' : plural(sets, 'set'),
      lineBytes === null ? '' : `${lineBytes}-byte lines`,
      `for ${plural(cpus.length, 'CPU')}`,
    ];
    const kind = kinds.get(cells.join()) ?? { cells, count: 0 };
    kind.count += 1;
    kinds.set(cells.join(), kind);
  }
  const direct = topology.processor?.directCacheAccess
    ? ['devices may write into caches (direct cache access)']
    : [];
  const hidden = kinds.size > 0 ? [] : (topology.processor?.caches ?? []);
  return [
    ...table([...kinds.values()].map(({ cells, count }) => [...cells, `× ${count}`])),
    ...table(
      hidden.map((cache) => [
        cacheName(cache),
        showBytes(cache.sizeBytes),
        showWays(cache.ways),
        'says the processor; the system does not say who shares it',
      ]),
    ),
    ...direct,
  ];
}

function tlbLines({ processor }: Topology): string[] {
  const page = (bytes: number) => showBytes(bytes).replace(' ', '');
  return table(
    (processor?.tlbs ?? []).map(({ level, type, pagesBytes, entries, ways }) => [
      level === null ? '' : `L${level}`,
      type,
      pagesBytes.map(page).join(', '),
      `${entries} entries`,
      showWays(ways),
    ]),
  );
}

function memoryLines({ nodes, pageBytes, hugePages, transparentHugePages }: Topology): string[] {
  const rows = nodes.map(({ id, memoryBytes, cpus, distances }) => [
    `node ${id}`,
    memoryBytes === null ? '' : showBytes(memoryBytes),
    cpus.length === 0 ? 'no CPUs' : `CPUs ${showIds(cpus)}`,
    `distances ${distances.join(' ')}`,
  ]);
  const pools = hugePages.map(
    ({ sizeBytes, total, free }) =>
      `${showBytes(sizeBytes)} (${free ?? '?'} of ${total ?? '?'} free)`,
  );
  const pages = [
    ...(pageBytes === null ? [] : [`pages of ${showBytes(pageBytes)}`]),
    ...(pools.length === 0 ? [] : [`huge pages of ${pools.join(', ')}`]),
    ...(transparentHugePages === null ? [] : [`transparent: ${transparentHugePages}`]),
  ];
  return [...table(rows), ...(pages.length === 0 ? [] : [pages.join('; ')])];
}

function levelLines({ levels }: Topology): string[] {
  return table(
    levels.map(({ kinds, shapes }, at) => [
      `L${at}`,
      shapes.map(({ count, cpus }) => `${count} × ${plural(cpus, 'CPU')}`).join(', '),
      kinds.join(', '),
    ]),
  );
}

/** As many workers as are listed one by one. */
const LISTED_MAX = 16;

function workerLines(topology: Topology, plan: Plan, chosen: number | null): string[] {
  const all: readonly Rings[] = ringsFor(plan.cpus, topology);
  const listed = plan.cpus.flatMap((cpu, worker) =>
    (chosen === null ? worker < LISTED_MAX : cpu === chosen) ? [worker] : [],
  );
  const rows = listed.map((worker) => [
    `worker ${worker}`,
    plan.cpus[worker] === null ? 'not pinned' : `CPU ${plan.cpus[worker]}`,
    (all[worker] ?? []).map(showIds).join(' | ') || 'nobody',
  ]);
  const more = plan.cpus.length - listed.length;
  return [
    ...table([['', '', 'gives to workers, nearest first'], ...rows]),
    ...(more === 0 ? [] : [`and ${plural(more, 'more worker')}: --json has all of them`]),
  ];
}

/**
 * As text for people, with a newline at its end.
 *
 * @param chosen only workers on this CPU are listed; null: the first ones
 */
export function topologyText(topology: Topology, plan: Plan, chosen: number | null): string {
  const sections: [string, string[]][] = [
    ['', headLines(topology)],
    ['', machineLines(topology)],
    ['types of CPU', typeLines(topology)],
    ['caches', cacheLines(topology)],
    ['TLBs', tlbLines(topology)],
    ['memory', memoryLines(topology)],
    ['scheduling groups', levelLines(topology)],
    [
      `${plural(plan.cpus.length, 'worker')}, ${plan.placement}`,
      workerLines(topology, plan, chosen),
    ],
  ];
  return sections
    .filter(([, lines]) => lines.length > 0)
    .flatMap(([title, lines]) => [
      ...(title === '' ? lines : [title, ...lines.map((line) => `  ${line}`.trimEnd())]),
      '',
    ])
    .join('\n');
}
