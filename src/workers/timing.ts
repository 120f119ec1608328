/**
 * Counts the HTTP/1 requests of this worker and, where that is wanted, how long they take: from the moment in which
 * node hands one to the application until its response is finished. Worker's thread only; only
 * where somebody may want to know.
 *
 * It learns of both from node's diagnostics channels. To publish and count a request takes some
 * 30 ns (15 in Node 24 and 26) in a loop of nothing else; to time it too costs a hello world some 5%. So
 * where requests come fast only those are timed that begin in the first fiftieth of each period. To subscribe and to unsubscribe
 * costs some 10 ms each, because V8 then throws away what it has compiled for node's http server:
 * hence the long period. Nothing here uses a timer: an idle worker does not wake up.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import type { TimesWriter } from '../scheduler/times-writer.js';
import { REQUEST_START, RESPONSE_FINISH } from './channels.js';

/** More requests a second than this are fast: timing 5,000 takes a quarter of a percent of a CPU. */
const FAST_PER_SECOND = 5_000;
/** And fewer than this are slow again. */
const SLOW_PER_SECOND = 2_500;
/** Over which time the rate is taken while they are slow, and while they are fast. */
const SLOW_PERIOD_MS = 1_000;
const FAST_PERIOD_MS = 10_000;
/** For how long requests are timed in each period of fast ones. */
const SAMPLE_MS = FAST_PERIOD_MS / 50;

/** Of requests that are counted only, so many are between two looks at the clock. */
const CLOCK_EVERY = 64;

const BEGUN = Symbol('gyre.begun');

interface Timed extends ServerResponse {
  /** When it began, in ms. */
  [BEGUN]?: number;
}

const now = performance.now.bind(performance); // an application may replace it

export class Timing {
  readonly #times: TimesWriter;
  readonly #timed: boolean;
  /** Whether requests that begin now are timed. */
  #on = false;
  #fast = false;
  /** The present period: when it began, and how many requests have ended in it. */
  #began = now();
  #finished = 0;

  /** @param timed whether requests are timed, or only counted */
  constructor(times: TimesWriter, timed: boolean) {
    this.#times = times;
    this.#timed = timed;
  }

  install(): void {
    subscribe(RESPONSE_FINISH, this.#onFinish);
    this.#time(this.#timed);
  }

  uninstall(): void {
    unsubscribe(RESPONSE_FINISH, this.#onFinish);
    this.#time(false);
  }

  #onStart = (message: unknown): void => {
    (message as { response: Timed }).response[BEGUN] = now();
  };

  #onFinish = (message: unknown): void => {
    const begun = (message as { response: Timed }).response[BEGUN];
    this.#times.count();
    if (!this.#timed) return;
    this.#finished++;
    if (begun === undefined && !this.#on && this.#finished % CLOCK_EVERY !== 0) return;
    const at = now();
    if (begun !== undefined) this.#times.took(at - begun);
    const elapsed = at - this.#began;
    if (elapsed >= (this.#fast ? FAST_PERIOD_MS : SLOW_PERIOD_MS)) this.#endPeriod(at, elapsed);
    else if (this.#fast && this.#on && elapsed >= SAMPLE_MS) this.#time(false);
  };

  #endPeriod(at: number, elapsed: number): void {
    const perSecond = (this.#finished / elapsed) * 1e3;
    this.#fast = perSecond > (this.#fast ? SLOW_PER_SECOND : FAST_PER_SECOND);
    this.#began = at;
    this.#finished = 0;
    this.#time(true);
  }

  #time(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    if (on) subscribe(REQUEST_START, this.#onStart);
    else unsubscribe(REQUEST_START, this.#onStart);
  }
}
