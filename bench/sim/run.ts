/**
 * Question: what would a server's latencies be under another rule, on another machine?
 *
 * Simulates (simulation.ts) and prints tables. `--study` takes sets of runs from studies.ts, or
 * several of them; without it and without other flags it takes all. Any parameter is also a flag, and
 * several values with commas between them make several runs. --fast and --slow are requests a
 * second and --connections are connections, each for one CPU; --machine is a fixture or a shape
 * (topology.ts), --rings a name of rings.ts.
 *
 *     node run.js --machine 2,2x4x8 --policy one-queue,gyre --slow 4 --seconds 10
 *
 * Nothing here depends on this machine but how long it takes. The digest is over every
 * latency in order: equal digests, equal runs.
 */
import { parseArgs } from 'node:util';
import { BadFlag, combinations, type Flags, NAMES, parametersFrom } from './flags.js';
import { type Row, rowOf, show, type Table } from './report.js';
import { simulate } from './simulation.js';
import { STUDIES, type Study } from './studies.js';

/** Runs in one call. */
const RUNS_MAX = 1000;

/** What flags alone ask for. */
const OWN = { tables: [{ title: 'latencies of fast requests, ms', sets: [{}] }] };

/** The runs of a table. */
interface Plan {
  readonly table: Table;
  readonly runs: readonly Flags[];
}

function planned({ tables }: Pick<Study, 'tables'>, flags: Flags): Plan[] {
  return tables.map((table) => {
    const runs = table.sets.flatMap((set) => combinations({ ...set, ...flags }));
    // A flag may make sets equal that differ in it.
    const seen = new Map(runs.map((run) => [JSON.stringify(run), run]));
    return { table, runs: [...seen.values()] };
  });
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
  const { json, study, ...rest } = given;
  const flags = rest as Flags;
  const all = Object.keys(STUDIES);
  const isOwn = study === undefined && Object.keys(flags).length > 0;
  const names = study === undefined ? all : String(study).split(',');
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new BadFlag(`--study is of ${all.join(', ')}, not '${unknown}'`);
  const studies = isOwn
    ? [{ name: 'own', question: null, plans: planned(OWN, flags) }]
    : names.map((name) => {
        const chosen = STUDIES[name] as Study;
        return { name, question: chosen.question, plans: planned(chosen, flags) };
      });
  const plans = studies.flatMap((one) => one.plans);
  const total = plans.reduce((sum, { runs }) => sum + runs.length, 0);
  if (total > RUNS_MAX) throw new BadFlag(`${total} runs are more than ${RUNS_MAX}`);
  // What cannot be run is refused before anything is.
  const parameters = new Map(
    plans.flatMap(({ runs }) => runs.map((run) => [run, parametersFrom(run)])),
  );

  let at = 0;
  const every: (Row & { study: string; table: string })[] = [];
  for (const { name, question, plans: own } of studies) {
    if (json !== true && question !== null) process.stdout.write(`## ${name}: ${question}\n\n`);
    for (const { table, runs } of own) {
      const rows = runs.map((run) => {
        process.stderr.write(`sim: run ${++at} of ${total}, ${name}\n`);
        const p = parameters.get(run) as ReturnType<typeof parametersFrom>;
        return rowOf(run, p, simulate(p));
      });
      if (json !== true) process.stdout.write(show(table, rows));
      every.push(...rows.map((row) => ({ study: name, table: table.title, ...row })));
    }
  }
  if (json === true) process.stdout.write(`${JSON.stringify(every)}\n`);
}

try {
  main();
} catch (error) {
  if (!(error instanceof BadFlag || error instanceof RangeError)) throw error;
  process.stderr.write(`sim: ${error.message}\n`);
  process.exitCode = 2;
}
