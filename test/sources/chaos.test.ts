/**
 * A timer of 100 ms whose handlers sometimes take 300 ms, crash, or never return: no firing is
 * handled twice but where the source says so, and none is lost but those it says.
 *
 * GYRE_TEST_TIMER_MS is for how long; `npm run test:sources` takes ten minutes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { setEnvironmentData } from 'node:worker_threads';
import t from 'tap';
import type { SourceFailure, TimerOptions } from '../../src/index.js';
import { app, start } from '../support/app.js';

const RUN_MS = Number(process.env.GYRE_TEST_TIMER_MS ?? 5_000);
const EVERY_MS = 100;
const HANG_MS = 300;
const MOST = Math.ceil((2 * RUN_MS) / EVERY_MS) + 1_000;

t.setTimeout(RUN_MS + 120_000);

/** What handlers of one source note: test/fixtures/apps/chaotic.js. */
function ledger() {
  const words = () => new Int32Array(new SharedArrayBuffer(4 * MOST));
  return { begun: words(), settled: words(), late: words(), order: words() };
}

t.test(`${RUN_MS} ms of two timers, one that retries and one that does not`, async (t) => {
  const ledgers = { once: ledger(), again: ledger() };
  for (const [name, shared] of Object.entries(ledgers)) setEnvironmentData(name, shared);
  const runtime = await start(t, app('chaotic.js'), {
    ...{ workers: 2, spares: 0, hangMs: HANG_MS, restarts: Number.POSITIVE_INFINITY },
  });
  runtime.on('error', () => {}); // workers die all the time
  const failures: SourceFailure[] = [];
  runtime.on('failure', (failure) => failures.push(failure));
  const options: Record<keyof typeof ledgers, TimerOptions> = {
    once: { name: 'once', everyMs: EVERY_MS },
    again: { name: 'again', everyMs: EVERY_MS, retry: true },
  };
  const startedAt = performance.timeOrigin + performance.now();
  const sources = Object.values(options).map((each) => runtime.sources.timer(each));
  await sleep(RUN_MS); // what is tested
  const elapsed = performance.timeOrigin + performance.now() - startedAt;
  await Promise.all(sources.map((source) => source.close()));

  for (const source of sources) {
    const name = source.name as keyof typeof ledgers;
    const { begun, settled, late } = ledgers[name];
    const info = source.info();
    const numbers = [...begun.keys()].filter((n) => begun[n] !== 0);
    const mine = failures.filter((failure) => failure.name === name);
    const numbersOf = (code: string) =>
      mine
        .filter(({ error }) => error.code === code)
        .map(({ payload }) => (payload as { n: number }).n);
    const lost = numbersOf('ERR_GYRE_EVENT_LOST');
    // One may have fired, and still wait for a worker, when its source was closed.
    const cancelled = numbersOf('ERR_GYRE_CLOSED');
    const last = numbers.at(-1) ?? 0;

    t.equal(info.fired, numbers.length + cancelled.length, 'every firing but the last was begun');
    t.ok(cancelled.length <= 1);
    t.equal(
      info.fired,
      info.handled + info.lost + info.cancelled,
      'and each was handled or lost, so they say',
    );
    t.match(info, { failed: 0, timedOut: 0, unhandled: 0, running: 0, waiting: 0 });
    // The last one that was begun may have been long: what came due meanwhile is skipped, and counted
    // when it is over, if it was before the end.
    const due = info.fired + info.skipped;
    t.ok(due >= last - 4, 'all others were skipped, and counted');
    t.ok(due <= elapsed / EVERY_MS + 1, 'and nothing else');
    t.equal(mine.length, lost.length + cancelled.length, 'nothing else went wrong');
    t.equal(new Set(lost).size, info.lost, 'each lost one was told of, once');
    t.equal(cancelled.length, info.cancelled);
    t.same(
      cancelled.filter((n) => begun[n] !== 0),
      [],
      'what was cancelled was begun by nobody',
    );
    t.same(
      numbers.filter((n) => (settled[n] as number) > 1),
      [],
      'none was handled twice',
    );
    const unsettled = numbers.filter((n) => settled[n] === 0);
    t.same(unsettled, lost, 'what was not handled is what was told to be lost');
    if (name === 'once') {
      t.ok(info.lost > 0, 'some are lost: handlers do die');
      t.same(
        numbers.filter((n) => begun[n] !== 1),
        [],
        'none was begun twice',
      );
    } else {
      t.equal(info.lost, 0, 'none is lost');
      t.ok(info.retried > 0, 'some are retried');
    }
    t.ok(last * EVERY_MS <= elapsed, 'none fired before its time');
    const sorted = numbers.map((n) => late[n] as number).sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] as number;
    t.ok(at(0.5) < EVERY_MS, 'drift is less than a period');
    t.comment(`${name}: ${info.fired} fired, ${info.skipped} skipped, ${info.lost} lost, \
${info.retried} retried, ${info.takenBack} taken back; ms late: ${[0.5, 0.9, 0.99, 1].map(at)}`);
  }
  await runtime.close();
});
