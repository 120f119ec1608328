/**
 * `gyre profile` and `gyre heap`: what the threads of a running server execute, and what is in the
 * heap of one of its workers, in a file for Chrome's DevTools. Its name is printed.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { PROFILE_SECONDS, PROFILE_SECONDS_MAX } from './admin/inspection.js';
import { asking, TOKEN_HELP, withTarget } from './admin-target.js';

/** Beyond the time that it was asked to take: threads that do not answer are waited for. */
const PROFILE_LIMIT_MS = 30_000;
/** Large heaps take long. No evidence for more or less. */
const HEAP_LIMIT_MS = 300_000;

function parseSeconds(text: string): number {
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds > 0 && seconds <= PROFILE_SECONDS_MAX) return seconds;
  throw new InvalidArgumentError(`It is a number of seconds, at most ${PROFILE_SECONDS_MAX}.`);
}

function parseWorker(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is the number of a worker.');
}

/** The time of day, as a name of a file may have it. */
function now(): string {
  return new Date().toISOString().slice(0, 19).replaceAll(':', '-');
}

interface Wanted {
  readonly path: string;
  readonly body: object;
  readonly file: string;
  readonly limitMs: number;
}

async function save(admin: string | undefined, command: Command, wanted: Wanted): Promise<void> {
  const { saveAnswer } = await import('./admin/client.js');
  await asking(admin, command, async (target) => {
    await saveAnswer(target, wanted);
    process.stdout.write(`${wanted.file}\n`);
  });
}

interface ProfileFlags {
  readonly seconds: number;
  readonly out?: string;
}

function profile(admin: string | undefined, { seconds, out }: ProfileFlags, command: Command) {
  return save(admin, command, {
    ...{ path: '/profile', body: { seconds }, limitMs: seconds * 1e3 + PROFILE_LIMIT_MS },
    file: out ?? `gyre-${now()}.trace.json`,
  });
}

interface HeapFlags {
  readonly worker: number;
  readonly out?: string;
}

function heap(admin: string | undefined, { worker, out }: HeapFlags, command: Command) {
  return save(admin, command, {
    ...{ path: '/heap', body: { worker }, limitMs: HEAP_LIMIT_MS },
    file: out ?? `gyre-${now()}-worker-${worker}.heapsnapshot`,
  });
}

/** Adds the commands to `program`. */
export function addProfileCommands(program: Command): void {
  withTarget(program.command('profile'))
    .description('record what every thread of a running server executes')
    .addOption(
      new Option('--seconds <n>', `for how long; at most ${PROFILE_SECONDS_MAX}`)
        .argParser(parseSeconds)
        .default(PROFILE_SECONDS),
    )
    .option('--out <file>', 'where to write it (default: gyre-TIME.trace.json)')
    .addHelpText(
      'after',
      `
Open the file in Chrome's DevTools (Performance, Load profile) or in speedscope: each thread
has a track. ${TOKEN_HELP}`,
    )
    .action(profile);
  withTarget(program.command('heap'))
    .description('save what is in the heap of a worker, which stands still meanwhile')
    .addOption(new Option('--worker <n>', 'which one').argParser(parseWorker).makeOptionMandatory())
    .option('--out <file>', 'where to write it (default: gyre-TIME-worker-N.heapsnapshot)')
    .addHelpText(
      'after',
      `\nOpen the file in Chrome's DevTools (Memory, Load profile). ${TOKEN_HELP}`,
    )
    .action(heap);
}
