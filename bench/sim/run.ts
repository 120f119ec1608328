/**
 * Question: what would a server's latencies be under another rule, on another machine?
 *
 * Simulates (simulation.ts) and prints a row for each run. `--study` takes a set of runs
 * from studies.ts; any parameter is also a flag, and several values with commas between them
 * make several runs. --fast and --slow are requests a second and --connections are
 * connections, each for one CPU; --machine is a shape (topology.ts), --rings near or anyone.
 *
 *     node run.js --machine 2,2x4x8 --policy one-queue,gyre --slow 4 --seconds 10
 *
 * Nothing here depends on this machine but how long it takes. The digest is over every
 * latency in order: equal digests, equal runs.
 */
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { table } from '../harness.js';
import { FAST_SHAPES } from './arrivals.js';
import { ACCEPTS, AMOUNTS, GIVE_BACKS, TRIGGERS } from './governor.js';
import { POLICIES } from './policy.js';
import { CHOICES, DEFAULTS, type Parameters, type Result, simulate } from './simulation.js';
import { type Flags, STUDIES } from './studies.js';
import { regular } from './topology.js';

/** Runs in one call. */
const RUNS_MAX = 500;

const WORDS: Readonly<Record<string, readonly string[]>> = {
  policy: Object.keys(POLICIES),
  fastShape: FAST_SHAPES,
  choice: CHOICES,
  amount: AMOUNTS,
  accept: ACCEPTS,
  trigger: TRIGGERS,
  giveBack: GIVE_BACKS,
  rings: ['near', 'anyone'],
};

/** What is said for one CPU, or for the machine as a whole, and is no parameter as it is. */
const OWN: Flags = { machine: '2', rings: 'near', fast: '750', slow: '4', connections: '32' };

const NUMBERS = Object.entries(DEFAULTS)
  .filter(([name, value]) => typeof value === 'number' && !['cpus', 'workers'].includes(name))
  .map(([name]) => name);

const NAMES = [...new Set([...Object.keys(OWN), ...Object.keys(WORDS), ...NUMBERS])];

class BadFlag extends Error {}

function checked(name: string, value: string): string {
  const words = WORDS[name];
  if (words !== undefined) {
    if (!words.includes(value)) throw new BadFlag(`--${name} is one of ${words.join(', ')}`);
  } else if (name !== 'machine' && !(value !== '' && Number(value) >= 0)) {
    throw new BadFlag(`--${name} is a number from 0, not '${value}'`);
  }
  return value;
}

/** Every combination of the values of `flags`. */
function combinations(flags: Flags): Flags[] {
  return Object.entries(flags).reduce<Flags[]>(
    (all, [name, values]) =>
      values
        .split(',')
        .flatMap((value) => all.map((one) => ({ ...one, [name]: checked(name, value) }))),
    [{}],
  );
}

/** The run that `flags` ask for, and what to call the distances that moves go. */
function parametersFrom(flags: Flags): { parameters: Parameters; shared: readonly string[] } {
  const { machine, rings, fast, slow, connections, ...rest } = { ...OWN, ...flags };
  const topology = regular(machine as string);
  const { cpus, distance, shared } = topology;
  const given = Object.entries(rest).map(([name, value]) => [
    name,
    name in WORDS ? value : Number(value),
  ]);
  const parameters: Parameters = {
    ...DEFAULTS,
    ...{ cpus, workers: cpus, distance },
    ...(rings === 'near' ? { rings: topology.rings } : {}),
    fastPerSecond: Number(fast) * cpus,
    slowPerSecond: Number(slow) * cpus,
    connections: Number(connections) * cpus,
    ...Object.fromEntries(given),
  };
  return { parameters, shared };
}

interface Row {
  readonly flags: Flags;
  readonly fast: Readonly<Record<'mean' | 'p50' | 'p95' | 'p99' | 'p999', number>>;
  readonly slow: Readonly<Record<'p50' | 'p95', number>>;
  /** Per second of simulated time. */
  readonly movesPerSecond: number;
  /** Shares of the connections moved, by what giver and recipient share. */
  readonly within: Readonly<Record<string, number>>;
  /** Of one CPU. */
  readonly governorShare: number;
  readonly digest: string;
}

function digestOf({ fast, slow }: Result): string {
  const hash = createHash('sha256');
  for (const { values } of [fast, slow]) hash.update(values);
  return hash.digest('hex').slice(0, 12);
}

function rowOf(flags: Flags): Row {
  const { parameters, shared } = parametersFrom(flags);
  const result = simulate(parameters);
  const { fast, slow, tally } = result;
  const [p50 = 0, p95 = 0, p99 = 0, p999 = 0] = fast.percentiles([0.5, 0.95, 0.99, 0.999]);
  const [slow50 = 0, slow95 = 0] = slow.percentiles([0.5, 0.95]);
  const moved = tally?.byDistance ?? [];
  const total = Math.max(
    1,
    moved.reduce((sum, count) => sum + count, 0),
  );
  const seconds = parameters.seconds + parameters.warmupSeconds;
  return {
    flags,
    fast: { mean: fast.mean(), p50, p95, p99, p999 },
    slow: { p50: slow50, p95: slow95 },
    movesPerSecond: (tally?.moves ?? 0) / seconds,
    within: Object.fromEntries(shared.map((name, at) => [name, (moved[at] ?? 0) / total])),
    governorShare: (tally?.governorMs ?? 0) / 1000 / seconds,
    digest: digestOf(result),
  };
}

const HEAD = ['p50', 'p95', 'p99', 'p99.9', 'mean', 'slow p95', 'moves/s', 'governor', 'digest'];

function show(rows: readonly Row[]): string {
  return table([
    ['fast requests, ms', ...HEAD, 'moved within'],
    ...rows.map(({ flags, fast, slow, movesPerSecond, governorShare, digest, within }) => [
      Object.entries(flags)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ') || 'defaults',
      ...[fast.p50, fast.p95, fast.p99, fast.p999, fast.mean].map((ms) => ms.toFixed(2)),
      ...[slow.p95.toFixed(0), movesPerSecond.toFixed(0), `${(100 * governorShare).toFixed(0)}%`],
      digest,
      Object.entries(within)
        .map(([name, share]) => `${name} ${(100 * share).toFixed(0)}%`)
        .join(' '),
    ]),
  ]);
}

function main(): void {
  const options = {
    json: { type: 'boolean' as const },
    study: { type: 'string' as const },
    ...Object.fromEntries(NAMES.map((name) => [name, { type: 'string' as const }])),
  };
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ options }).values as typeof given;
  } catch (error) {
    throw new BadFlag((error as Error).message);
  }
  const { json, study, ...flags } = given;
  if (study !== undefined && !(String(study) in STUDIES)) {
    throw new BadFlag(`--study is one of ${Object.keys(STUDIES).join(', ')}`);
  }
  const sets = STUDIES[String(study)] ?? [{}];
  const runs = sets.flatMap((set) => combinations({ ...set, ...(flags as Flags) }));
  if (runs.length > RUNS_MAX) throw new BadFlag(`${runs.length} runs are more than ${RUNS_MAX}`);
  const rows = runs.map((run, at) => {
    process.stderr.write(`sim: run ${at + 1} of ${runs.length}\n`);
    return rowOf(run);
  });
  process.stdout.write(json === true ? `${JSON.stringify(rows)}\n` : show(rows));
}

try {
  main();
} catch (error) {
  if (!(error instanceof BadFlag || error instanceof RangeError)) throw error;
  process.stderr.write(`sim: ${error.message}\n`);
  process.exitCode = 2;
}
