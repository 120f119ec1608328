/**
 * The simulation's clock: what happens when. Pure; times are in ms from 0.
 *
 * What is due at the same moment happens in the order in which it was asked for, so a
 * run is the same each time.
 */

interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly happen: () => void;
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

export class Clock {
  /** A binary heap, the next one first. */
  readonly #heap: Due[] = [];
  #order = 0;
  #nowMs = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** `happen` is called in `ms` from now. */
  after(ms: number, happen: () => void): void {
    const due = { atMs: this.#nowMs + ms, order: this.#order++, happen };
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(due, heap[parent] as Due)) break;
      heap[at] = heap[parent] as Due;
      at = parent;
    }
    heap[at] = due;
  }

  /** Until nothing is due any more, or `stop` says so. */
  run(stop: () => boolean): void {
    while (this.#heap.length > 0 && !stop()) {
      const due = this.#next();
      this.#nowMs = due.atMs;
      due.happen();
    }
  }

  #next(): Due {
    const heap = this.#heap;
    const first = heap[0] as Due;
    const last = heap.pop() as Due;
    const length = heap.length;
    if (length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && isBefore(heap[child + 1] as Due, heap[child] as Due)) child++;
      if (!isBefore(heap[child] as Due, last)) break;
      heap[at] = heap[child] as Due;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}
