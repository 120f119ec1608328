/** The flags of the programs here. */
import { parseArgs } from 'node:util';
import { CannotRun } from './failures.js';

/**
 * The command line: `numbers` are flags with their defaults, integers from 1 or, of `fractions`, any
 * number above 0; `texts` are the other flags.
 *
 * @throws CannotRun
 */
export function parseCommandLine<N extends string>(
  numbers: Readonly<Record<N, number>>,
  fractions: readonly string[],
  texts: readonly string[],
): { flags: Readonly<Record<N, number>>; given: Readonly<Record<string, string | undefined>> } {
  const names = [...Object.keys(numbers), ...texts];
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  let given: Record<string, string | undefined>;
  try {
    given = parseArgs({ options }).values as typeof given;
  } catch (error) {
    throw new CannotRun((error as Error).message, 2);
  }
  const flags = Object.entries<number>(numbers).map(([name, usual]) => {
    const value = Number(given[name] ?? usual);
    const fraction = fractions.includes(name);
    const possible = fraction ? Number.isFinite(value) : Number.isInteger(value);
    if (possible && value > 0) return [name, value];
    const expected = fraction ? 'a number above 0' : 'an integer from 1';
    throw new CannotRun(`--${name} is ${expected}, not '${given[name]}'`, 2);
  });
  return { flags: Object.fromEntries(flags), given };
}
