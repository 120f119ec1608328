/**
 * Runs seeds: `node dist/test/simulation/run.js [FROM [COUNT]]`. Of a single one every step is
 * shown; of more, which of them failed.
 */
import { Fleet } from './fleet.js';
import { simulate } from './simulate.js';

/** After those of `npm test`. */
const FROM = 10_001;
const COUNT = 100_000;

function show(seed: number): void {
  const { failure, trace, hash, steps } = simulate(seed, undefined, true);
  console.log(trace?.join('\n'));
  console.log(`seed ${seed}: ${steps} steps, hash ${hash}`);
  if (failure === null) return;
  console.log(failure.stack);
  process.exitCode = 1;
}

async function run(from: number, count: number): Promise<void> {
  const fleet = new Fleet();
  const { seeds, failures, hash } = await fleet.run({ from, count, step: 1, edits: [], all: true });
  await fleet.close();
  const sorted = failures.toSorted((a, b) => a.seed - b.seed);
  for (const { seed, message } of sorted) console.log(`seed ${seed}: ${message}`);
  console.log(`${failures.length} of ${seeds} failed, hash ${hash}`);
  if (failures.length > 0) process.exitCode = 1;
}

const [from, count] = process.argv.slice(2).map(Number);
if (from !== undefined && count === undefined) show(from);
else run(from ?? FROM, count ?? COUNT);
