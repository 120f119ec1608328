/**
 * `gyre top`: a running server in a terminal, or once and as JSON for scripts.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { asking, TOKEN_HELP, withTarget } from './admin-target.js';

interface Flags {
  once?: true;
  json?: true;
  interval: number;
}

function parseInterval(text: string): number {
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= 0.1 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError('It is a number of seconds from 0.1 to 3600.');
}

async function top(given: string | undefined, flags: Flags, command: Command): Promise<void> {
  const { follow, once, textOf } = await import('./admin/top.js');
  const { stdin, stdout } = process;
  await asking(given, command, async (target) => {
    const options = { ...target, intervalMs: flags.interval * 1e3 };
    if (flags.json || flags.once || !stdout.isTTY || !stdin.isTTY) {
      const rates = await once(options);
      stdout.write(flags.json ? `${JSON.stringify(rates)}\n` : textOf(rates));
      return;
    }
    await follow(options);
  });
}

/** Adds the command to `program`. */
export function addTopCommand(program: Command): void {
  withTarget(program.command('top'))
    .description('show what the workers of a running server do')
    .option('--once', 'one picture of one interval, as text')
    .option('--json', 'the same as an object')
    .addOption(
      new Option('--interval <seconds>', 'how often it asks').argParser(parseInterval).default(1),
    )
    .addHelpText(
      'after',
      `
In the object of --json shares are from 0 to 1, durations in seconds, and rates per second;
null is what is not known. ${TOKEN_HELP} q ends.`,
    )
    .action(top);
}
