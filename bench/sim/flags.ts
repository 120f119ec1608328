/**
 * The simulation's parameters as flags: several values of one make several runs. Pure.
 */
import { FAST_SHAPES } from './arrivals.js';
import { AMOUNTS, GIVE_BACKS, TRIGGERS } from './governor.js';
import { POLICIES } from './policy.js';
import { RINGS, type RingsName } from './rings.js';
import { CHOICES, DEFAULTS, type Parameters } from './simulation.js';
import { topologyOf } from './topology.js';

export type Flags = Readonly<Record<string, string>>;

/** A command line that asks for what there is not. */
export class BadFlag extends Error {}

const WORDS: Readonly<Record<string, readonly string[]>> = {
  policy: Object.keys(POLICIES),
  fastShape: FAST_SHAPES,
  choice: CHOICES,
  amount: AMOUNTS,
  trigger: TRIGGERS,
  giveBack: GIVE_BACKS,
  rings: Object.keys(RINGS),
};

/** What is said for one CPU, or for the machine as a whole, and is no parameter as it is. */
const OWN: Flags = {
  ...{ machine: '2', rings: 'near', fast: '750', slow: '4', connections: '32' },
  /** Workers for each governor; Infinity: one governor for all. */
  perGovernor: 'Infinity',
};

const NUMBERS = Object.entries(DEFAULTS)
  .filter(([, value]) => typeof value === 'number')
  .map(([name]) => name)
  .filter((name) => !['cpus', 'workers', 'fastPerSecond', 'slowPerSecond'].includes(name));

export const NAMES = [...new Set([...Object.keys(OWN), ...Object.keys(WORDS), ...NUMBERS])];

function checked(name: string, value: string): string {
  if (!NAMES.includes(name)) throw new BadFlag(`there is no --${name}`);
  const words = WORDS[name];
  if (words !== undefined) {
    if (!words.includes(value)) throw new BadFlag(`--${name} is one of ${words.join(', ')}`);
  } else if (name !== 'machine' && !(value.trim() !== '' && Number(value) >= 0)) {
    throw new BadFlag(`--${name} is a number from 0, not '${value}'`);
  }
  return value;
}

/** Every combination of the values of `flags`, in which commas are between them. */
export function combinations(flags: Flags): Flags[] {
  return Object.entries(flags).reduce<Flags[]>(
    (all, [name, values]) =>
      all.flatMap((one) =>
        values.split(',').map((value) => ({ ...one, [name]: checked(name, value) })),
      ),
    [{}],
  );
}

/**
 * The run that `flags` ask for.
 *
 * @throws RangeError if there is no such machine.
 */
export function parametersFrom(flags: Flags): Parameters {
  const { machine, rings, fast, slow, connections, perGovernor, ...rest } = { ...OWN, ...flags };
  const topology = topologyOf(machine as string);
  const { cpus } = topology;
  const given = Object.entries(rest).map(([name, value]) => [
    name,
    name in WORDS ? value : Number(value),
  ]);
  return {
    ...DEFAULTS,
    ...{ cpus, workers: cpus, topology, rings: RINGS[rings as RingsName](topology) },
    fastPerSecond: Number(fast) * cpus,
    slowPerSecond: Number(slow) * cpus,
    connections: Math.ceil(Number(connections) * cpus),
    governors: Math.max(1, Math.ceil(cpus / Number(perGovernor))),
    ...Object.fromEntries(given),
  };
}
