/**
 * Mistakes in the runtime that the simulation must find: each is one edit of one source, as
 * somebody might make it. {@link simulate} runs the sources as if it had been made.
 */
import type { Edit } from './source.js';

export interface Mutant extends Edit {
  /** What is wrong then. */
  readonly what: string;
  /** The seed from which it is looked for: harsh ones for it are rare, or it shows in others. Default 0. */
  readonly seed?: number;
}

export const MUTANTS: readonly Mutant[] = [
  {
    what: 'a giver does not note what it has in its hand',
    seed: 800,
    file: 'scheduler/hand',
    from: 'const fd = make();\n    this.#words[this.#at] = fd;',
    to: 'const fd = make();',
  },
  {
    what: 'main does not look into the hands of a governor that has died',
    seed: 2_400,
    file: 'runtime/moving',
    from: 'this.#clearHands();\n    this.#lookAgain',
    to: 'this.#lookAgain',
  },
  {
    what: 'nobody takes out what is in the mailbox of a worker that has died',
    file: 'runtime/moving',
    from: '#clear(worker: number): void {',
    to: '#clear(worker: number): void {\n    if (worker >= 0) return;',
  },
  {
    what: 'an entry whose taker died at work is delivered again although it was adopted',
    seed: 172_000,
    file: 'runtime/moving',
    from: 'if (tracked && !this.#table.isInTransit(fd, generation)) return;',
    to: '',
  },
  {
    what: 'what is being given away may be taken meanwhile',
    file: 'scheduler/connection-table',
    from: 'if (Atomics.compareExchange(this.words, at + CONNECTION.STATE, state, giving) !== state) {\n      return null;\n    }',
    to: '',
  },
  {
    what: 'what the end of a thread did not close stays open',
    file: 'runtime/ledger',
    from: 'if (copy.socket.cookie !== null) closeIfSame(fd, copy.socket.cookie);',
    to: '',
  },
  {
    what: 'a number is closed whatever it refers to by now',
    file: 'runtime/ledger',
    from: 'if (copy.socket.cookie !== null) closeIfSame(fd, copy.socket.cookie);',
    to: 'close(fd);',
  },
  {
    what: 'the socket on which somebody may listen who is about to start is closed',
    file: 'runtime/listeners',
    from: 'if (grant?.worker === worker) this.#revoke(grant, this.#events.awaitsSuccessor());',
    to: 'if (grant?.worker === worker) this.#revoke(grant);',
  },
  {
    what: 'a replacement whose predecessor dies does not take over',
    file: 'runtime/supervisor',
    from: 'seat.promote();\n      restartInMs = 0;',
    to: '',
  },
  {
    what: 'a worker that dies before its turn runs what a reload has not loaded yet',
    file: 'runtime/program',
    from: 'return this.#reloaded.get(index) ?? this.#entry;',
    to: 'return [...this.#reloaded.values()][0] ?? this.#entry;',
  },
  {
    what: 'main gives back the place of what a dead worker has in its hand',
    seed: 800,
    file: 'scheduler/supervisor-writer',
    from: 'board.connections(this.#index) - inHand',
    to: 'board.connections(this.#index)',
  },
];
