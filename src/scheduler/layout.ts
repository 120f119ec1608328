/**
 * Everything in shared memory, word by word. This is the only file that knows an
 * offset; all others name the word. Constants, for any thread. There are five blocks of memory: the
 * scoreboard, the mailboxes, the connection table, the hands of the governor and the offers; and one more
 * for each source of datagrams. Spares are workers here: their rows and mailboxes come after those of the
 * workers that accept by themselves.
 *
 * A word is one Int32. Every word has one writer at a time, except the doorbell, PLACES, the offers and OWNER in
 * the connection table, so a store needs no read-modify-write and every operation is wait-free, but for
 * taking a place. Who writes a word that is another's loses what that wrote. Rows of
 * different writers are ROW_BYTES apart, so that no two writers share a cache line:
 * x86 fetches lines of 64 bytes in adjacent pairs, and some arm64 cores have
 * lines of 128.
 *
 * ## Scoreboard
 *
 *     row                      | count   | written by
 *     -------------------------+---------+----------------------------------------
 *     BLOCK                    | 1       | main, before any worker starts
 *     PLACES                   | 2       | whoever takes a place or gives one back;
 *                              |         | read-modify-write only
 *     SUPERVISOR row of worker | workers | main
 *     WORKER row of worker     | workers | that worker (some words natively)
 *     GOVERNOR row of worker   | workers | governor
 *     NEWCOMERS row of worker  | workers | that worker
 *     ITERATIONS row of worker | workers | that worker, natively
 *     REQUESTS row of worker   | workers | that worker
 *     GAVE rows of worker      | workers | that worker; one word per recipient
 *     GIVEN rows of worker     | workers | that worker; one word per recipient
 *     TAKEN rows of worker     | workers | governor; one word per recipient
 *
 * | row        | word         | unit       | at start | meaning                        |
 * |------------|--------------|------------|----------|--------------------------------|
 * | BLOCK      | VERSION      | –          | VERSION  | layout version, else not ours  |
 * | BLOCK      | WORKERS      | count      | n        | number of rows of each kind    |
 * | PLACES     | CONNECTIONS  | count      | 0        | accepted and not closed, in all|
 * |            |              |            |          | workers and between them       |
 * | PLACES     | REQUESTS     | count      | 0        | HTTP requests to be answered,  |
 * |            |              |            |          | in all workers                 |
 * | SUPERVISOR | STATE        | index      | 0        | index in {@link WORKER_STATES} |
 * | SUPERVISOR | CPU          | CPU number | -1       | CPU it is pinned to, -1: none  |
 * | SUPERVISOR | PEER         | –          | 0        | what wakes its loop, 0: nothing|
 * | SUPERVISOR | WAKER        | –          | 0        | the same where nothing moves   |
 * | WORKER     | TID          | –          | 0        | kernel thread id, 0: unknown   |
 * | WORKER     | LOOPS        | count      | 0        | loop iterations; native        |
 * | WORKER     | HEARTBEAT_MS | ms         | 0        | loop clock at the last, or at  |
 * |            |              |            |          | the thread's start; native     |
 * | WORKER     | CONNECTIONS  | count      | 0        | connections that it has, and   |
 * |            |              |            |          | those that were taken from it  |
 * | WORKER     | ACCEPTED     | count      | 0        | connections ever accepted      |
 * | WORKER     | OUTSTANDING  | events     | 0        | ready when it looked; native   |
 * | WORKER     | ROUNDS       | count      | 0        | rounds run                     |
 * | WORKER     | GIVEN        | count      | 0        | events given away              |
 * | WORKER     | RECEIVED     | count      | 0        | events received                |
 * | WORKER     | HELD         | count      | 0        | connections it must keep       |
 * | WORKER     | REFUSED      | count      | 0        | its moves that were not made   |
 * | WORKER     | MISMATCHES   | count      | 0        | not at their boundary after all|
 * | WORKER     | FAILURES     | count      | 0        | system calls that failed       |
 * | WORKER     | MESSAGES     | count      | 0        | HTTP messages that have begun  |
 * | WORKER     | ARMED        | –          | 0        | 1: it follows messages; native |
 * | WORKER     | FD_END       | –          | 0        | above its highest descriptor   |
 * | WORKER     | IN_FLIGHT    | count      | 0        | HTTP requests it has to answer |
 * | WORKER     | SHED         | count      | 0        | what it refused for overload   |
 * | WORKER     | ACCEPTING    | index      | 0        | index in {@link ACCEPTING_STATES} |
 * | WORKER     | HAND         | –          | 0        | descriptor of a connection that|
 * |            |              |            |          | it has made and not yet passed |
 * |            |              |            |          | on, or taken out of a mailbox, |
 * |            |              |            |          | and no handle's yet; <= 0: none|
 * | GOVERNOR   | RESCUED      | count      | 0        | events taken from it           |
 * | GOVERNOR   | PAUSES       | count      | 0        | safepoints it was held at      |
 * | GOVERNOR   | PAUSE_US     | µs         | 0        | total time of these            |
 * | GOVERNOR   | MISMATCHES   | count      | 0        | not at their boundary after all|
 * | GOVERNOR   | FAILURES     | count      | 0        | system calls that failed       |
 * | GOVERNOR   | REFUSED      | count      | 0        | moves that could not be made   |
 * | GOVERNOR   | RINGS        | count      | 0        | rings around its CPU on which  |
 * |            |              |            |          | it may run as well             |
 * | GOVERNOR   | WIDENED      | count      | 0        | times that it got one more     |
 * | GOVERNOR   | NARROWED     | count      | 0        | times that it lost one         |
 * | GOVERNOR   | TAKEN        | count      | 0        | connections taken from it;     |
 * |            |              |            |          | native, while it is paused     |
 * | GOVERNOR   | PAUSES_BY_US | count      | 0        | [i]: pauses shorter than       |
 * |            | [0..15]      |            |          | 2^(i + 3) µs, not 2^(i + 2)    |
 * | NEWCOMERS  | OPENED       | count      | 0        | connections it ever opened     |
 * | NEWCOMERS  | FDS [0..30]  | –          | 0        | [n % 31]: descriptor of the    |
 * |            |              |            |          | n-th of them                   |
 * | ITERATIONS | SUM_NS       | ns         | 0        | how long its loop was busy;    |
 * |            |              |            |          | Float64 in two words, aligned  |
 * | ITERATIONS | COUNT        | count      | 0        | events that its loop handled   |
 * | ITERATIONS | BY_US [0..27]| count      | 0        | [i]: iterations shorter than   |
 * |            |              |            |          | 2^i µs, not 2^(i - 1)          |
 * | REQUESTS   | SUM_NS       | ns         | 0        | the same of requests that were |
 * |            |              |            |          | timed                          |
 * | REQUESTS   | COUNT        | count      | 0        | requests answered, timed or not|
 * | REQUESTS   | BY_US [0..27]| count      | 0        | [i]: requests shorter than     |
 * |            |              |            |          | 2^i µs, not 2^(i - 1)          |
 * | GAVE       | [r]          | round      | 0        | its round when it last gave r  |
 * | GIVEN      | [r]          | count      | 0        | events that it gave to r       |
 * | TAKEN      | [r]          | count      | 0        | events taken from it for r     |
 *
 * Readers: main for `snapshot()`; every worker may read every row. A word is
 * read by itself: two words of a row may be from different moments. ITERATIONS and REQUESTS
 * are written only if somebody may want to know: src/admin.
 *
 * A worker has CONNECTIONS - TAKEN connections (src/scheduler/places.ts says why it is counted like
 * that). When its thread has ended, and before another has the row, main is the writer of four of its
 * WORKER words: it sets CONNECTIONS to TAKEN, IN_FLIGHT and ACCEPTING to 0, and empties HAND.
 *
 * ## Mailboxes
 *
 * Givers are the workers, then the governor, then main: {@link giversFor}.
 *
 *     row                      | count            | written by
 *     -------------------------+------------------+-------------------------------
 *     BLOCK, with CAPACITY     | 1                | main, before any worker starts
 *     bell rows of recipient   | workers          | every giver and the recipient;
 *                              |                  | read-modify-write only
 *     ring of giver, recipient | givers × workers |
 *       HEAD row, with BUSY    |                  | recipient
 *       TAIL row               |                  | giver
 *       entries                | capacity         | giver, while not published; KIND by
 *                              |                  | the governor, recipient paused
 *
 * | row       | word       | unit     | at start | meaning                              |
 * |-----------|------------|----------|----------|--------------------------------------|
 * | BLOCK     | VERSION    | –        | VERSION  | layout version, else not ours        |
 * | BLOCK     | WORKERS    | count    | n        | number of recipients                 |
 * | BLOCK     | CAPACITY   | entries  | capacity | entries in each ring; a power of two |
 * | bell      | [g / 32]   | bit set  | 0        | bit g % 32: giver g has put something|
 * | HEAD      | 0          | entries  | start    | ever taken; free-running             |
 * | HEAD      | BUSY       | –        | 0        | 1: entry HEAD may be half taken      |
 * | TAIL      | 0          | entries  | start    | ever put; free-running               |
 * | entry     | KIND       | –        | 0        | one of {@link EntryKind}                  |
 * | entry     | FD         | –        | 0        | descriptor                           |
 * | entry     | LISTENER   | –        | 0        | what it was accepted from            |
 * | entry     | GENERATION | count    | 0        | of FD in the connection table        |
 * | entry     | BOUNDARY   | bytes    | 0        | Float64 in two words, 8-byte aligned |
 *
 * ## Connection table
 *
 * One entry of CONNECTION_WORDS for each descriptor number, at word
 * `fd * CONNECTION_WORDS`. Written by the worker that owns the descriptor, and by
 * the governor while it has that worker paused: never two at a time. While nobody owns it, its writer is
 * whoever has just made the descriptor, or has taken it out of a mailbox. Only OWNER has another
 * writer, by compare-and-swap: main takes away the name of a thread that has ended. An entry is a row:
 * neighbouring descriptors belong to different workers, which write them for each request
 * (sharing lines cost a hello-world server 2% of its throughput).
 *
 * | word       | unit  | at start | meaning                                            |
 * |------------|-------|----------|----------------------------------------------------|
 * | OWNER      | –     | 0        | index of the worker + 1; 0: nobody                 |
 * | STATE      | –     | 0        | one of {@link ConnectionState}                     |
 * | LISTENER   | –     | 0        | what it was accepted from                          |
 * | GENERATION | count | 0        | connections that ever had this number; free-running|
 * | BOUNDARY   | bytes | 0        | consumed by the application at the last boundary;  |
 * |            |       |          | Float64 in two words, 8-byte aligned               |
 * | SOCKET     | –     | 0        | lower half of its SO_COOKIE; 0: not known          |
 *
 * Other words of an entry, here and in a mailbox, are spare.
 *
 * ## Hands of the governor
 *
 * What it has taken from a worker and not yet passed on. Written by the governor; after its end
 * main's.
 *
 * | word            | unit  | at start | meaning                                          |
 * |-----------------|-------|----------|--------------------------------------------------|
 * | VICTIM          | index | 0        | of the worker that it was taken from             |
 * | COUNT           | count | 0        | entries; <= 0: none                              |
 * | entry           |       |          | as native/taking.h's Taken, in 8 words:          |
 * |   KIND          | –     |          | one of {@link EntryKind}; NOTHING: passed on     |
 * |   FD, OLD_FD    | –     |          | new descriptor; old one, below 0: there was none |
 * |   LISTENER, GENERATION, BOUNDARY |  | as in a mailbox                               |
 *
 * ## Offers
 *
 * Firings that main has posted to a worker, and whether their handlers have begun: one word for
 * each place, OFFER_PLACES places for each worker, in rows of its own. Written by main while a
 * place is free or its worker has ended, else by compare-and-swap only; offers.ts has the table.
 *
 * | row    | word    | unit  | at start | meaning                                             |
 * |--------|---------|-------|----------|-----------------------------------------------------|
 * | BLOCK  | VERSION | –     | VERSION  | layout version, else not ours                       |
 * | BLOCK  | WORKERS | count | n        | number of workers                                   |
 * | places | [p]     | –     | 0        | 0: free; n > 0: offer n waits; -n: its handler began|
 *
 * ## Receptions
 *
 * What the workers have read from one source of datagrams: a row for each, written by it.
 *
 * | row        | word     | unit  | at start | meaning                             |
 * |------------|----------|-------|----------|-------------------------------------|
 * | BLOCK      | VERSION  | –     | VERSION  | layout version, else not ours       |
 * | BLOCK      | WORKERS  | count | n        | number of workers                   |
 * | reception  | RECEIVED | count | 0        | datagrams that it took; native      |
 * | reception  | SETTLED  | count | 0        | of these, whose handler has settled |
 * | reception  | FAILED   | count | 0        | of these, whose handler has failed  |
 *
 * Counters (`count` and `entries` above, except WORKERS, those of PLACES, IN_FLIGHT, HELD, RINGS and CAPACITY)
 * run free: src/scheduler/counter.ts.
 */

export const VERSION = 5;
export const WORD_BYTES = 4;
export const ROW_BYTES = 128;
export const ROW_WORDS = ROW_BYTES / WORD_BYTES;

/** Most workers that one runtime may have. */
export const WORKERS_MAX = 1024;

/** The first row of each block but the connection table and the hands: memory.ts. */
export const BLOCK = { VERSION: 0, WORKERS: 1 } as const;
/** Each in a row of its own: one is written for each connection, the other for each request. */
export const PLACES = { CONNECTIONS: 0, REQUESTS: ROW_WORDS } as const;
const PLACES_ROWS = 2;
export const SUPERVISOR = { STATE: 0, CPU: 1, PEER: 2, WAKER: 3 } as const;
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
  HELD: 9,
  REFUSED: 10,
  MISMATCHES: 11,
  FAILURES: 12,
  MESSAGES: 13,
  ARMED: 14,
  FD_END: 15,
  IN_FLIGHT: 16,
  SHED: 17,
  ACCEPTING: 18,
  HAND: 19,
} as const;
export const GOVERNOR = {
  RESCUED: 0,
  PAUSES: 1,
  PAUSE_US: 2,
  MISMATCHES: 3,
  FAILURES: 4,
  REFUSED: 5,
  RINGS: 6,
  WIDENED: 7,
  PAUSES_BY_US: 8,
  NARROWED: 24,
  TAKEN: 25,
} as const;
export const NEWCOMERS = { OPENED: 0, FDS: 1 } as const;
/** Descriptors in a NEWCOMERS row: native/peer.h has the same number. */
export const NEWCOMERS_MAX = ROW_WORDS - NEWCOMERS.FDS;
/** Of an ITERATIONS and of a REQUESTS row. */
export const TIMES = { SUM_NS: 0, COUNT: 2, BY_US: 4 } as const;
/** Words of TIMES.BY_US; the last counts everything from 67 s on. */
export const TIME_BUCKETS = ROW_WORDS - TIMES.BY_US;
/** SUPERVISOR, WORKER, GOVERNOR, NEWCOMERS, ITERATIONS and REQUESTS. */
const ROWS_OF_ONE = 6;
/** The block's first and PLACES. */
const COMMON_ROWS = 1 + PLACES_ROWS;
/** Words of GOVERNOR.PAUSES_BY_US; the last counts everything from 131 ms on. */
export const PAUSE_BUCKETS = 16;

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
/**
 * What a worker is at: `empty` (there was none yet), `starting`, `serving` (it listens),
 * `draining` (it was told to stop, and finishes what is in flight) or `exited`.
 */
export type WorkerStateName = (typeof WORKER_STATES)[number];

/**
 * WORKER.ACCEPTING is an index into this list.
 *
 * - accepts: new connections are accepted as they come, or it listens on nothing
 * - at-limit: they wait in the kernel, because there are as many as there may be
 * - no-descriptors: they wait, because descriptors or the kernel's memory run out
 */
export const ACCEPTING_STATES = ['accepts', 'at-limit', 'no-descriptors'] as const;
/**
 * `'accepts'`: new connections are accepted as they come. `'at-limit'`: they wait in the kernel,
 * because there are as many as there may be. `'no-descriptors'`: they wait, because descriptors
 * or the kernel's memory run out.
 */
export type AcceptingState = (typeof ACCEPTING_STATES)[number];

/** Rows of one worker with a word per recipient, padded to whole rows. */
function rowsPerRecipient(workers: number): number {
  return Math.ceil(workers / ROW_WORDS);
}

/** Kinds of these: GAVE, GIVEN and TAKEN. */
const KINDS_PER_RECIPIENT = 3;

/** Words that `workers` workers need, header included. */
export function wordsFor(workers: number): number {
  const rows = ROWS_OF_ONE + KINDS_PER_RECIPIENT * rowsPerRecipient(workers);
  return (COMMON_ROWS + workers * rows) * ROW_WORDS;
}

/** First word of the two PLACES rows. */
export function placesRow(): number {
  return ROW_WORDS;
}

/** First word of worker `index`'s SUPERVISOR row. */
export function supervisorRow(index: number): number {
  return (COMMON_ROWS + ROWS_OF_ONE * index) * ROW_WORDS;
}

/** First word of worker `index`'s WORKER row. */
export function workerRow(index: number): number {
  return supervisorRow(index) + ROW_WORDS;
}

/** First word of worker `index`'s GOVERNOR row. */
export function governorRow(index: number): number {
  return supervisorRow(index) + 2 * ROW_WORDS;
}

/** First word of worker `index`'s NEWCOMERS row. */
export function newcomersRow(index: number): number {
  return supervisorRow(index) + 3 * ROW_WORDS;
}

/** First word of worker `index`'s ITERATIONS row. */
export function iterationsRow(index: number): number {
  return supervisorRow(index) + 4 * ROW_WORDS;
}

/** First word of worker `index`'s REQUESTS row. */
export function requestsRow(index: number): number {
  return supervisorRow(index) + 5 * ROW_WORDS;
}

/** The word that is `kind`'s of worker `giver` and `recipient`. */
function pairWord(workers: number, kind: number, giver: number, recipient: number): number {
  const rows = (kind * workers + giver) * rowsPerRecipient(workers);
  return (COMMON_ROWS + ROWS_OF_ONE * workers + rows) * ROW_WORDS + recipient;
}

/** The word in which worker `giver` of `workers` keeps its round of last giving to `recipient`. */
export function gaveWord(workers: number, giver: number, recipient: number): number {
  return pairWord(workers, 0, giver, recipient);
}

/** The word in which worker `giver` of `workers` counts what it gave to `recipient`. */
export function givenWord(workers: number, giver: number, recipient: number): number {
  return pairWord(workers, 1, giver, recipient);
}

/** The word in which the governor counts what it took from worker `victim` for `recipient`. */
export function takenWord(workers: number, victim: number, recipient: number): number {
  return pairWord(workers, 2, victim, recipient);
}

export const MAILBOXES = { ...BLOCK, CAPACITY: 2 } as const;
export const MAILBOX_ENTRY = { KIND: 0, FD: 1, LISTENER: 2, GENERATION: 3, BOUNDARY: 4 } as const;
export const ENTRY_WORDS = 8;

/**
 * MAILBOX_ENTRY.KIND.
 *
 * - NOTHING: the governor has taken it back
 * - CONNECTION: adopt FD, a connection that another worker had
 * - DROP: drop the wrapper of FD, whose connection was taken
 * - ACCEPTED: adopt FD, fresh from accept4(2)
 */
export const EntryKind = { NOTHING: 0, CONNECTION: 1, DROP: 2, ACCEPTED: 3 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** In one word of a doorbell. */
const BELL_BITS = 32;

/** Most entries that one ring may have; no evidence, a bound on memory. */
export const CAPACITY_MAX = 65_536;

/** How many may put into mailboxes: each worker, the governor and main, in this order. */
export function giversFor(workers: number): number {
  return workers + 2;
}

/** Words of one recipient's doorbell that hold bits. */
export function bellWords(workers: number): number {
  return Math.ceil(giversFor(workers) / BELL_BITS);
}

function paddedWords(words: number): number {
  return Math.ceil(words / ROW_WORDS) * ROW_WORDS;
}

/** First word of `recipient`'s doorbell. */
export function bellRow(workers: number, recipient: number): number {
  return ROW_WORDS + recipient * paddedWords(bellWords(workers));
}

/** Which word of a doorbell `giver` rings. */
export function bellWord(giver: number): number {
  return Math.floor(giver / BELL_BITS);
}

/** And which bit of it. */
export function bellBit(giver: number): number {
  return 1 << (giver % BELL_BITS);
}

function ringWords(capacity: number): number {
  return 2 * ROW_WORDS + paddedWords(capacity * ENTRY_WORDS);
}

/** Word HEAD of the ring from `giver` to `recipient`. */
export function headWord(
  workers: number,
  capacity: number,
  giver: number,
  recipient: number,
): number {
  return bellRow(workers, workers) + (recipient * giversFor(workers) + giver) * ringWords(capacity);
}

/** Word BUSY of the ring whose HEAD is at `head`. */
export function busyWord(head: number): number {
  return head + 1;
}

/** Word TAIL of the ring whose HEAD is at `head`. */
export function tailWord(head: number): number {
  return head + ROW_WORDS;
}

/** First word of entry `position` of the ring whose HEAD is at `head`. */
export function entryWord(head: number, capacity: number, position: number): number {
  return head + 2 * ROW_WORDS + (position & (capacity - 1)) * ENTRY_WORDS;
}

/** Words that the mailboxes of `workers` workers need, header included. */
export function mailboxWordsFor(workers: number, capacity: number): number {
  return headWord(workers, capacity, 0, workers);
}

/** In WORKER.HAND beside the descriptor: it was accepted for somebody else, and nobody has had it yet. */
export const HAND_ACCEPTED = 1 << 30;
export const HANDS = { VICTIM: 0, COUNT: 1, ENTRIES: 8 } as const;
export const HANDS_ENTRY = {
  KIND: 0,
  FD: 1,
  OLD_FD: 2,
  LISTENER: 3,
  GENERATION: 4,
  BOUNDARY: 6,
} as const;

export const CONNECTION = {
  OWNER: 0,
  STATE: 1,
  LISTENER: 2,
  GENERATION: 3,
  BOUNDARY: 4,
  SOCKET: 6,
} as const;
export const CONNECTION_WORDS = ROW_WORDS;

/**
 * CONNECTION.STATE; src/scheduler/connection-table.ts says who may change which.
 *
 * - UNTRACKED: no connection that could move
 * - FRESH: accepted, nothing read yet
 * - BETWEEN: between two messages
 * - IN_MESSAGE: a message has begun and is not finished
 * - TAKEN: moved away by the governor; its old number awaits the owner's close
 * - GIVING: its owner is giving it away in this moment
 * - HELD: the application keeps it
 * - LISTENING: no connection but a listening socket that the worker accepts from
 * - IN_TRANSIT: on its way through a mailbox; nobody has adopted it yet
 */
export const ConnectionState = {
  UNTRACKED: 0,
  FRESH: 1,
  BETWEEN: 2,
  IN_MESSAGE: 3,
  TAKEN: 4,
  HELD: 5,
  LISTENING: 6,
  IN_TRANSIT: 7,
  GIVING: 8,
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

/** Most descriptors that are tracked: Linux's usual limit on a process's limit (fs.nr_open). */
export const DESCRIPTORS_MAX = 1_048_576;

/**
 * Firings that one worker may have at once, unsettled. A multiple of ROW_WORDS; no evidence, a
 * bound on memory: what is more waits in main, where it may yet go to another worker.
 */
export const OFFER_PLACES = 256;

/** The first place of worker `index`. */
export function offerPlaces(index: number): number {
  return ROW_WORDS + index * OFFER_PLACES;
}

/** Words that the offers to `workers` workers need, header included. */
export function offerWordsFor(workers: number): number {
  return offerPlaces(workers);
}

export const RECEPTION = { RECEIVED: 0, SETTLED: 1, FAILED: 2 } as const;

/** First word of worker `index`'s row. */
export function receptionRow(index: number): number {
  return (1 + index) * ROW_WORDS;
}

/** Words that the receptions of `workers` workers need, header included. */
export function receptionWordsFor(workers: number): number {
  return receptionRow(workers);
}
