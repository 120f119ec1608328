/**
 * Tells of each stream handle just before its descriptor is closed: the 'close' event of its socket comes later, when
 * the number may be somebody else's. Worker's thread only. Of a handle that nobody watches it may tell as well.
 *
 * Done once for each class of handles: a property of its own on each would make node's access to it slower, and one
 * on the socket as well, together by 2% of a hello world.
 */

/** What this file uses of a libuv stream as node wraps it. */
export interface ClosingHandle {
  readonly fd: number;
  close(callback?: () => void): void;
  reset?(callback?: () => void): number;
}

export class HandleClosings {
  readonly #closing: (handle: ClosingHandle) => void;
  /** Classes of handles that tell of their closing, and how to undo that. */
  readonly #wrapped = new Map<ClosingHandle, (() => void)[]>();

  /** @param closing called with each handle of a class that is watched */
  constructor(closing: (handle: ClosingHandle) => void) {
    this.#closing = closing;
  }

  /** Tells of `handle`, and all of its class, from now on. */
  watch(handle: ClosingHandle): void {
    const prototype = Object.getPrototypeOf(handle) as ClosingHandle;
    if (this.#wrapped.has(prototype)) return;
    const closing = this.#closing;
    for (const method of ['close', 'reset'] as const) {
      const original = prototype[method] as ((callback?: () => void) => number) | undefined;
      if (original === undefined) continue;
      const own = Object.hasOwn(prototype, method);
      const wrapped = function (this: ClosingHandle, callback?: () => void) {
        closing(this);
        return original.call(this, callback);
      };
      prototype[method] = wrapped;
      this.#wrapped.set(prototype, [
        ...(this.#wrapped.get(prototype) ?? []),
        () => {
          if (prototype[method] !== wrapped) return; // somebody wrapped it again
          if (own) prototype[method] = original;
          else delete prototype[method];
        },
      ]);
    }
  }

  uninstall(): void {
    for (const undo of [...this.#wrapped.values()].flat()) undo();
    this.#wrapped.clear();
  }
}
