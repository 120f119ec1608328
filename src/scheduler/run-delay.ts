/**
 * How long threads waited for a CPU, and for whom. Pure.
 *
 * The kernel counts a wait when it is over (sched-stats.rst, schedstat of a task). A thread that
 * waits for seconds, as in a group of processes whose share of a CPU has gone elsewhere, would seem
 * to sleep meanwhile. So one that is ready to run and of which nothing has changed counts as
 * waiting since it was first seen so.
 */

/** What a thread has had of the CPUs since it began. */
export interface Usage {
  readonly runMs: number;
  /** Ready to run, and on no CPU. A wait counts when it is over. */
  readonly delayMs: number;
  /** How often it got a CPU. */
  readonly runs: number;
  /** On which CPU it is, or was last. */
  readonly cpu: number;
  /** It runs, or is ready to. */
  readonly runnable: boolean;
}

/** What a thread has had between two readings, in ms. */
interface Share {
  readonly runMs: number;
  readonly delayMs: number;
  /** How often it got a CPU. */
  readonly runs: number;
}

/** Readings of one thread, one after the other. */
export class Meter {
  #last: Usage | null = null;
  /** When the last reading that differs from the one before it was taken, and read so far. */
  #changedMs = 0;
  #delayMs = 0;

  /** Null the first time. @param atMs never before the last */
  read(usage: Usage, atMs: number): Share | null {
    const last = this.#last;
    const delayBefore = this.#delayMs;
    this.#last = usage;
    const same =
      last !== null &&
      usage.runMs === last.runMs &&
      usage.delayMs === last.delayMs &&
      usage.runs === last.runs;
    if (!same) this.#changedMs = atMs;
    this.#delayMs = usage.delayMs + (usage.runnable ? atMs - this.#changedMs : 0);
    if (last === null) return null;
    return {
      runMs: Math.max(0, usage.runMs - last.runMs),
      // The two clocks are not one: a wait that is over may be a little shorter than it seemed.
      delayMs: Math.max(0, this.#delayMs - delayBefore),
      runs: Math.max(0, usage.runs - last.runs),
    };
  }
}

/** One of our own threads, between two readings. */
export interface OwnThread extends Share {
  /** The CPU that it is pinned to, or at home on; null: none. */
  readonly home: number | null;
  /** Where it was seen at the later reading. */
  readonly cpu: number;
}

/**
 * For how long each of `threads` waited while none of the others was on its home CPU: so for
 * processes, or threads, that are not gyre's. In ms; 0 for those without a home. A
 * thread that is bound to no single CPU counts for the one on which it was seen.
 */
export function delaysByOthers(threads: readonly OwnThread[]): number[] {
  const ranOn = new Map<number, number>();
  for (const { cpu, runMs } of threads) ranOn.set(cpu, (ranOn.get(cpu) ?? 0) + runMs);
  return threads.map(({ home, cpu, runMs, delayMs }) => {
    if (home === null) return 0;
    const ours = (ranOn.get(home) ?? 0) - (cpu === home ? runMs : 0);
    return Math.max(0, delayMs - ours);
  });
}
