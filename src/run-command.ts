/**
 * `gyre run`: serves what a program listens on, and ends with it.
 *
 * Exit codes, also in docs/options.md:
 *   0    drained after SIGTERM or SIGINT, or every worker ended by itself with code 0
 *   1    the entry failed, or workers died more often than is put up with
 *   2    the command line or an option was wrong; nothing was started
 *   n    every worker ended by itself: the first code that is not 0
 *   130, 143  a second SIGINT or SIGTERM cut the drain short
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { takeToken } from './admin-target.js';
import { createRuntime, GyreError, type Runtime } from './index.js';
import { isUsage, RunLog } from './run-log.js';
import type { RuntimeOptions } from './runtime/options.js';
import type { Placement } from './scheduler/placement.js';
import { placementOption } from './topology-command.js';
import { watchBeside } from './watch.js';

const EXIT_FAILED = 1;
/** Also of every command line that is wrong. */
export const EXIT_USAGE = 2;

/** How long the last output may take to be read. No evidence for more or less. */
const FLUSH_MS = 1_000;

interface RunFlags {
  workers: number | 'auto' | 'inline';
  pin: 'soft' | 'hard' | 'off';
  placement: Placement;
  spares: number | 'auto';
  move: boolean;
  drainMs?: number;
  hangMs?: number;
  restarts?: number;
  blame?: true;
  maxConnections?: number;
  maxOutstanding?: number;
  overload?: 'wait' | 'refuse';
  watch?: true;
  json?: true;
  traceMoves?: true;
  admin?: string;
  adminPublic?: true;
  requestTimes?: true;
  agentCheck?: string;
}

function parseWorkers(text: string): RunFlags['workers'] {
  if (text === 'auto' || text === 'inline') return text;
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a number from 1 to 512, 'auto' or 'inline'.");
}

/** Whether it is in range is for the options to say. */
function parseNumber(text: string): number {
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  if (text === 'Infinity') return Number.POSITIVE_INFINITY;
  throw new InvalidArgumentError('It is a number that is not negative, or Infinity.');
}

function parseSpares(text: string): RunFlags['spares'] {
  if (text === 'auto') return text;
  if (/^(?:0|[1-9][0-9]{0,3})$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a number from 0 to 1023, or 'auto'.");
}

/**
 * Resolves when what the workers wrote has left this process: a pipe takes it no faster
 * than somebody reads. The workers' streams flow into these two and wait for `drain`.
 */
async function flushed(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => process.exit()); // nobody reads any more
    while (stream.writableNeedDrain) await once(stream, 'drain');
    await new Promise((resolve) => stream.write('', resolve));
  }
}

/** The process ends with what became of the workers. */
function followExitCode(runtime: Runtime): void {
  runtime.on('exit', ({ worker, code, reason }) => {
    const counts = reason === 'finished' || reason === 'closed';
    if (code !== 0 && counts && !worker.spare) process.exitCode ??= code;
  });
  runtime.on('error', ({ code }) => {
    if (code === 'ERR_GYRE_RESTARTS') process.exitCode = EXIT_FAILED;
  });
}

/**
 * Reloads one after the other. What is asked for while one is under way is one more, however often, and what is
 * asked for before the program serves is done when it does.
 */
class Reloads {
  readonly #log: RunLog;
  #runtime: Runtime | null = null;
  #wanted = false;
  #busy = false;

  constructor(log: RunLog) {
    this.#log = log;
  }

  want(): void {
    this.#wanted = true;
    this.#next();
  }

  serves(runtime: Runtime): void {
    this.#runtime = runtime;
    this.#next();
  }

  #next(): void {
    if (this.#runtime === null || !this.#wanted || this.#busy) return;
    this.#wanted = false;
    this.#busy = true;
    reload(this.#runtime, this.#log).then(() => {
      this.#busy = false;
      this.#next();
    });
  }
}

async function reload(runtime: Runtime, log: RunLog): Promise<void> {
  const began = performance.now();
  log.write('reload', 'reloading', {});
  try {
    await runtime.reload();
    const ms = Math.round(performance.now() - began);
    log.write('reloaded', `reloaded in ${ms} ms`, { ms });
  } catch (error) {
    if ((error as GyreError).code !== 'ERR_GYRE_CLOSED') log.error(error);
  }
}

/**
 * The token comes from the environment: everybody sees the command line.
 *
 * @throws GyreError `ERR_GYRE_OPTION_CONFLICT`
 */
function adminOptions({
  admin,
  adminPublic,
  requestTimes,
  agentCheck,
}: RunFlags): Partial<RuntimeOptions> {
  const token = takeToken();
  for (const [flag, given] of [
    ['--admin-public', adminPublic],
    ['--request-times', requestTimes],
  ] as const) {
    if (given && admin === undefined) {
      throw new GyreError('ERR_GYRE_OPTION_CONFLICT', `${flag} is of no use without --admin`);
    }
  }
  return {
    ...(admin !== undefined && {
      admin: {
        listen: admin,
        ...(token !== undefined && { token }),
        ...(adminPublic && { public: true }),
        ...(requestTimes && { requestTimes }),
      },
    }),
    ...(agentCheck !== undefined && { agentCheck }),
  };
}

/** @throws GyreError `ERR_GYRE_OPTION_CONFLICT` */
function runtimeOptions(entry: string, args: string[], flags: RunFlags): RuntimeOptions {
  const { workers, spares, pin, placement, move, drainMs, hangMs, restarts } = flags;
  const { maxConnections, maxOutstanding, overload } = flags;
  return {
    ...{ entry, args, workers, spares, pin, placement },
    ...(flags.blame === true && { blame: true }),
    ...(drainMs !== undefined && { drainMs }),
    ...(hangMs !== undefined && { hangMs }),
    ...(restarts !== undefined && { restarts }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(maxOutstanding !== undefined && { maxOutstanding }),
    ...(overload !== undefined && { overload }),
    ...{ scheduler: { move, trace: flags.traceMoves === true }, handleSignals: true },
    ...adminOptions(flags),
  };
}

async function run(entry: string, args: string[], flags: RunFlags): Promise<void> {
  const log = new RunLog(flags.json === true);
  const reloads = new Reloads(log);
  let runtime: Runtime | null = null;
  // Before anything starts, as the default action ends the process.
  if (!process.stdin.isTTY) {
    process.on('SIGHUP', () => {
      // An application that means something else by it is told by the runtime.
      if (!runtime?.handledSignals.includes('SIGHUP')) reloads.want();
    });
  }
  try {
    runtime = await createRuntime(runtimeOptions(entry, args, flags));
  } catch (error) {
    const { code } = error as GyreError;
    // By a signal, which came before every worker listened.
    if (code === 'ERR_GYRE_CLOSED') return log.write('close', 'closed', {});
    log.error(error);
    process.exitCode = isUsage(code) ? EXIT_USAGE : EXIT_FAILED;
    return;
  }
  log.serving(runtime);
  log.follow(runtime);
  followExitCode(runtime);
  reloads.serves(runtime);
  if (flags.watch === true) {
    watchBeside(
      entry,
      () => reloads.want(),
      (error) => log.error(error),
    );
  }
  runtime.on('close', async () => {
    log.write('close', 'closed', {});
    await Promise.race([flushed(), sleep(FLUSH_MS)]);
    process.exit();
  });
}

/** Adds the command to `program`. */
export function addRunCommand(program: Command): void {
  program
    .command('run')
    .description('run ENTRY in one worker thread per CPU and serve what it listens on')
    .argument('<entry>', 'the program, as in `node ENTRY`')
    .argument('[args...]', 'its arguments; put -- before those that start with a dash')
    .addOption(
      new Option('--workers <n>', 'number of workers, auto, or inline: one, on the main thread')
        .argParser(parseWorkers)
        .default('auto'),
    )
    .addOption(
      new Option('--pin <how>', 'bind each worker to a CPU')
        .choices(['soft', 'hard', 'off'])
        .default('soft'),
    )
    .addOption(placementOption())
    .addOption(
      new Option('--spares <n>', 'most standby workers for when every worker stands still, or auto')
        .argParser(parseSpares)
        .default('auto'),
    )
    .option('--no-move', 'leave each connection with the worker that accepted it')
    .option(
      '--drain-ms <ms>',
      'how long what is in flight may take at the end (10000)',
      parseNumber,
    )
    .option(
      '--hang-ms <ms>',
      'replace a worker that is stuck for so long (30000); 0: never',
      parseNumber,
    )
    .option(
      '--restarts <n>',
      'deaths of workers within a minute that are put up with (60)',
      parseNumber,
    )
    .option('--trace-moves', 'explain each move of connections')
    .option('--blame', 'say which functions workers stand still in')
    .option(
      '--admin <address>',
      'metrics, probes, events and reload on unix:PATH, HOST:PORT, or PORT of this machine only',
    )
    .option('--admin-public', 'let other machines read there without a token')
    .option('--request-times', 'time requests, for the admin endpoint')
    .option('--agent-check <address>', "answer a HAProxy's agent-check on HOST:PORT, or PORT")
    .option('--max-connections <n>', 'most open connections, of all workers together', parseNumber)
    .option('--max-outstanding <n>', 'most HTTP/1 requests that are not answered', parseNumber)
    .addOption(
      new Option(
        '--overload <how>',
        'what becomes of those beyond: they wait in the kernel, or get 503 (wait)',
      ).choices(['wait', 'refuse']),
    )
    .option('--watch', 'reload when a file beside the entry or below it changes')
    .option('--json', 'write lifecycle events to stderr as JSON, one a line')
    .addHelpText(
      'after',
      `
Signals: SIGTERM and SIGINT drain; a second one stops at once. SIGHUP reloads, unless
the program listens for it, or standard input is a terminal, whose end it then tells of.

GYRE_ADMIN_TOKEN is the token that the admin endpoint asks for, if it is set.

Exit codes:
  0          drained after a signal, or every worker ended by itself with code 0
  1          the entry failed, or workers died more often than is put up with
  2          the command line or an option was wrong; nothing was started
  130, 143   a second SIGINT or SIGTERM cut the drain short`,
    )
    .action(run);
}
