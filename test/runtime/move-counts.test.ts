/**
 * What went from which worker to which other, out of what their threads counted.
 */
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import { movesOf, ringOf } from '../../src/runtime/move-counts.js';
import { Slots } from '../../src/runtime/slots.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';

/** Three workers, of which 0 and 1 are near to each other, and a spare. */
const RINGS = [[[1], [2]], [[0], [2]], [[0, 1]]];

t.test('pairs are those of workers, whichever of their threads it was', async (t) => {
  const slots = new Slots(3, 1);
  const board = Scoreboard.create(slots.total, misalignmentOf);
  t.same(movesOf(board, slots, RINGS), []);
  const [first, twin, spare] = [0, 3, 6];
  board.own(first).gave(1, 2);
  board.own(twin).gave(4, 3); // the other threads of both
  board.governor(first).paused(2, { taken: 5, mismatches: 0, failures: 0, us: 10 });
  board.governor(first).paused(spare, { taken: 1, mismatches: 0, failures: 0, us: 10 });
  board.own(spare).gave(2, 1);
  board.own(first).gave(twin, 7); // to its successor: no other worker
  const moves = movesOf(board, slots, RINGS);
  const sorted = moves.sort((a, b) => a.from - b.from || a.to - b.to);
  t.same(sorted, [
    { from: 0, to: 1, given: 5, rescued: 0, ring: 1 },
    { from: 0, to: 2, given: 0, rescued: 5, ring: 2 },
    { from: 0, to: 3, given: 0, rescued: 1, ring: null },
    { from: 3, to: 2, given: 1, rescued: 0, ring: null },
  ]);
});

t.test('the nearest ring is the first', async (t) => {
  t.same([ringOf(RINGS, 0, 1), ringOf(RINGS, 0, 2), ringOf(RINGS, 2, 1)], [1, 2, 1]);
  t.same([ringOf(RINGS, 0, 3), ringOf(RINGS, 3, 0)], [null, null], 'spares are in none');
});
