/**
 * What each worker has read from one source of datagrams, in shared memory: exact even when its
 * thread ends at any instruction, because a datagram is counted by the native call that takes
 * it. Workers write their own row each; main reads. Wait-free.
 */
import { add, difference } from './counter.js';
import { RECEPTION, RECEPTIONS, receptionRow, receptionWordsFor, VERSION } from './layout.js';
import { allocateWords, type Misalignment } from './memory.js';

/** Counts modulo 2^32. */
export interface Reception {
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
    const words = allocateWords(receptionWordsFor(workers), misalignmentOf);
    words[RECEPTIONS.VERSION] = VERSION;
    words[RECEPTIONS.WORKERS] = workers;
    return new Receptions(words);
  }

  static attach(words: Int32Array<SharedArrayBuffer>): Receptions {
    if (words[RECEPTIONS.VERSION] !== VERSION) {
      throw new RangeError(`receptions version ${words[RECEPTIONS.VERSION]} is not ${VERSION}`);
    }
    return new Receptions(words);
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
      for (let worker = 0; worker < (this.words[RECEPTIONS.WORKERS] as number); worker++) {
        count = (count + Atomics.load(this.words, receptionRow(worker) + word)) >>> 0;
      }
      return count;
    };
    const failed = sum(RECEPTION.FAILED);
    const settled = sum(RECEPTION.SETTLED);
    return { received: sum(RECEPTION.RECEIVED), settled, failed };
  }
}
