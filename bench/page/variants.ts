/** How variants are called on the page, and their colours in its charts. Pure. */
import type { Colour } from './svg.js';

/** Names of systems, and of variants that are none, for people. */
const LABELS: Readonly<Record<string, string>> = {
  gyre: 'gyre',
  'gyre-still': 'gyre, nothing moves',
  'gyre-unpinned': 'gyre, no pins',
  'gyre-admin': 'gyre, admin endpoint',
  'gyre-refuse': 'gyre, refuses',
  'gyre-wait': 'gyre, lets wait',
  'gyre-spares-0': 'gyre, no spares',
  'gyre-spares-1': 'gyre, 1 spare',
  'gyre-spares-2': 'gyre, 2 spares',
  'gyre-spares-8': 'gyre, 8 spares',
  'cluster-rr': 'node:cluster, round robin',
  'cluster-none': 'node:cluster, shared socket',
  threads: 'worker threads, hashed ports',
  transfer: "Node's transfer of sockets",
  watt: 'Platformatic Watt',
  go: 'Go net/http',
  single: 'one process',
  limit: 'one queue (simulated)',
  soft: 'soft pins',
  hard: 'hard pins',
  off: 'no pins',
  plain: 'plain stores',
  atomic: 'atomic stores',
};

/** Rivals that stand beside each other differ; gyre has one colour wherever it moves connections. */
const COLOURS: Readonly<Record<string, Colour>> = {
  ...{ gyre: 'a', soft: 'a', 'gyre-admin': 'a', 'gyre-unpinned': 'a' },
  ...{ 'gyre-spares-0': 'a', 'gyre-spares-1': 'a', 'gyre-spares-2': 'a', 'gyre-spares-8': 'a' },
  ...{ 'cluster-rr': 'b', 'cluster-none': 'b', hard: 'b', piscina: 'b' },
  ...{ transfer: 'c', off: 'c', 'gyre-refuse': 'c' },
  ...{ watt: 'd', 'gyre-wait': 'd' },
  ...{ go: 'e' },
};

/** What is compared with servers without being one. */
export const isSimulated = (variant: string) => variant === 'limit';

/** A variant is a system, or a system and what is asked of it: `gyre hello`, `gyre@2`. */
function partsOf(variant: string): [system: string, rest: string] {
  const at = variant.search(/[ @]|-burnt/);
  return at === -1 ? [variant, ''] : [variant.slice(0, at), variant.slice(at)];
}

export function labelOf(variant: string): string {
  const [system, rest] = partsOf(variant);
  const label = LABELS[system];
  if (rest.startsWith('@')) return `${label ?? system}, ${rest.slice(1)} × capacity`;
  if (rest === '-burnt') return `${label ?? system}, CPU burnt`;
  if (label === undefined) return variant;
  if (/^ \d+$/.test(rest)) return `${label}, ${rest.trim()} bytes apart`;
  return rest === '' ? label : `${label},${rest}`;
}

export const colourOf = (variant: string): Colour => COLOURS[partsOf(variant)[0]] ?? 'f';

export const RR = 'cluster-rr';
