/** Datagrams are counted by who took them, and never seem to be settled before. */
import t from 'tap';
import { ROW_WORDS } from '../../src/scheduler/layout.js';
import { Receptions } from '../../src/scheduler/receptions.js';

t.test(
  'each worker counts in a row of its own, and main adds up, next to overflow too',
  async (t) => {
    const made = Receptions.create(2, null);
    const seen = Receptions.attach(made.words);
    const rows = [0, 1].map((worker) => Math.floor(made.receivedIndex(worker) / ROW_WORDS));
    t.equal(new Set(rows).size, 2);
    made.words[made.receivedIndex(0)] = 0x7fffffff;
    made.words[made.receivedIndex(0) + 1] = 0x7fffffff;
    made.words[made.receivedIndex(0)] = (0x7fffffff + 2) | 0;
    t.equal(seen.unsettled(0), 2);
    made.settled(0, false);
    made.settled(0, true);
    made.settled(1, false);
    made.words[made.receivedIndex(1)] = 1;
    t.same([seen.unsettled(0), seen.unsettled(1)], [0, 0]);
    t.same(seen.total(), { received: 2 ** 31 + 2, settled: 2 ** 31 + 2, failed: 1 });
  },
);

t.test('memory that is not ours is refused', async (t) => {
  t.throws(() => Receptions.attach(new Int32Array(new SharedArrayBuffer(1024))), RangeError);
  t.throws(() => Receptions.create(0, null), RangeError);
});
