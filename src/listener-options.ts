/**
 * What may be said of one address: `listeners` of `createRuntime`, and `gyre` of
 * `server.listen()`. Pure; any thread.
 */
import { isPlainObject, mustBe, refuseUnknown } from './option-checks.js';

/** What is different at one address. */
export interface ListenerOptions {
  /**
   * Whether its connections may move to another worker. Default true, where connections
   * move at all.
   */
  move?: boolean;
}

/**
 * @param where what to call it in an error
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`
 */
export function resolveListenerOptions(
  where: string,
  options: unknown,
): Readonly<Required<ListenerOptions>> {
  if (!isPlainObject(options)) return mustBe(where, 'an object');
  refuseUnknown(options, ['move'], (key) => `${where}: ${key}`);
  const { move = true } = options;
  if (typeof move !== 'boolean') return mustBe(`${where}: move`, 'a boolean');
  return Object.freeze({ move });
}
