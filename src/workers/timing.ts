/**
 * Counts the HTTP/1 requests of this worker, and how long they take: from the moment in which
 * node hands one to the application until its response is finished. Worker's thread only; only
 * where somebody may want to know.
 *
 * It learns of both from node's diagnostics channels. To count a request costs some 0.25 µs, to
 * time it 0.5 µs more, together 3% of what a hello world takes. So where requests come fast a
 * sample of them is timed. Nothing here uses a timer: an idle worker does not wake up.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import type { TimesWriter } from '../scheduler/scoreboard.js';

const START = 'http.server.request.start';
const FINISH = 'http.server.response.finish';

const WINDOW_MS = 100;
/** So many are timed in a window: 5,000 a second, which takes a quarter of a percent of a CPU. */
const TIMED_MAX = 500;
/** And so many after one in which there were more: 320 a second. No evidence for more or less. */
const SAMPLE = 32;

const BEGUN = Symbol('gyre.begun');

interface Timed extends ServerResponse {
  /** When it began, in ms. */
  [BEGUN]?: number;
}

const now = performance.now.bind(performance); // an application may replace it

export class Timing {
  readonly #times: TimesWriter;
  /** Whether requests that begin now are timed. */
  #on = false;
  #windowBegan = 0;
  #finished = 0;
  /** How many more are timed in this window. */
  #left = TIMED_MAX;

  constructor(times: TimesWriter) {
    this.#times = times;
  }

  install(): void {
    subscribe(FINISH, this.#onFinish);
    this.#time(true);
  }

  uninstall(): void {
    unsubscribe(FINISH, this.#onFinish);
    this.#time(false);
  }

  #onStart = (message: unknown): void => {
    (message as { response: Timed }).response[BEGUN] = now();
    if (--this.#left === 0) this.#time(false);
  };

  #onFinish = (message: unknown): void => {
    const begun = (message as { response: Timed }).response[BEGUN];
    const at = now();
    this.#times.count();
    if (begun !== undefined) this.#times.took(at - begun);
    if (at - this.#windowBegan >= WINDOW_MS) {
      this.#windowBegan = at;
      this.#left = this.#finished > TIMED_MAX ? SAMPLE : TIMED_MAX;
      this.#finished = 0;
      this.#time(true);
    }
    this.#finished++;
  };

  #time(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    if (on) subscribe(START, this.#onStart);
    else unsubscribe(START, this.#onStart);
  }
}
