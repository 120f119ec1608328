import t from 'tap';
import { place } from '../../src/scheduler/placement.js';

t.test('each worker gets a CPU of its own while there are enough', async (t) => {
  t.same(place(3, [2, 5, 7, 9]), [2, 5, 7]);
  t.same(place(1, [1]), [1]);
});

t.test('with more workers than CPUs they share evenly', async (t) => {
  t.same(place(5, [4, 6]), [4, 6, 4, 6, 4]);
});

t.test('no CPU at all is a mistake', async (t) => {
  t.throws(() => place(1, []), RangeError);
});
