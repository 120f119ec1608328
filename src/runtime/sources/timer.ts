/**
 * A source that fires every so often, or once. Main thread only.
 *
 * The n-th firing is due at the start plus n times the period, whatever became of those before it: it
 * does not drift. One that is due while a firing has not settled is not made up for: the next is
 * the next multiple. While a firing is unsettled no timer runs; how many were skipped is
 * computed afterwards, or when somebody asks.
 */
import { GyreError } from '../../errors.js';
import {
  invalidOption,
  resolveHandling,
  sourceMs,
  sourceOptions,
  type TimerFiring,
} from '../../events.js';
import { TIMER_MS_MAX } from '../../option-checks.js';
import type { SourceInfo } from './api.js';
import { SourceBase, type SourceContext } from './source.js';

/** A clock may be set while somebody waits for a time of day: it is read this often, in ms. */
const CLOCK_LOOK_MS = 3_600_000;

/** The time since the epoch on the monotonic clock, in ms: what is set meanwhile does not change it. */
const monotonicMs = () => performance.timeOrigin + performance.now();

export class Timer extends SourceBase {
  /** 0: it fires once. */
  readonly #everyMs: number;
  readonly #jitterMs: number;
  /** Of the firing before the first, or the time of the only one; in ms since the epoch. */
  readonly #startMs: number;
  /** Number of the last one that fired or was skipped. */
  #last = 0;
  #skippedSince = 0;
  #timer: NodeJS.Timeout | undefined;
  /** It waits for the next one. */
  #armed = false;

  constructor(options: unknown, context: SourceContext) {
    const where = 'sources.timer()';
    const given = sourceOptions(where, options, ['name', 'everyMs', 'atMs', 'jitterMs']);
    const { everyMs, atMs, jitterMs = 0 } = given;
    const name = context.freeName(given.name);
    if (everyMs !== undefined && atMs !== undefined) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `${where}: everyMs and atMs are alternatives`,
      );
    }
    const once = everyMs === undefined;
    if (once && (typeof atMs !== 'number' || !Number.isFinite(atMs))) {
      invalidOption(
        where,
        once && atMs === undefined ? 'everyMs or atMs' : 'atMs',
        'a number of ms',
      );
    }
    const every = once ? 0 : sourceMs(where, 'everyMs', everyMs, 1);
    const jitter = sourceMs(where, 'jitterMs', jitterMs, 0);
    if (!once && jitter >= every && jitter > 0) {
      invalidOption(where, 'jitterMs', 'less than everyMs');
    }
    super('timer', name, resolveHandling(where, given, false), context);
    this.#everyMs = every;
    this.#jitterMs = jitter;
    this.#startMs = once ? (atMs as number) : monotonicMs();
    if (once) this.#waitFor(this.#startMs + this.#delay());
    else this.#next();
  }

  override info(): SourceInfo {
    const info = super.info();
    if (!this.busy || this.closed || this.#everyMs === 0) return info;
    return { ...info, skipped: info.skipped + Math.max(0, this.#due() - this.#last) };
  }

  /** Number of the last one that is due. */
  #due(): number {
    return Math.floor((monotonicMs() - this.#startMs) / this.#everyMs);
  }

  #delay(): number {
    return this.#jitterMs * Math.random();
  }

  protected override free(): void {
    if (this.#everyMs === 0) this.end();
    else this.#next();
  }

  protected override stop(): void {
    clearTimeout(this.#timer);
  }

  /** Waits for the first one after the last whose time is not over. */
  #next(): void {
    if (this.#armed) return;
    this.#armed = true;
    let n = Math.max(this.#last + 1, this.#due());
    let at = this.#startMs + n * this.#everyMs + this.#delay();
    if (at < monotonicMs()) {
      n++;
      at = this.#startMs + n * this.#everyMs + this.#delay();
    }
    this.#skip(n);
    this.#wait(at, () => {
      this.#armed = false;
      // Main may have stood still for more than a period.
      const latest = Math.max(n, this.#due());
      this.#skip(latest);
      this.#fire(latest, this.#startMs + latest * this.#everyMs);
      if (!this.busy && !this.closed) this.#next();
    });
  }

  /** Those before `n` are not made up for. */
  #skip(n: number): void {
    const skipped = n - 1 - this.#last;
    this.#last += skipped;
    this.#skippedSince += skipped;
    this.counts.skipped += skipped;
  }

  #fire(n: number, dueAtMs: number): void {
    this.#last = n;
    const payload: TimerFiring = { n, dueAtMs, skipped: this.#skippedSince };
    this.#skippedSince = 0;
    this.fire(payload);
  }

  #wait(at: number, then: () => void): void {
    const left = at - monotonicMs();
    // Node may be early by the part of a millisecond that its own clock does not know.
    if (left <= 0) {
      then();
      return;
    }
    const ms = Math.min(Math.ceil(left), TIMER_MS_MAX);
    this.#timer = setTimeout(() => this.#wait(at, then), ms).unref();
  }

  /** Like {@link #wait} for a time of the clock that people look at. */
  #waitFor(at: number): void {
    const left = at - Date.now();
    const ms = Math.min(Math.max(Math.ceil(left), 1), CLOCK_LOOK_MS);
    this.#timer = setTimeout(() => {
      if (Date.now() < at) this.#waitFor(at);
      else this.#fire(1, this.#startMs);
    }, ms).unref();
  }
}
