/**
 * `POST /profile` and `POST /heap`: what the threads of this process execute, and what is in the
 * heap of one. One at a time. Main thread only.
 */
import type { Readable } from 'node:stream';
import type { WorkerInfo } from '../runtime/api.js';
import type { Named } from '../runtime/cpu-profile.js';
import { type Answer, BadRequest, failure, json, optionsIn } from './answer.js';
import type { Observed } from './observed.js';

export const PROFILE_SECONDS = 5;
/** A minute is some 60,000 samples and a megabyte for each thread. */
export const PROFILE_SECONDS_MAX = 60;
/** How long a worker may take to begin with its snapshot: it has to return to its loop. */
const HEAP_BEGIN_MS = 10_000;

const BUSY = failure(409, 'CONFLICT', 'another profile or heap snapshot is under way');

export class Inspection {
  readonly #observed: Observed;
  #busy = false;

  constructor(observed: Observed) {
    this.#observed = observed;
  }

  /** @throws BadRequest */
  async profile(body: string, signal: AbortSignal): Promise<Answer> {
    const { seconds = PROFILE_SECONDS } = optionsIn(body, ['seconds']);
    if (typeof seconds !== 'number' || !(seconds > 0 && seconds <= PROFILE_SECONDS_MAX)) {
      throw new BadRequest(`seconds must be a number above 0, and at most ${PROFILE_SECONDS_MAX}`);
    }
    if (this.#busy) return BUSY;
    this.#busy = true;
    try {
      const { profileThreads } = await import('../runtime/cpu-profile.js');
      const { name } = this.#observed;
      const named = () => this.#named();
      const trace = await profileThreads({ seconds, name, signal, named });
      return trace === null
        ? failure(501, 'NOT_IMPLEMENTED', 'this Node has no inspector')
        : json(200, trace);
    } finally {
      this.#busy = false;
    }
  }

  /** @throws BadRequest */
  async heap(body: string): Promise<Answer> {
    const { worker: index } = optionsIn(body, ['worker']);
    const info = this.#workers().find((each) => each.index === index);
    if (info === undefined) throw new BadRequest('worker must be the number of one that runs');
    if (this.#busy) return BUSY;
    this.#busy = true;
    try {
      const snapshot = await this.#heapOf(info);
      snapshot.on('close', () => {
        this.#busy = false;
      });
      return { status: 200, type: 'application/json; charset=utf-8', body: snapshot };
    } catch (error) {
      this.#busy = false;
      return failure(503, 'UNAVAILABLE', (error as Error).message);
    }
  }

  /** @throws Error if it ends, or does not return to its loop */
  async #heapOf({ threadId, index }: WorkerInfo): Promise<Readable> {
    const thread = this.#observed.threads().find((each) => each.threadId === threadId);
    if (thread === undefined) throw new Error(`worker ${index} has ended`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(resolve, HEAP_BEGIN_MS, null);
    });
    const made = thread.heapSnapshot();
    const snapshot = await Promise.race([made, late]);
    clearTimeout(timer);
    if (snapshot !== null) return snapshot;
    // It makes it nevertheless, when it goes on.
    made.then(
      (unwanted) => unwanted.destroy(),
      () => {},
    );
    throw new Error(`worker ${index} did not return to its event loop for ${HEAP_BEGIN_MS} ms`);
  }

  #workers(): readonly WorkerInfo[] {
    const { runtime } = this.#observed;
    return [...runtime.workers, ...runtime.spares];
  }

  #named(): Named[] {
    const on = (cpu: number | null) => (cpu === null ? '' : ` (CPU ${cpu})`);
    const workers = this.#observed.threads().map(({ index, threadId, tid, cpu }) => {
      const { spare = false } = this.#workers().find((each) => each.threadId === threadId) ?? {};
      return { threadId, tid, label: `${spare ? 'spare' : 'worker'} ${index}${on(cpu)}` };
    });
    const jobs = this.#observed.runtime
      .snapshot()
      .jobs.threads.map(({ threadId, tid, cpu }, i) => ({
        ...{ threadId, tid, label: `job thread ${i}${on(cpu)}` },
      }));
    return [...workers, ...jobs];
  }
}
