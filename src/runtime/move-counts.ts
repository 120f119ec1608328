/**
 * What went from which worker to which other, out of what each thread counted. Pure.
 */
import type { Rings } from '../scheduler/neighbourhood.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { Slots } from './slots.js';

/** Connections that went from one worker, or spare, to another since the start. */
export interface MoveCount {
  /** Number of the worker that had them. */
  readonly from: number;
  /** Number of the one that got them. */
  readonly to: number;
  /** Which of the rings around `from`, the nearest being 1, has `to`; null: one of them is a spare. */
  readonly ring: number | null;
  /** Given by `from` itself, modulo 2^32. */
  readonly given: number;
  /** Taken from it by the governor while it stood still, modulo 2^32. */
  readonly rescued: number;
}

/** 1, 2, …; null if `rings` of one of them do not have the other. */
export function ringOf(rings: readonly Rings[], from: number, to: number): number | null {
  const ring = rings[from]?.findIndex((workers) => workers.includes(to)) ?? -1;
  return ring < 0 ? null : ring + 1;
}

/**
 * Pairs between which anything went; not between two threads of one worker.
 *
 * @param rings of each worker, by its number
 */
export function movesOf(board: Scoreboard, slots: Slots, rings: readonly Rings[]): MoveCount[] {
  const counts = new Map<string, { from: number; to: number; given: number; rescued: number }>();
  for (let giver = 0; giver < slots.total; giver++) {
    // Most have given nothing, and then there are no pairs to look at.
    const { given: anyGiven, rescued: anyRescued } = board.read(giver);
    if (anyGiven === 0 && anyRescued === 0) continue;
    for (let recipient = 0; recipient < slots.total; recipient++) {
      const [from, to] = [slots.indexOf(giver), slots.indexOf(recipient)];
      const [given, rescued] = [board.given(giver, recipient), board.taken(giver, recipient)];
      if (from === to || given + rescued === 0) continue;
      const key = `${from} ${to}`;
      const before = counts.get(key) ?? { given: 0, rescued: 0 };
      counts.set(key, {
        ...{ from, to },
        given: (before.given + given) >>> 0,
        rescued: (before.rescued + rescued) >>> 0,
      });
    }
  }
  return [...counts.values()].map((count) => ({
    ...count,
    ring: ringOf(rings, count.from, count.to),
  }));
}
