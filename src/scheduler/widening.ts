/**
 * When a softly pinned worker may leave its CPU, and when it is to return. Pure: samples go in,
 * and the number of rings around its CPU on which it may run comes out.
 *
 * **Starved**: within a second it has waited for others for STARVED_MS, that is a third or more of
 * the time for which it wanted a CPU, and a ms or more each time that it got one. The last
 * condition is for workers that run often and briefly: a load generator on the same CPU makes them
 * wait for half of the time that they want, but 0.1 ms each time.
 *
 * **Room**: some CPU on which it may not run yet has idled for an eighth of the time meanwhile.
 * Without, leaving brings nothing but a cold cache: if all CPUs are full, they are full of others
 * that want them as much. A starved worker gets one ring more if there is room in any.
 *
 * **Free**: its CPU, or with several rings one of those within the last but one, has idled for
 * half of a second; or the worker was always seen there, and hardly waited. If it has been free
 * for `patience`, the worker loses a ring. If somebody still, or again, competes for its CPU then
 * this was a mistake, which costs the requests of some 300 ms. So each widening that follows a
 * narrowing doubles the patience, up to PATIENCE_MAX_MS, and only a long time without any
 * halves it. That bounds the number of changes, whatever the samples say: a narrowing takes
 * PATIENCE_MS at least, and there are no more than some 6 reversals and one more each 20 s.
 */

/** Share of the time for which the idlest of some CPUs idled, 0 to 1, and in what time. */
export interface Idle {
  readonly share: number;
  readonly overMs: number;
}

/** What was seen since the sample before. */
export interface Sample {
  /** When, on any clock that never goes back. */
  readonly atMs: number;
  /** CPU time of the worker. */
  readonly runMs: number;
  /** Time for which it was ready to run and somebody else had its CPU. */
  readonly delayMs: number;
  /** How often it got a CPU. */
  readonly runs: number;
  /** It was seen on one of the CPUs that it would have with one ring less. */
  readonly within: boolean;
  /** Of those CPUs; null: not measured. */
  readonly inside: Idle | null;
  /** Of the CPUs on which it may not run; null: not measured. */
  readonly outside: Idle | null;
}

/** How often samples are to be taken, in ms. */
export const SAMPLE_MS = 100;

/**
 * No evidence for half or twice of it: it is the time that a burst of other work may take the CPU
 * before the worker leaves it, of which the requests of that time know.
 */
export const STARVED_MS = 50;
const STARVED_SHARE = 1 / 3;
/**
 * On two CPUs with 1,500 requests a second a worker waited for 0.03 to 0.3 ms each time beside the
 * load generator, and for 2 to 300 ms beside a process that burns its CPU.
 */
const STARVED_EACH_MS = 1;

/** No evidence: what there is less of is used up by the one who comes. */
const ROOM_SHARE = 1 / 8;

/** Over so long all of this is judged. */
export const WINDOW_MS = 1_000;

const FREE_IDLE_SHARE = 1 / 2;
const FREE_DELAY_SHARE = 1 / 10;
/** Samples in which it must have been seen within, and time that it must have run. No evidence. */
const FREE_SAMPLES = 5;
const FREE_RUN_MS = 20;

/** The least patience: two windows. */
export const PATIENCE_MS = 2_000;
/** A mistake a minute costs the requests of 0.5% of the time: p99 does not know of it. */
export const PATIENCE_MAX_MS = 64_000;
/** Times its length without any change after which patience is halved. No evidence. */
const FORGIVEN = 8;

interface Window {
  sinceMs: number;
  runMs: number;
  delayMs: number;
  runs: number;
  samples: number;
  within: number;
  insideMs: number;
  insideOverMs: number;
  outsideMs: number;
  outsideOverMs: number;
}

function newWindow(sinceMs: number): Window {
  return {
    ...{ sinceMs, runMs: 0, delayMs: 0, runs: 0 },
    ...{ samples: 0, within: 0 },
    ...{ insideMs: 0, insideOverMs: 0, outsideMs: 0, outsideOverMs: 0 },
  };
}

export class Widening {
  readonly #ringsMax: number;
  #rings: number;
  #window: Window;
  /** For how long it has been free, in whole windows. */
  #freeMs = 0;
  #patienceMs = PATIENCE_MS;
  /** When its rings changed, or its patience was halved, last. */
  #settledMs: number;
  #narrowedLast = false;

  /**
   * @param ringsMax rings that there are around its CPU
   * @param rings those on which it may run already
   */
  constructor(ringsMax: number, atMs: number, rings = 0) {
    this.#ringsMax = ringsMax;
    this.#rings = rings;
    this.#window = newWindow(atMs);
    this.#settledMs = atMs;
  }

  /** Rings around its CPU on which it may run. 0: it is bound to its CPU. */
  get rings(): number {
    return this.#rings;
  }

  /** It is starved: what matters is how much the CPUs outside idle. */
  get wantsRoom(): boolean {
    return this.#rings < this.#ringsMax && isStarved(this.#window);
  }

  /** How many rings it should have, after `sample`; at most one more or less than it has. */
  sample(sample: Sample): number {
    const window = this.#window;
    add(window, sample);
    this.#forgive(sample.atMs);
    const overMs = sample.atMs - window.sinceMs;
    const decided = this.wantsRoom && window.outsideOverMs > 0;
    // Whoever is starved at the end of a window learns whether there is room in the next.
    const endsMs = this.wantsRoom ? 2 * WINDOW_MS : WINDOW_MS;
    if (!decided && overMs < endsMs) return this.#rings;
    this.#window = newWindow(sample.atMs);
    const starved = isStarved(window);
    // A window that was long because the process slept tells no more than any other.
    this.#freeMs = !starved && isFree(window) ? this.#freeMs + Math.min(overMs, WINDOW_MS) : 0;
    if (decided && window.outsideMs >= ROOM_SHARE * window.outsideOverMs) return this.#rings + 1;
    if (this.#rings > 0 && this.#freeMs >= this.#patienceMs) return this.#rings - 1;
    return this.#rings;
  }

  /** It has `rings` rings from now on. */
  changed(rings: number, atMs: number): void {
    const narrowed = rings < this.#rings;
    if (!narrowed && this.#narrowedLast) {
      this.#patienceMs = Math.min(2 * this.#patienceMs, PATIENCE_MAX_MS);
    }
    this.#narrowedLast = narrowed;
    this.#rings = rings;
    this.#settledMs = atMs;
    this.#freeMs = 0;
    this.#window = newWindow(atMs);
  }

  #forgive(atMs: number): void {
    while (
      this.#patienceMs > PATIENCE_MS &&
      atMs - this.#settledMs >= FORGIVEN * this.#patienceMs
    ) {
      this.#settledMs += FORGIVEN * this.#patienceMs;
      this.#patienceMs /= 2;
    }
  }
}

function add(window: Window, sample: Sample): void {
  const { inside, outside } = sample;
  window.runMs += sample.runMs;
  window.delayMs += sample.delayMs;
  window.runs += sample.runs;
  window.samples++;
  if (sample.within) window.within++;
  if (inside !== null) {
    window.insideMs += inside.share * inside.overMs;
    window.insideOverMs += inside.overMs;
  }
  if (outside !== null) {
    window.outsideMs += outside.share * outside.overMs;
    window.outsideOverMs += outside.overMs;
  }
}

function isStarved({ runMs, delayMs, runs }: Window): boolean {
  return (
    delayMs >= STARVED_MS &&
    delayMs >= STARVED_SHARE * (runMs + delayMs) &&
    delayMs >= STARVED_EACH_MS * runs
  );
}

function isFree(window: Window): boolean {
  const { runMs, delayMs, samples, within, insideMs, insideOverMs } = window;
  if (insideOverMs >= WINDOW_MS / 2 && insideMs >= FREE_IDLE_SHARE * insideOverMs) return true;
  return (
    samples >= FREE_SAMPLES &&
    within === samples &&
    runMs >= FREE_RUN_MS &&
    delayMs <= FREE_DELAY_SHARE * (runMs + delayMs)
  );
}
