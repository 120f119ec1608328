/**
 * The checks that options have in common, whoever takes them. Each returns the value as what it then
 * is, or throws a coded error that names the option. Pure; any thread.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { GyreError } from './errors.js';

/** Node's timers take a longer time for 1 ms. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

function show(value: unknown): string {
  try {
    const json = typeof value === 'string' || typeof value === 'object';
    return (json ? JSON.stringify(value) : undefined) ?? String(value);
  } catch {
    return 'an object'; // circular, holds a bigint, or has nothing to be printed by
  }
}

/** @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function mustBe(what: string, expected: string): never {
  throw new GyreError('ERR_GYRE_OPTION_INVALID', `${what} must be ${expected}`);
}

/** The same of the option `name`, which is `value`. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function invalid(name: string, expected: string, value: unknown): never {
  return mustBe(`option ${name}`, `${expected}, not ${show(value)}`);
}

/**
 * @param named what an unknown option is called in the error; it is given the key in quotes
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`
 */
export function refuseUnknown(
  options: object,
  known: Iterable<string>,
  named: (key: string) => string,
): void {
  const names = [...known];
  const unknown = Object.keys(options).find((key) => !names.includes(key));
  if (unknown === undefined) return;
  throw new GyreError(
    'ERR_GYRE_OPTION_UNKNOWN',
    `${named(JSON.stringify(unknown))} is unknown; known are ${names.join(', ')}`,
  );
}

/** Also of another realm, of a class, or `process.env`; but no array, Map, Date or the like. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/**
 * The options of a call, whose values are not checked yet.
 *
 * @param call as the user knows it: `run()`
 * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
 */
export function optionsOf(
  call: string,
  options: unknown,
  known: readonly string[],
): Record<string, unknown> {
  if (!isPlainObject(options)) return mustBe(`the options of ${call}`, 'an object');
  refuseUnknown(options, known, (key) => `option ${key} of ${call}`);
  return options;
}

/** Only what was omitted gets its default: null is a mistake like any other. */
export function orDefault(value: unknown, whenOmitted: unknown): unknown {
  return value === undefined ? whenOmitted : value;
}

/** @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function booleanOption(name: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : invalid(name, 'a boolean', value);
}

/** One of some texts. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function oneOf<const Text extends string>(
  name: string,
  value: unknown,
  texts: readonly Text[],
): Text {
  if (texts.includes(value as Text)) return value as Text;
  return invalid(name, texts.map((text) => `'${text}'`).join(' or '), value);
}

/** @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function integerIn(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  return invalid(name, `an integer from ${min} to ${max}`, value);
}

/** A number of ms, or Infinity. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function durationMs(name: string, value: unknown, min: number): number {
  const finite = typeof value === 'number' && value >= min && value <= TIMER_MS_MAX;
  if (finite || value === Number.POSITIVE_INFINITY) return value;
  return invalid(name, `a number of ms from ${min} to ${TIMER_MS_MAX}, or Infinity`, value);
}

/** @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function stringList(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) return invalid(name, 'a list of strings', value);
  const list: unknown[] = [...value]; // its holes become visible
  if (list.some((item) => typeof item !== 'string')) {
    return invalid(name, 'a list of strings', value);
  }
  return Object.freeze(list as string[]);
}

/** An absolute path from a path or a `file:` URL. @throws GyreError `ERR_GYRE_OPTION_INVALID` */
export function absolutePath(name: string, value: unknown): string {
  let file = value;
  if (value instanceof URL || (typeof value === 'string' && value.startsWith('file:'))) {
    try {
      file = fileURLToPath(value);
    } catch (cause) {
      const { message } = cause as Error;
      throw new GyreError('ERR_GYRE_OPTION_INVALID', `option ${name}: ${message}`, { cause });
    }
  }
  if (typeof file !== 'string' || file === '') return invalid(name, 'a path or URL', value);
  if (file.includes('\0')) return invalid(name, 'a path without NUL', value);
  return path.resolve(file);
}
