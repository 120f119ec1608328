/**
 * `gyre topology`: shows this machine, or a copied one, and where gyre would put its workers.
 * Prints to stdout and ends. A wrong flag, a file that cannot be written, and a directory that describes no
 * machine are named on stderr, with exit code 2.
 */
import { writeFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { GyreError } from './errors.js';
import { floorPlan } from './floor-plan.js';
import { autoWorkers, cpuQuota } from './runtime/machine.js';
import { readTopology } from './runtime/sysfs.js';
import { WORKERS_MAX } from './scheduler/layout.js';
import { arrange, type Placement, place } from './scheduler/placement.js';
import { CPUS_MAX } from './scheduler/sysfs-text.js';
import type { Topology } from './scheduler/topology.js';
import { type Plan, topologyObject, topologyText } from './topology-report.js';

interface Flags {
  json?: true;
  svg?: string;
  cpu?: number;
  sysfs?: string;
  workers: number | 'auto';
  placement: Placement;
}

/** A parser of whole numbers in a range. */
function numberIn(min: number, max: number, or?: string): (text: string) => number | string {
  return (text) => {
    if (text === or) return text;
    const value = /^[0-9]{1,4}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(
      `It is a number from ${min} to ${max}${or ? ` or '${or}'` : ''}.`,
    );
  };
}

/** Where workers would go: as `gyre run` with `pin: 'soft'` does it. */
function planOf(topology: Topology, { workers, placement, sysfs }: Flags): Plan {
  const ids = topology.cpus.map(({ id }) => id);
  // The quota is that of this process, not of another machine.
  const quotaCpus = sysfs === undefined ? cpuQuota() : Number.POSITIVE_INFINITY;
  const wanted = workers === 'auto' ? autoWorkers(ids.length, quotaCpus) : workers;
  const count = Math.min(wanted, WORKERS_MAX);
  return { placement, cpus: place(count, arrange(placement, ids, topology, count)) };
}

/** What the command writes, to stdout unless `--svg` names a file for it. */
function show(flags: Flags): void {
  process.stdout.on('error', () => process.exit()); // nobody reads any more
  const topology = readTopology(flags.sysfs);
  const plan = planOf(topology, flags);
  const cpu = flags.cpu ?? null;
  if (cpu !== null && !topology.cpus.some(({ id }) => id === cpu)) {
    throw new GyreError('ERR_GYRE_CPUS', `--cpu ${cpu} is not one of the usable CPUs`);
  }
  if (flags.svg !== undefined) {
    const svg = floorPlan(topology, plan, cpu);
    if (flags.svg === '-') process.stdout.write(svg);
    else writeFileSync(flags.svg, svg);
  }
  if (flags.json) process.stdout.write(`${JSON.stringify(topologyObject(topology, plan))}\n`);
  else if (flags.svg === undefined) process.stdout.write(topologyText(topology, plan, cpu));
}

/** The flag of this command and of `run`. */
export function placementOption(): Option {
  return new Option('--placement <how>', 'spread workers over the machine, or keep them together')
    .choices(['divergent', 'collaborative'])
    .default('divergent');
}

/** Adds the command to `program`. */
export function addTopologyCommand(program: Command): void {
  program
    .command('topology')
    .description('show the machine, and where workers go')
    .option('--json', 'write an object instead')
    .option('--svg <file>', 'draw a floor plan into FILE; - is stdout')
    .addOption(
      new Option('--cpu <n>', 'list or highlight the neighbourhood of this CPU').argParser(
        numberIn(0, CPUS_MAX - 1),
      ),
    )
    .option('--sysfs <dir>', 'another machine: a copy of its /sys, all of whose CPUs are usable')
    .addOption(
      new Option('--workers <n>', 'number of workers, or auto')
        .argParser(numberIn(1, WORKERS_MAX, 'auto'))
        .default('auto'),
    )
    .addOption(placementOption())
    .addHelpText(
      'after',
      `
The object of --json is that of the API's topology(), of the type Topology, and besides:
version, which is 1; placement; and workers, each with index, cpu, and rings (workers,
nearest first).`,
    )
    .action((flags: Flags, command: Command) => {
      if (flags.svg === '-' && flags.json)
        command.error('error: --json and --svg - both write to stdout');
      try {
        show(flags);
      } catch (error) {
        const { code, message, syscall } = error as NodeJS.ErrnoException;
        if (!(error instanceof GyreError) && syscall === undefined) throw error;
        command.error(`error: ${code}: ${message}`);
      }
    });
}
