/**
 * Everything in shared memory, word by word. This is the only file that knows an
 * offset; all others name the word.
 *
 * A word is one Int32. Every word has one writer, so a store needs no
 * read-modify-write and every operation on it is wait-free. Rows of different
 * writers are ROW_BYTES apart, so that no two writers share a cache line:
 * x86 fetches lines of 64 bytes in adjacent pairs, and some arm64 cores have
 * lines of 128.
 *
 *     row                      | count   | written by
 *     -------------------------+---------+----------------------------------------
 *     HEADER                   | 1       | main, before any worker starts
 *     SUPERVISOR row of worker | workers | main
 *     WORKER row of worker     | workers | that worker (two words natively)
 *     GOVERNOR row of worker   | workers | governor
 *     GAVE rows of worker      | workers | that worker; one word per recipient
 *
 * | row        | word         | unit       | at start | meaning                        |
 * |------------|--------------|------------|----------|--------------------------------|
 * | HEADER     | VERSION      | –          | VERSION  | layout version, else not ours  |
 * | HEADER     | WORKERS      | count      | n        | number of rows of each kind    |
 * | SUPERVISOR | STATE        | index      | 0        | index in {@link WORKER_STATES} |
 * | SUPERVISOR | CPU          | CPU number | -1       | CPU it is pinned to, -1: none  |
 * | WORKER     | TID          | –          | 0        | kernel thread id, 0: unknown   |
 * | WORKER     | LOOPS        | count      | 0        | loop iterations; native        |
 * | WORKER     | HEARTBEAT_MS | ms         | 0        | loop clock at the last; native |
 * | WORKER     | CONNECTIONS  | count      | 0        | open accepted connections      |
 * | WORKER     | ACCEPTED     | count      | 0        | connections ever accepted      |
 * | WORKER     | OUTSTANDING  | events     | 0        | ready and not handled; *       |
 * | WORKER     | ROUNDS       | count      | 0        | rounds run; *                  |
 * | WORKER     | GIVEN        | count      | 0        | events given away; *           |
 * | WORKER     | RECEIVED     | count      | 0        | events received; *             |
 * | GOVERNOR   | RESCUED      | count      | 0        | events taken for it; *         |
 * | GAVE       | [r]          | round      | 0        | its round when it last gave r; *|
 *
 * \* Laid out for the moving of connections, which this version does not have
 * (`capabilities.move`): nothing writes these words yet, and no snapshot shows them.
 *
 * Readers: main for `snapshot()`; every worker may read every row. A word is
 * read by itself: two words of a row may be from different moments.
 *
 * Counters (`count` above, except WORKERS and CONNECTIONS) run free: they wrap
 * from 2^31 - 1 to -2^31 and are only ever compared by {@link difference}.
 */

export const VERSION = 1;
export const WORD_BYTES = 4;
export const ROW_BYTES = 128;
export const ROW_WORDS = ROW_BYTES / WORD_BYTES;

/** Most workers that one runtime may have. */
export const WORKERS_MAX = 1024;

export const HEADER = { VERSION: 0, WORKERS: 1 } as const;
export const SUPERVISOR = { STATE: 0, CPU: 1 } as const;
export const WORKER = {
  TID: 0,
  LOOPS: 1,
  HEARTBEAT_MS: 2,
  CONNECTIONS: 3,
  ACCEPTED: 4,
  OUTSTANDING: 5,
  ROUNDS: 6,
  GIVEN: 7,
  RECEIVED: 8,
} as const;
export const GOVERNOR = { RESCUED: 0 } as const;

/**
 * SUPERVISOR.STATE is an index into this list.
 *
 * - empty: no thread yet
 * - starting: spawned, does not listen yet
 * - serving: listens
 * - draining: was told to stop and finishes what is in flight
 * - exited: its thread has ended
 */
export const WORKER_STATES = ['empty', 'starting', 'serving', 'draining', 'exited'] as const;
export type WorkerStateName = (typeof WORKER_STATES)[number];

/** Rows that hold one worker's GAVE words: one word per recipient, padded to whole rows. */
function gaveRows(workers: number): number {
  return Math.ceil(workers / ROW_WORDS);
}

/** Words that `workers` workers need, header included. */
export function wordsFor(workers: number): number {
  return (1 + workers * (3 + gaveRows(workers))) * ROW_WORDS;
}

/** First word of worker `index`'s SUPERVISOR row. */
export function supervisorRow(index: number): number {
  return (1 + 3 * index) * ROW_WORDS;
}

/** First word of worker `index`'s WORKER row. */
export function workerRow(index: number): number {
  return (2 + 3 * index) * ROW_WORDS;
}

/** First word of worker `index`'s GOVERNOR row. */
export function governorRow(index: number): number {
  return (3 + 3 * index) * ROW_WORDS;
}

/** The word in which worker `giver` of `workers` keeps its round of last giving to `recipient`. */
export function gaveWord(workers: number, giver: number, recipient: number): number {
  return (1 + 3 * workers + giver * gaveRows(workers)) * ROW_WORDS + recipient;
}

/**
 * How far the free-running counter `later` is ahead of `earlier`, right across
 * the wrap as long as they are less than 2^31 apart.
 */
export function difference(later: number, earlier: number): number {
  return (later - earlier) | 0;
}
