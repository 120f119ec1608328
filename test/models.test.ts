/**
 * The protocols in shared memory, checked by spin (https://spinroot.com) over all orders of
 * their steps. Each model is verified as it is, and must fail with each of its mistakes.
 * Needs `spin` and a C compiler, and is skipped without. spin assumes sequential
 * consistency: what the hardware may reorder is for the sanitizer builds to show.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { ROOT } from './support/app.js';
import { skipWithout } from './support/programs.js';

const run = promisify(execFile);

const MODELS = {
  mailbox: 'what is put is taken once and in order, and nobody sleeps over it',
  pause: 'who is paused stands still, and goes on afterwards',
  recall: 'what is taken back out of a mailbox is not delivered, and the rest is',
  departure: 'what is put for a worker that ends is taken once, whoever dies when',
  table: 'what is taken is between two messages, and a number speaks of one connection',
};

/** Evidence: the largest model has 2.9 million states in 700 MB, at a depth of 260. */
const VERIFIER_OPTIONS = ['-E', '-m10000', '-w22'];
const COMPILER_OPTIONS = ['-O0', '-w', '-DSAFETY', '-DNOREDUCE', '-DMEMLIM=1024'];
const TIMEOUT_MS = 120_000;
t.setTimeout(5 * TIMEOUT_MS);

interface Verdict {
  readonly errors: number;
  readonly states: number;
  /** The claim that does not hold. */
  readonly violated: string | null;
  readonly complete: boolean;
}

async function verify(model: string, mistake: string | null): Promise<Verdict> {
  const cwd = mkdtempSync(path.join(os.tmpdir(), 'gyre-model-'));
  try {
    const file = path.join(ROOT, 'test', 'models', `${model}.pml`);
    await run('spin', ['-a', ...(mistake ? [`-D${mistake}`] : []), file], { cwd });
    await run('cc', [...COMPILER_OPTIONS, '-o', 'pan', 'pan.c'], { cwd });
    const { stdout } = await run('./pan', VERIFIER_OPTIONS, { cwd, timeout: TIMEOUT_MS });
    return {
      errors: Number(/errors: (\d+)/.exec(stdout)?.[1]),
      states: Number(/(\d+) states, stored/.exec(stdout)?.[1]),
      violated: /assertion violated (.*?) \(at depth/.exec(stdout)?.[1] ?? null,
      complete: !stdout.includes('Search not completed') && !stdout.includes('max search depth'),
    };
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

/** Calls `work` for all items, as many at a time as there are CPUs. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const next = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, next));
}

const skip = skipWithout('spin') || skipWithout('cc', 'gcc');
for (const [model, claim] of Object.entries(MODELS)) {
  t.test(claim, { skip }, async (t) => {
    const { errors, states, violated, complete } = await verify(model, null);
    t.equal(errors, 0, `${model}: ${violated ?? 'no'} violation in ${states} states`);
    t.ok(complete, 'every state was reached');
    t.ok(states > 1000);
  });
  t.test(`${model}: each mistake is found`, { skip }, async (t) => {
    const source = readFileSync(path.join(ROOT, 'test', 'models', `${model}.pml`), 'utf8');
    const mistakes = [...new Set(source.match(/(?<=^#ifn?def )M_\w+/gm))];
    t.ok(mistakes.length >= 6, `${mistakes.length} mistakes`);
    await each(mistakes, async (mistake) => {
      const { errors, violated } = await verify(model, mistake);
      t.ok(errors > 0 && violated !== null, `${mistake}: ${violated}`);
    });
  });
}
