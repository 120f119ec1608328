/**
 * What may be said of one address: `listeners` of `createRuntime`, and `gyre` of
 * `server.listen()`. Pure; any thread.
 */
import { GyreError } from './errors.js';

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
  if (Object.prototype.toString.call(options) !== '[object Object]') {
    throw new GyreError('ERR_GYRE_OPTION_INVALID', `${where} must be an object`);
  }
  const { move = true, ...rest } = options as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    const key = JSON.stringify(unknown);
    throw new GyreError('ERR_GYRE_OPTION_UNKNOWN', `${where}: ${key} is unknown; known is move`);
  }
  if (typeof move !== 'boolean') {
    throw new GyreError('ERR_GYRE_OPTION_INVALID', `${where}: move must be a boolean`);
  }
  return Object.freeze({ move });
}
