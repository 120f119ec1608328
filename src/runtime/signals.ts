/**
 * Signals of the process, which node delivers to the main thread only. Main
 * thread only.
 */

/**
 * Keeps one handler on `process` for each signal that somebody wants, and none for
 * any other, so that a signal nobody wants keeps its default action.
 */
export class SignalRelay {
  readonly #deliver: (signal: NodeJS.Signals) => void;
  readonly #handlers = new Map<NodeJS.Signals, () => void>();

  constructor(deliver: (signal: NodeJS.Signals) => void) {
    this.#deliver = deliver;
  }

  want(signal: NodeJS.Signals): void {
    if (this.#handlers.has(signal)) return;
    const handler = () => this.#deliver(signal);
    try {
      process.on(signal, handler);
    } catch {
      return; // SIGKILL and SIGSTOP: node refuses them on the main thread, too
    }
    this.#handlers.set(signal, handler);
  }

  drop(signal: NodeJS.Signals): void {
    const handler = this.#handlers.get(signal);
    if (handler !== undefined) process.removeListener(signal, handler);
    this.#handlers.delete(signal);
  }

  close(): void {
    for (const signal of [...this.#handlers.keys()]) this.drop(signal);
  }
}
