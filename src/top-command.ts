/**
 * `gyre top`: a running server in a terminal, or once and as JSON for scripts. Exit code 1: there
 * is no answer; 2: the command line is wrong.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type AdminAddress, adminAddress } from './admin/options.js';

const DEFAULT_ADDRESS = '127.0.0.1:9464';
const EXIT_NO_ANSWER = 1;

interface Flags {
  once?: true;
  json?: true;
  interval: number;
}

/** GYRE_ADMIN_TOKEN, which nobody finds in the environment after that: workers inherit it. */
export function takeToken(): string | undefined {
  const token = process.env.GYRE_ADMIN_TOKEN;
  delete process.env.GYRE_ADMIN_TOKEN;
  return token;
}

function parseInterval(text: string): number {
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= 0.1 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError('It is a number of seconds from 0.1 to 3600.');
}

async function top(given: string | undefined, flags: Flags, command: Command): Promise<void> {
  const { NoAnswer } = await import('./admin/client.js');
  const { follow, once, textOf } = await import('./admin/top.js');
  const address = addressOf(given ?? process.env.GYRE_ADMIN ?? DEFAULT_ADDRESS, command);
  const options = { address, token: takeToken() ?? null, intervalMs: flags.interval * 1e3 };
  const { stdin, stdout } = process;
  stdout.on('error', () => process.exit()); // nobody reads any more
  try {
    if (flags.json || flags.once || !stdout.isTTY || !stdin.isTTY) {
      const rates = await once(options);
      stdout.write(flags.json ? `${JSON.stringify(rates)}\n` : textOf(rates));
      return;
    }
    await follow(options);
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    process.stderr.write(`gyre: ${error.message}\n`);
    process.exitCode = EXIT_NO_ANSWER;
  }
}

function addressOf(text: string, command: Command): AdminAddress {
  try {
    return adminAddress('ADMIN', text);
  } catch (error) {
    return command.error(`error: ${(error as Error).message}`);
  }
}

/** Adds the command to `program`. */
export function addTopCommand(program: Command): void {
  program
    .command('top')
    .description('show what the workers of a running server do')
    .argument(
      '[admin]',
      `its admin endpoint: unix:PATH, HOST:PORT or PORT (default: $GYRE_ADMIN, or ${DEFAULT_ADDRESS})`,
    )
    .option('--once', 'one picture of one interval, as text')
    .option('--json', 'the same as an object (docs/operating.md)')
    .addOption(
      new Option('--interval <seconds>', 'how often it asks').argParser(parseInterval).default(1),
    )
    .addHelpText('after', '\nGYRE_ADMIN_TOKEN is the token, if the endpoint asks for one. q ends.')
    .action(top);
}
