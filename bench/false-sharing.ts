/**
 * Question: what does it cost two threads to write neighbouring words of shared memory,
 * and do the scoreboard's rows avoid it?
 *
 * Two worker threads add to a word each for the same stretch of time. Only where the
 * words are differs, and whether the store is sequentially consistent (`Atomics.store`)
 * or plain. The rows are written by the scoreboard's own code, once where the layout
 * puts them and once with the words that it writes side by side. What is timed is
 * JavaScript alone, and the operating system places the threads.
 *
 * The memory begins on a multiple of 128 bytes, as the scoreboard's does, where the native
 * helper is there to tell. So 64 bytes apart are two lines of one pair that a processor
 * may fetch together, and 128 bytes apart are two pairs.
 */
import { execFile } from 'node:child_process';
import os from 'node:os';
import { promisify } from 'node:util';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { misalignmentOf } from '../src/native.js';
import { ROW_WORDS, WORD_BYTES, WORKER, workerRow } from '../src/scheduler/layout.js';
import { allocateWords } from '../src/scheduler/memory.js';
import { Scoreboard } from '../src/scheduler/scoreboard.js';
import { WorkerWriter } from '../src/scheduler/worker-writer.js';
import { addUntilStopped, BATCH, measureAdding } from './adding.js';
import { CannotRun } from './failures.js';
import { run } from './harness.js';

const WRITERS = 2;
/** Words that an accepted connection writes: CONNECTIONS and ACCEPTED, neighbours. */
const WRITTEN_WORDS = Math.abs(WORKER.ACCEPTED - WORKER.CONNECTIONS) + 1;

/** How many bytes the threads' words are apart; null: where the scoreboard has them. */
const VARIANTS = {
  'plain 4': { distanceBytes: 4, store: 'plain' },
  'plain 64': { distanceBytes: 64, store: 'plain' },
  'plain 128': { distanceBytes: 128, store: 'plain' },
  'atomic 4': { distanceBytes: 4, store: 'atomic' },
  'atomic 64': { distanceBytes: 64, store: 'atomic' },
  'atomic 128': { distanceBytes: 128, store: 'atomic' },
  'rows packed': { distanceBytes: WRITTEN_WORDS * WORD_BYTES, store: 'row' },
  'rows as laid out': { distanceBytes: null, store: 'row' },
} as const;
type VariantName = keyof typeof VARIANTS;

interface Task {
  readonly store: 'plain' | 'atomic' | 'row';
  readonly words: Int32Array<SharedArrayBuffer>;
  /** First word that this thread writes. */
  readonly at: number;
  /** Written by the main thread only. */
  readonly flag: Int32Array<SharedArrayBuffer>;
}

/** BATCH times one addition. */
function batchOf({ store, words, at }: Task): () => void {
  if (store === 'row') {
    const row = new WorkerWriter(words, {
      row: at,
      gave: at,
      given: at,
      newcomers: at,
      iterations: at,
      taken: at,
    });
    return () => {
      for (let i = 0; i < BATCH; i++) {
        row.received();
        row.accepted();
      }
    };
  }
  if (store === 'atomic') {
    return () => {
      for (let i = 0; i < BATCH; i++) {
        Atomics.store(words, at, (Atomics.load(words, at) + 1) | 0);
      }
    };
  }
  return () => {
    for (let i = 0; i < BATCH; i++) words[at] = ((words[at] as number) + 1) | 0;
  };
}

/** In a process of its own: mean ns per addition of the threads. */
async function measureHere(name: VariantName, ms: number): Promise<number> {
  const { distanceBytes, store } = VARIANTS[name];
  const words =
    distanceBytes === null
      ? Scoreboard.create(WRITERS, misalignmentOf).words
      : allocateWords(4 * ROW_WORDS, misalignmentOf);
  const flag = new Int32Array(new SharedArrayBuffer(WORD_BYTES));
  const threads = Array.from({ length: WRITERS }, (_, index) => {
    const at = distanceBytes === null ? workerRow(index) : (index * distanceBytes) / WORD_BYTES;
    const task: Task = { store, words, at, flag };
    return new Worker(__filename, { workerData: task });
  });
  return measureAdding(threads, flag, ms);
}

async function measureInProcess(variant: string, ms: number): Promise<number> {
  const args = [__filename, '--measure', variant, String(ms)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}

if (!isMainThread) {
  const task = workerData as Task;
  addUntilStopped(batchOf(task), task.flag);
} else if (process.argv[2] === '--measure') {
  const [variant, ms] = process.argv.slice(3);
  measureHere(variant as VariantName, Number(ms)).then((ns) => process.stdout.write(String(ns)));
} else {
  run({
    name: 'false-sharing',
    question: 'what does it cost two threads to write neighbouring words of shared memory?',
    pinning: 'none; the operating system places the threads',
    flags: { rounds: 9, ms: 500 },
    metrics: { cost: { unit: 'ns per addition', digits: 2, better: 'less' } },
    variants: Object.keys(VARIANTS),
    comparisons: [
      ...['plain', 'atomic'].flatMap((store) => [
        { metric: 'cost' as const, of: `${store} 4`, to: `${store} 128` },
        { metric: 'cost' as const, of: `${store} 64`, to: `${store} 128` },
      ]),
      { metric: 'cost', of: 'rows packed', to: 'rows as laid out' },
    ],
    check() {
      if (os.availableParallelism() < WRITERS) throw new CannotRun('it needs two CPUs');
    },
    measure: async (variant, { ms }) => ({ cost: await measureInProcess(variant, ms) }),
  });
}
