/**
 * What each worker has read from one source of datagrams, in shared memory: exact even when its
 * thread ends at any instruction, because a datagram is counted by the native call that takes
 * it. Workers' threads write their own row each; main reads. Wait-free. A second writer of a row loses counts.
 *
 * Invariant: RECEIVED - SETTLED is what handlers are at, never less; so SETTLED is read first.
 * Rejected: to count in JavaScript, after the call. V8 may end the thread in between.
 * Tests: test/scheduler/receptions.test.ts; threads that end are in test/sources/datagram.test.ts.
 */
import { add, difference } from './counter.js';
import { BLOCK, RECEPTION, receptionRow, receptionWordsFor } from './layout.js';
import { attachBlock, createBlock, type Misalignment } from './memory.js';

/** Counts modulo 2^32. */
interface Reception {
  readonly received: number;
  readonly settled: number;
  readonly failed: number;
}

export class Receptions {
  /** Pass it to another thread to share the counts. */
  readonly words: Int32Array<SharedArrayBuffer>;

  private constructor(words: Int32Array<SharedArrayBuffer>) {
    this.words = words;
  }

  static create(workers: number, misalignmentOf: Misalignment | null): Receptions {
    return new Receptions(createBlock(workers, receptionWordsFor(workers), misalignmentOf));
  }

  static attach(words: Int32Array<SharedArrayBuffer>): Receptions {
    return new Receptions(attachBlock(words));
  }

  /** Index of the word that counts what `worker` takes; the native call adds to it. */
  receivedIndex(worker: number): number {
    return receptionRow(worker) + RECEPTION.RECEIVED;
  }

  /** A handler of `worker` has settled. That worker only. */
  settled(worker: number, failed: boolean): void {
    add(this.words, receptionRow(worker) + RECEPTION.SETTLED, 1);
    if (failed) add(this.words, receptionRow(worker) + RECEPTION.FAILED, 1);
  }

  /** Datagrams that `worker` has taken and whose handlers have not settled, of all its threads. */
  unsettled(worker: number): number {
    // In this order: what settles in between is not counted twice.
    const settled = Atomics.load(this.words, receptionRow(worker) + RECEPTION.SETTLED);
    const received = Atomics.load(this.words, this.receivedIndex(worker));
    return difference(received, settled);
  }

  /** The sum over all workers. */
  total(): Reception {
    const sum = (word: number) => {
      let count = 0;
      for (let worker = 0; worker < (this.words[BLOCK.WORKERS] as number); worker++) {
        count = (count + Atomics.load(this.words, receptionRow(worker) + word)) >>> 0;
      }
      return count;
    };
    const failed = sum(RECEPTION.FAILED);
    const settled = sum(RECEPTION.SETTLED);
    return { received: sum(RECEPTION.RECEIVED), settled, failed };
  }
}
