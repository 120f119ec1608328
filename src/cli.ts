#!/usr/bin/env node
/**
 * The `gyre` command.
 *
 * Exit codes, also in docs/options.md:
 *   0    drained after SIGTERM or SIGINT, or every worker ended by itself with code 0
 *   1    the entry failed, or workers died more often than is put up with
 *   2    the command line or an option was wrong; nothing was started
 *   n    every worker ended by itself: the first code that is not 0
 *   130, 143  a second SIGINT or SIGTERM cut the drain short
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Command, InvalidArgumentError, Option } from 'commander';
import { showAddress } from './address.js';
import { takeToken } from './admin-target.js';
import { addBuildCommand } from './build-command.js';
import { showIds } from './containment.js';
import { createRuntime, GyreError, type Runtime, type WorkerMove } from './index.js';
import { addProfileCommands } from './profile-command.js';
import type { RuntimeOptions } from './runtime/options.js';
import type { Placement } from './scheduler/placement.js';
import { addTopCommand } from './top-command.js';
import { addTopologyCommand, placementOption } from './topology-command.js';
import { watchBeside } from './watch.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** How long the last output may take to be read. No evidence for more or less. */
const FLUSH_MS = 1_000;

/** Errors that say the command was wrong, not that the server failed. */
const USAGE_CODES: ReadonlySet<string> = new Set([
  'ERR_GYRE_OPTION_UNKNOWN',
  'ERR_GYRE_OPTION_INVALID',
  'ERR_GYRE_OPTION_CONFLICT',
  'ERR_GYRE_CPUS',
  'ERR_GYRE_CAPABILITY',
  'ERR_GYRE_ENTRY_MISSING',
]);

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

/** Writes lifecycle events to stderr: a readable line each, or with --json an object each. */
class Log {
  readonly #json: boolean;

  constructor(json: boolean) {
    this.#json = json;
  }

  write(event: string, text: string, fields: object): void {
    const line = this.#json ? JSON.stringify({ event, ...fields }) : `gyre: ${text}`;
    process.stderr.write(`${line}\n`);
  }

  error(error: unknown): void {
    const { code, worker } = error as Partial<GyreError>;
    const { message, cause } = error as Error;
    // The stack of gyre's own error tells nobody anything; that of its cause does.
    const origin = error instanceof GyreError ? cause : error;
    const usage = origin === undefined || USAGE_CODES.has(code ?? '');
    const stack = usage ? '' : `\n${origin instanceof Error ? origin.stack : inspect(origin)}`;
    this.write('error', `${code ?? 'error'}: ${message}${stack}`, {
      ...{ code, worker, message },
      ...(!usage && { stack: stack.trim() }),
    });
  }

  serving(runtime: Runtime): void {
    const { addresses, workers, capabilities, admin } = runtime;
    const cpus = workers.map(({ cpu }) => cpu);
    const pins = cpus.every((cpu) => cpu !== null)
      ? `, on CPUs ${cpus.join(', ')}`
      : ', not pinned';
    const where = addresses.length > 0 ? addresses.map(showAddress).join(', ') : 'nothing yet';
    const many = workers.length === 1 ? '1 worker' : `${workers.length} workers`;
    this.write('listening', `${many}${pins}, listening on ${where}`, {
      ...{ pid: process.pid, addresses, workers, capabilities, admin },
    });
    const { endpoint, agentCheck } = admin;
    const also = [
      ...(endpoint === null ? [] : [`admin endpoint on ${showAddress(endpoint)}`]),
      ...(agentCheck === null ? [] : [`agent check on ${showAddress(agentCheck)}`]),
    ];
    if (also.length > 0 && !this.#json) this.write('', also.join(', '), {});
    for (const [name, { available, reason }] of Object.entries(capabilities)) {
      if (!available && !this.#json) this.write('', `without ${name}: ${reason}`, {});
    }
  }
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

function follow(runtime: Runtime, log: Log): void {
  runtime.on('exit', ({ worker, code, reason, restartInMs }) => {
    const next =
      restartInMs === null
        ? ''
        : `; another ${restartInMs === 0 ? 'starts' : `in ${restartInMs} ms`}`;
    const text = `${worker.spare ? 'spare' : 'worker'} ${worker.index} ended with code ${code}${next}`;
    log.write('exit', text, { worker, code, reason, restartInMs });
    const counts = reason === 'finished' || reason === 'closed';
    if (code !== 0 && counts && !worker.spare) process.exitCode ??= code;
  });
  runtime.on('error', ({ code }) => {
    if (code === 'ERR_GYRE_RESTARTS') process.exitCode = EXIT_FAILED;
  });
  runtime.on('hang', ({ worker, stuckMs, stack }) => {
    const text = `worker ${worker.index} hangs since ${Math.round(stuckMs)} ms, in:`;
    const frames = (stack ?? ['(cannot be seen)']).map((frame) => `\n    ${frame}`).join('');
    log.write('hang', `${text}${frames}`, { worker, stuckMs, stack });
  });
  runtime.on('stall', ({ worker, stack }) => {
    log.write('stall', `worker ${worker.index} stood still in ${stack[0]}`, { worker, stack });
  });
  runtime.on('recycle', ({ worker, heapRatio }) => {
    const percent = Math.round(heapRatio * 100);
    log.write('recycle', `worker ${worker.index} is replaced: ${percent}% of its heap is in use`, {
      ...{ worker, heapRatio },
    });
  });
}

/** Says where workers run that cannot have their CPUs to themselves. */
function followPins(runtime: Runtime, log: Log): void {
  runtime.on('widen', ({ worker, rings, cpus }) => {
    const text = `others use CPU ${worker.cpu}: worker ${worker.index} may run on ${showIds(cpus)}`;
    log.write('widen', text, { worker, rings, cpus });
  });
  runtime.on('narrow', ({ worker, rings, cpus }) => {
    const where = rings === 0 ? `CPU ${worker.cpu}` : `${showIds(cpus)}`;
    log.write('narrow', `worker ${worker.index} is back on ${where}`, { worker, rings, cpus });
  });
}

/** What made the giver give, in words. */
const REASONS: Readonly<Record<WorkerMove['reason'], string>> = {
  round: 'after a long iteration',
  overload: 'having hardly slept',
  return: 'as others had nothing to do',
  rescue: 'standing still',
};

/** Explains each move: why there was one, and why it went where it did. */
function followMoves(runtime: Runtime, log: Log): void {
  runtime.on('move', (move) => {
    const { from, to, reason, moved, events, outstanding, roundsSinceGave } = move;
    const { candidates, best, ring, pauseUs } = move;
    const who = reason === 'rescue' ? `taken from worker ${from}` : `worker ${from} gave`;
    const where = ring === null ? '' : `ring ${ring}, `;
    const text = `${who} ${moved} of ${events} events, ${REASONS[reason]}, to worker ${to}: ${where}${outstanding} outstanding there, last given ${roundsSinceGave} rounds ago, ${best} best of ${candidates} fit`;
    const paused = pauseUs > 0 ? `, paused for ${Math.round(pauseUs)} µs` : '';
    log.write('move', `${text}${paused}`, { ...move });
  });
}

async function reload(runtime: Runtime, log: Log): Promise<void> {
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

/** The token comes from the environment: everybody sees the command line. */
function adminOptions({
  admin,
  adminPublic,
  requestTimes,
  agentCheck,
}: RunFlags): Partial<RuntimeOptions> {
  const token = takeToken();
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

async function run(entry: string, args: string[], flags: RunFlags): Promise<void> {
  const log = new Log(flags.json === true);
  const { workers, spares, pin, placement, move, drainMs, hangMs, restarts } = flags;
  const { maxConnections, maxOutstanding, overload } = flags;
  const options: RuntimeOptions = {
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
  let runtime: Runtime;
  try {
    runtime = await createRuntime(options);
  } catch (error) {
    const { code } = error as GyreError;
    // By a signal, which came before every worker listened.
    if (code === 'ERR_GYRE_CLOSED') return log.write('close', 'closed', {});
    log.error(error);
    process.exitCode = USAGE_CODES.has(code) ? EXIT_USAGE : EXIT_FAILED;
    return;
  }
  log.serving(runtime);
  runtime.on('error', (error) => log.error(error));
  follow(runtime, log);
  followPins(runtime, log);
  followMoves(runtime, log);
  if (!process.stdin.isTTY) {
    process.on('SIGHUP', () => {
      // An application that means something else by it is told by the runtime.
      if (!runtime.handledSignals.includes('SIGHUP')) reload(runtime, log);
    });
  }
  if (flags.watch === true) watchBeside(entry, () => reload(runtime, log));
  runtime.on('close', async () => {
    log.write('close', 'closed', {});
    await Promise.race([flushed(), sleep(FLUSH_MS)]);
    process.exit();
  });
}

const { version } = JSON.parse(
  readFileSync(path.join(__dirname, '..', '..', 'package.json'), 'utf8'),
) as { version: string };

const program = new Command('gyre')
  .description('Serve an unchanged Node server on every CPU, in one process.')
  .version(version)
  .showHelpAfterError('(gyre --help says more)')
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE);
  });

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
  .option('--drain-ms <ms>', 'how long what is in flight may take at the end (10000)', parseNumber)
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

addTopologyCommand(program);
addTopCommand(program);
addProfileCommands(program);
addBuildCommand(program);

program.parseAsync();
