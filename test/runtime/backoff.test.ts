/** How soon what has died is started again. */
import t from 'tap';
import { Backoff } from '../../src/runtime/backoff.js';

t.test('at once after a long life, else after a delay that doubles up to a bound', async (t) => {
  const backoff = new Backoff({ livedMs: 1_000, firstMs: 100, maxMs: 450 });
  const after = (...lives: number[]) => lives.map((livedMs) => backoff.after(livedMs));
  t.same(after(1_000, 0, 999, 5, 5), [0, 100, 200, 400, 450]);
  t.same(after(1_000, 0), [0, 100], 'a long life is a new beginning');
  backoff.reset();
  t.same(after(0), [100]);
});
