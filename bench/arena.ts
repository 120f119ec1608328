/**
 * Question: what do rows, colours and huge pages save, and where do they save nothing?
 *
 * Three experiments, each with and without what the arena does:
 *
 * - **add**: two threads count. On one word of their own making; on two neighbouring words; on a
 *   `counter()`, where each has a row.
 * - **walk**: one thread goes round the first words of N records, each of which says where the next one
 *   is, so that no access can begin before the last. Records of 4,096 bytes lie closely, so that all
 *   first words are in one set of the first-level cache, or as `records()` lays them out. The same with
 *   8 records, which one set holds, and with records of 128 bytes, which are in all sets by
 *   themselves: there colours should gain nothing.
 * - **roam**: the same walk at random through 64 MB, in ordinary and in huge pages.
 *
 * The operating system places the threads, so two that count may share a CPU for a while.
 */
import { execFile } from 'node:child_process';
import os from 'node:os';
import { promisify } from 'node:util';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { type ArenaHandle, arena, attach, type Counter, counter, handleOf } from '../src/arena.js';
import { adviseHuge, misalignmentOf } from '../src/native.js';
import { COLOUR_BYTES, layOut } from '../src/scheduler/arena.js';
import { ROW_BYTES } from '../src/scheduler/layout.js';
import { allocate } from '../src/scheduler/memory.js';
import { seededRandom } from '../src/scheduler/random.js';
import { addUntilStopped, BATCH, measureAdding } from './adding.js';
import { CannotRun } from './failures.js';
import { run } from './harness.js';

const ADDERS = 2;
const WARMUP_MS = 100;
const ROAM_BYTES = 64 * 2 ** 20;
const HUGE_BYTES = 2 * 2 ** 20;

const WALKS = {
  'walk 64 × 4096, close': { count: 64, bytes: 4_096, coloured: false },
  'walk 64 × 4096, coloured': { count: 64, bytes: 4_096, coloured: true },
  'walk 8 × 4096, close': { count: 8, bytes: 4_096, coloured: false },
  'walk 8 × 4096, coloured': { count: 8, bytes: 4_096, coloured: true },
  'walk 64 × 128, close': { count: 64, bytes: 128, coloured: false },
  'walk 64 × 128, coloured': { count: 64, bytes: 128, coloured: true },
} as const;
const ADDS = ['add, one word', 'add, neighbours', 'add, counter()'] as const;
const ROAMS = ['roam, pages', 'roam, huge pages'] as const;

/** States of the one flag word. */

interface AddTask {
  /** Word that this thread adds to; null: it has a counter. */
  readonly word: number | null;
  readonly words: BigInt64Array<SharedArrayBuffer>;
  readonly handle: ArenaHandle;
  readonly flag: Int32Array<SharedArrayBuffer>;
}

function batchOf({ word, words, handle }: AddTask): () => void {
  if (word === null) {
    const { hits } = attach(handle) as { hits: Counter };
    return () => {
      for (let i = 0; i < BATCH; i++) hits.add();
    };
  }
  return () => {
    for (let i = 0; i < BATCH; i++) Atomics.add(words, word, 1n);
  };
}

async function measureCounting(variant: (typeof ADDS)[number], ms: number): Promise<number> {
  const { buffer, originBytes } = allocate(ROW_BYTES, COLOUR_BYTES, misalignmentOf);
  const words = new BigInt64Array(buffer, originBytes, ROW_BYTES / 8);
  const handle = handleOf(arena('bench', { hits: counter() }));
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const running = Array.from({ length: ADDERS }, (_, index) => {
    const word = variant === 'add, counter()' ? null : variant === 'add, one word' ? 0 : index;
    return new Worker(__filename, { workerData: { word, words, handle, flag } satisfies AddTask });
  });
  return measureAdding(running, flag, ms);
}

/** Makes a ring of the words at `offsets`, in random order. Returns the first. */
function linkUp(words: Int32Array, offsets: readonly number[]): number {
  const random = seededRandom(1);
  const order = offsets.map((offset) => offset / 4);
  for (let i = order.length - 1; i > 0; i--) {
    const other = random() % (i + 1);
    [order[i], order[other]] = [order[other] as number, order[i] as number];
  }
  order.forEach((at, i) => {
    words[at] = order[(i + 1) % order.length] as number;
  });
  return order[0] as number;
}

/** Mean ns per step. */
function walk(words: Int32Array, first: number, ms: number): number {
  let at = first;
  const steps = (turns: number) => {
    for (let i = 0; i < turns; i++) at = words[at] as number;
  };
  for (const until = performance.now() + WARMUP_MS; performance.now() < until; ) steps(BATCH);
  let done = 0;
  const startedAt = performance.now();
  while (performance.now() - startedAt < ms) {
    steps(10 * BATCH);
    done += 10 * BATCH;
  }
  if (at < 0) throw new Error('unreachable: it keeps the walk from being optimised away');
  return ((performance.now() - startedAt) * 1e6) / done;
}

function measureWalk(variant: keyof typeof WALKS, ms: number): number {
  const { count, bytes, coloured } = WALKS[variant];
  const names = Array.from({ length: bytes / 8 }, (_, i) => `field${i}`);
  const fields = Object.fromEntries(names.map((name) => [name, 'int64' as const]));
  const { strideBytes, skewShift } = layOut(count, fields, !coloured, COLOUR_BYTES);
  const offsets = Array.from(
    { length: count },
    (_, i) => i * strideBytes + (i >>> skewShift) * ROW_BYTES,
  );
  const size = (offsets.at(-1) as number) + strideBytes;
  const { buffer, originBytes } = allocate(size, COLOUR_BYTES, misalignmentOf);
  const words = new Int32Array(buffer, originBytes, size / 4);
  return walk(words, linkUp(words, offsets), ms);
}

function measureRoam(variant: (typeof ROAMS)[number], ms: number): number {
  const { buffer, originBytes } = allocate(ROAM_BYTES, HUGE_BYTES, misalignmentOf);
  const words = new Int32Array(buffer, originBytes, ROAM_BYTES / 4);
  if (variant === 'roam, huge pages') adviseHuge(words, HUGE_BYTES);
  const offsets = Array.from({ length: ROAM_BYTES / ROW_BYTES }, (_, i) => i * ROW_BYTES);
  return walk(words, linkUp(words, offsets), ms);
}

async function measureHere(variant: string, ms: number): Promise<number> {
  if (variant.startsWith('add')) return measureCounting(variant as (typeof ADDS)[number], ms);
  if (variant.startsWith('roam')) return measureRoam(variant as (typeof ROAMS)[number], ms);
  return measureWalk(variant as keyof typeof WALKS, ms);
}

async function measureInProcess(variant: string, ms: number): Promise<number> {
  const args = [__filename, '--measure', variant, String(ms)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}

if (!isMainThread) {
  const task = workerData as AddTask;
  addUntilStopped(batchOf(task), task.flag);
} else if (process.argv[2] === '--measure') {
  const [variant = '', ms] = process.argv.slice(3);
  measureHere(variant, Number(ms)).then((ns) => process.stdout.write(String(ns)));
} else {
  run({
    name: 'arena',
    question: 'what do rows, colours and huge pages save, and where do they save nothing?',
    pinning: 'none; the operating system places the threads',
    flags: { rounds: 9, ms: 500 },
    metrics: { cost: { unit: 'ns per operation', digits: 2, better: 'less' } },
    variants: [...ADDS, ...Object.keys(WALKS), ...ROAMS],
    comparisons: [
      ['add, one word', 'add, counter()'],
      ['add, neighbours', 'add, counter()'],
      ['walk 64 × 4096, close', 'walk 64 × 4096, coloured'],
      ['walk 8 × 4096, close', 'walk 8 × 4096, coloured'],
      ['walk 64 × 128, close', 'walk 64 × 128, coloured'],
      ['roam, pages', 'roam, huge pages'],
    ].map(([of = '', to = '']) => ({ metric: 'cost' as const, of, to })),
    check() {
      if (os.availableParallelism() < ADDERS) throw new CannotRun('it needs two CPUs');
    },
    measure: async (variant, { ms = 0 }) => ({ cost: await measureInProcess(variant, ms) }),
  });
}
