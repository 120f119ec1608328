/**
 * Counts that only grow, out of counts that do not: those of shared memory wrap at 2^32, and those
 * of a thread end with it. Pure; one instance has one user.
 */

/**
 * Shared memory's counts. One that advances by 2^32 from one reading to the next loses that
 * much: 40 hours of 30,000 requests a second.
 */
export class Unwrapped {
  readonly #seen = new Map<string, { raw: number; total: number }>();

  /** The count named `key`, which now is `raw` modulo 2^32. */
  total(key: string, raw: number): number {
    const seen = this.#seen.get(key);
    if (seen === undefined) {
      this.#seen.set(key, { raw, total: raw });
      return raw;
    }
    seen.total += (raw - seen.raw) >>> 0;
    seen.raw = raw;
    return seen.total;
  }
}

/** What all threads of one worker have used together; of one that has ended, when last seen. */
export class Lifetimes<Thread extends { readonly index: number }, Key extends string> {
  readonly #keys: readonly Key[];
  readonly #running = new Map<Thread, Record<Key, number | null>>();
  readonly #ended = new Map<number, Record<Key, number | null>>();

  constructor(keys: readonly Key[]) {
    this.#keys = keys;
  }

  /** @param read what a thread has used so far; null: not known now */
  update(threads: readonly Thread[], read: (thread: Thread) => Record<Key, number | null>): void {
    for (const [thread, used] of this.#running) {
      if (threads.includes(thread)) continue;
      this.#running.delete(thread);
      this.#ended.set(thread.index, this.#sum([this.#ended.get(thread.index), used]));
    }
    for (const thread of threads) {
      const before = this.#running.get(thread);
      const now = read(thread);
      const entries = this.#keys.map((key) => {
        const [last, next] = [before?.[key] ?? null, now[key]];
        // A thread in its last moments says that it never did anything.
        return [key, last === null ? next : Math.max(last, next ?? last)];
      });
      this.#running.set(thread, Object.fromEntries(entries));
    }
  }

  of(index: number): Record<Key, number | null> {
    const running = [...this.#running].filter(([thread]) => thread.index === index);
    return this.#sum([this.#ended.get(index), ...running.map(([, used]) => used)]);
  }

  #sum(all: readonly (Record<Key, number | null> | undefined)[]): Record<Key, number | null> {
    const entries = this.#keys.map((key) => {
      const known = all.map((each) => each?.[key] ?? null).filter((value) => value !== null);
      return [key, known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0)];
    });
    return Object.fromEntries(entries);
  }
}
