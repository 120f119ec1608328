import t from 'tap';
import {
  delaysByOthers,
  Meter,
  type OwnThread,
  type Usage,
} from '../../src/scheduler/run-delay.js';

const BASE: Usage = { runMs: 1_000, delayMs: 500, runs: 300, cpu: 0, runnable: false };

t.test('a meter tells what came since the reading before', async (t) => {
  const meter = new Meter();
  t.equal(meter.read(BASE, 0), null, 'the first is what the others are compared with');
  const more = { ...BASE, runMs: 1_010, delayMs: 520, runs: 305 };
  t.same(meter.read(more, 100), { runMs: 10, delayMs: 20, runs: 5 });
  t.same(meter.read(more, 200), { runMs: 0, delayMs: 0, runs: 0 }, 'it sleeps');
});

t.test('a wait counts while it lasts, and not again when it is over', async (t) => {
  const meter = new Meter();
  meter.read(BASE, 0);
  const waits = { ...BASE, runMs: 1_001, runs: 301, runnable: true };
  t.match(meter.read(waits, 100), { runMs: 1, delayMs: 0 }, 'it may run at this moment');
  t.match(meter.read(waits, 200), { runMs: 0, delayMs: 100 });
  t.match(meter.read(waits, 500), { delayMs: 300 });
  // It had waited for 480 ms at 570, and went on.
  const over = { ...BASE, runMs: 1_031, delayMs: 980, runs: 302, runnable: true };
  t.match(meter.read(over, 600), { runMs: 30, delayMs: 80 });
  t.match(meter.read({ ...over, runMs: 1_131 }, 700), { runMs: 100, delayMs: 0 }, 'it runs');
});

t.test('nothing is ever negative', async (t) => {
  const meter = new Meter();
  meter.read({ ...BASE, runnable: true }, 0);
  meter.read({ ...BASE, runnable: true }, 100);
  const shorter = { ...BASE, delayMs: 590 };
  t.match(meter.read(shorter, 200), { delayMs: 0 }, 'a wait that was shorter than it seemed');
  t.match(meter.read(BASE, 300), { runMs: 0, delayMs: 0, runs: 0 });
});

const own = (home: number | null, cpu: number, runMs: number, delayMs: number): OwnThread => ({
  ...{ home, cpu, runMs, delayMs, runs: 1 },
});

t.test('who waits for another process waits for others', async (t) => {
  t.same(delaysByOthers([own(0, 0, 20, 80), own(1, 1, 100, 0)]), [80, 0]);
});

t.test('who waits for a thread of ours on the same CPU does not', async (t) => {
  t.same(delaysByOthers([own(0, 0, 50, 50), own(0, 0, 50, 50)]), [0, 0], 'its own second thread');
  t.same(
    delaysByOthers([own(0, 0, 30, 70), own(0, 0, 40, 60)]),
    [30, 30],
    'and a third, a stranger',
  );
  t.same(delaysByOthers([own(0, 0, 40, 60), own(null, 0, 60, 0)]), [0, 0], 'a spare');
  t.same(delaysByOthers([own(0, 0, 40, 60), own(null, 1, 60, 0)]), [60, 0], 'a spare elsewhere');
  t.same(delaysByOthers([own(1, 1, 40, 60), own(0, 1, 50, 50)]), [10, 50], 'a guest from CPU 0');
});
