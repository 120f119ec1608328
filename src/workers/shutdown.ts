/**
 * What the application still wants to do when its worker has served its last connection: flush,
 * hand back, say goodbye. Worker's thread only, or main's for `workers: 'inline'`.
 *
 * Each handler runs once, all at the same time, while the thread still does everything; how long
 * they may take is main's to say (`drainMs`). A death is no shutdown: nothing runs then.
 */
import { GyreError } from '../errors.js';

/** What `onShutdown()` takes. Called once; what it returns is waited for. */
export type ShutdownHandler = () => unknown;

export class Shutdown {
  readonly #handlers = new Set<{ readonly run: ShutdownHandler }>();

  /**
   * @returns what takes `handler` back
   * @throws GyreError `ERR_GYRE_OPTION_INVALID` if it is no function
   */
  on(handler: ShutdownHandler): () => void {
    if (typeof handler !== 'function') {
      throw new GyreError(
        'ERR_GYRE_OPTION_INVALID',
        'onShutdown(): the handler must be a function',
      );
    }
    const entry = { run: handler };
    this.#handlers.add(entry);
    return () => this.#handlers.delete(entry);
  }

  /** Resolves when every handler has settled. What they throw is as unhandled as it would be anywhere. */
  async run(): Promise<void> {
    const handlers = [...this.#handlers];
    this.#handlers.clear();
    await Promise.all(
      handlers.map(async ({ run }) => {
        try {
          await run();
        } catch (error) {
          void Promise.reject(error);
        }
      }),
    );
  }
}
