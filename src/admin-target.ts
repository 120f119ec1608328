/**
 * The admin endpoint that a command talks to: which one, with which token, and what is said if it
 * does not answer. Exit code 1: there is no answer; 2: the address is wrong.
 */
import type { Command } from 'commander';
import type { Target } from './admin/client.js';
import { type AdminAddress, adminAddress } from './admin/options.js';

const DEFAULT_ADDRESS = '127.0.0.1:9464';
const EXIT_NO_ANSWER = 1;
const NOBODY_HINT =
  '\n(a server has an endpoint if it was started with --admin ADDRESS, or the option admin)';

/** GYRE_ADMIN_TOKEN, which nobody finds in the environment after that: workers inherit it. */
export function takeToken(): string | undefined {
  const token = process.env.GYRE_ADMIN_TOKEN;
  delete process.env.GYRE_ADMIN_TOKEN;
  return token;
}

/** `command` with the argument that names an endpoint. */
export function withTarget(command: Command): Command {
  return command.argument(
    '[admin]',
    `its admin endpoint: unix:PATH, HOST:PORT or PORT (default: $GYRE_ADMIN, or ${DEFAULT_ADDRESS})`,
  );
}

/** What to say of the token in each command's help. */
export const TOKEN_HELP = 'GYRE_ADMIN_TOKEN is the token, if the endpoint asks for one.';

/** Calls `ask` with the endpoint that was `given`. */
export async function asking(
  given: string | undefined,
  command: Command,
  ask: (target: Target) => Promise<void>,
): Promise<void> {
  const { NoAnswer } = await import('./admin/client.js');
  const address = addressOf(given ?? process.env.GYRE_ADMIN ?? DEFAULT_ADDRESS, command);
  process.stdout.on('error', () => process.exit()); // nobody reads any more
  try {
    await ask({ address, token: takeToken() ?? null });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    const { code, syscall } = (error.cause ?? {}) as NodeJS.ErrnoException;
    const nobody = syscall === 'connect' && (code === 'ECONNREFUSED' || code === 'ENOENT');
    const hint = nobody ? NOBODY_HINT : '';
    process.stderr.write(`gyre: ${error.message}${hint}\n`);
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
