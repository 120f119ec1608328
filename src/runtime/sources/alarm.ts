/**
 * One timer for many deadlines of which few are ever reached. Main thread only.
 *
 * Node's loop wakes up for a timer that was cleared as well. So this one is cleared for nothing but
 * an earlier deadline: it looks when the first one that it was told is over, whether anybody
 * still cares or not, and asks then for the next one.
 */
import { TIMER_MS_MAX } from '../../option-checks.js';

export class Alarm {
  readonly #look: () => number;
  #at = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** @param look acts on what is over, and tells the next deadline: Infinity for none */
  constructor(look: () => number) {
    this.#look = look;
  }

  /** There is something to look at when `at`, in ms of `performance.now()`, is over. */
  by(at: number): void {
    if (at >= this.#at) return;
    this.#at = at;
    clearTimeout(this.#timer);
    const wait = Math.min(Math.max(1, Math.ceil(at - performance.now())), TIMER_MS_MAX);
    this.#timer = setTimeout(() => {
      this.#at = Number.POSITIVE_INFINITY;
      this.by(this.#look());
    }, wait).unref();
  }

  /** Never looks again. */
  close(): void {
    clearTimeout(this.#timer);
    this.#at = Number.NEGATIVE_INFINITY;
  }
}
