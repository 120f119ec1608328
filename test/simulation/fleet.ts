/**
 * Threads that run seeds, as many as there are CPUs. The same file is both ends.
 */
import os from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { simulate, sourcesWith, withSmall } from './simulate.js';
import { type Edit, textOf, texts } from './source.js';

export interface Seeds {
  readonly from: number;
  readonly count: number;
  /** From one to the next. */
  readonly step: number;
  /** Mistakes in the sources; none: the product as it is. */
  readonly edits: readonly Edit[];
  /** Whether to go on after one that failed. */
  readonly all: boolean;
}

export interface Failure {
  readonly seed: number;
  readonly message: string;
}

export interface Result {
  /** How many were run. */
  readonly seeds: number;
  readonly failures: readonly Failure[];
  /** Of what happened, over all runs: the same for the same seeds. */
  readonly hash: number;
  /** Runs in which at least one message was answered. */
  readonly served: number;
}

/** What a thread gets: compiled where the compiler is loaded already. */
interface Order {
  readonly wanted: Seeds;
  readonly texts: readonly (readonly [string, string])[];
}

/** Runs them on this thread. */
export function runHere({ from, count, step, edits, all }: Seeds): Result {
  const sources = sourcesWith(edits);
  const failures: Failure[] = [];
  let hash = 0;
  let seeds = 0;
  let served = 0;
  while (seeds < count) {
    const seed = from + step * seeds++;
    const outcome = simulate(seed, sources);
    hash = (hash + Math.imul(outcome.hash, seed | 1)) | 0;
    if (outcome.answered > 0) served++;
    if (outcome.failure === null) continue;
    failures.push({ seed, message: outcome.failure.message });
    if (!all) break;
  }
  return { seeds, failures, hash, served };
}

function sum(results: readonly Result[]): Result {
  return {
    seeds: results.reduce((all, { seeds }) => all + seeds, 0),
    failures: results.flatMap(({ failures }) => failures),
    hash: results.reduce((all, { hash }) => (all + hash) | 0, 0),
    served: results.reduce((all, { served }) => all + served, 0),
  };
}

/** Seeds that one thread gets at a time. */
const PORTION = 100;

export class Fleet {
  readonly #threads: Worker[];
  readonly #idle: Worker[];
  readonly #waiting: ((thread: Worker) => void)[] = [];

  constructor(threads = os.availableParallelism()) {
    // Most of what runs does so in a new closure and not for long: V8 would optimize it for nothing.
    setFlagsFromString('--interrupt-budget=1000000');
    simulate(1); // so that the sources are compiled once for all threads
    this.#threads = Array.from({ length: threads }, () => {
      return new Worker(__filename, {
        workerData: texts,
        resourceLimits: { maxYoungGenerationSizeMb: 64 }, // most of what is made is soon gone
      });
    });
    this.#idle = [...this.#threads];
  }

  /** Runs all of them, each thread some. */
  async run(wanted: Seeds): Promise<Result> {
    const { from, count, step } = wanted;
    const portions: Promise<Result>[] = [];
    for (let done = 0; done < count; done += PORTION) {
      const size = Math.min(PORTION, count - done);
      portions.push(this.runOnOne({ ...wanted, from: from + step * done, count: size }));
    }
    return sum(await Promise.all(portions));
  }

  /** Runs them one after the other on the next thread that is idle. */
  async runOnOne(wanted: Seeds): Promise<Result> {
    const thread =
      this.#idle.pop() ?? (await new Promise<Worker>((resolve) => this.#waiting.push(resolve)));
    try {
      return await new Promise((resolve, reject) => {
        thread.once('message', resolve).once('error', reject);
        const order: Order = {
          wanted,
          texts: wanted.edits.map(({ file }) => textOf(file, withSmall(wanted.edits))),
        };
        thread.postMessage(order);
      });
    } finally {
      // Not all: its own keep it going.
      thread.removeAllListeners('message').removeAllListeners('error');
      const next = this.#waiting.shift();
      if (next === undefined) this.#idle.push(thread);
      else next(thread);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}

if (!isMainThread) {
  for (const [key, text] of workerData as typeof texts) texts.set(key, text);
  Error.stackTraceLimit = 0; // nobody looks, and errors are made by the thousand
  parentPort?.on('message', ({ wanted, texts: more }: Order) => {
    for (const [key, text] of more) texts.set(key, text);
    parentPort?.postMessage(runHere(wanted));
  });
}
