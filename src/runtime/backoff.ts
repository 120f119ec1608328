/**
 * How soon something that has ended of its own accord is started again: at once if it had lived for a
 * while, else after a delay that doubles each time. Pure.
 */
interface BackoffOptions {
  /** Who has lived for so long did not die of how it starts. */
  readonly livedMs: number;
  /** The delay after the first that did not. */
  readonly firstMs: number;
  /** The longest delay. */
  readonly maxMs: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  /** Those that did not live for long, one after the other. */
  #quickDeaths = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** It has ended after `livedMs`. Returns the delay, in ms. */
  after(livedMs: number): number {
    const { livedMs: enoughMs, firstMs, maxMs } = this.#options;
    this.#quickDeaths = livedMs >= enoughMs ? 0 : this.#quickDeaths + 1;
    if (this.#quickDeaths === 0) return 0;
    return Math.min(firstMs * 2 ** (this.#quickDeaths - 1), maxMs);
  }

  /** Another one has its place, of which nothing is held against it. */
  reset(): void {
    this.#quickDeaths = 0;
  }
}
