/**
 * What is emitted is handled once, by one worker; and what becomes of it when that one fails,
 * dies, or does not return.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { GyreError } from '../../src/index.js';
import * as worker from '../../src/worker.js';
import { events, refusal } from './told.js';

const HANG_MS = 300;

t.setTimeout(280_000); // of all tests in this file together

t.test('from main: one worker handles it, and the caller hears of it', async (t) => {
  const { runtime, told } = await events(t);
  const payload = { text: 'ä', list: [1, { two: 2 }], date: new Date(5), buffer: Buffer.of(1, 2) };
  const handled = await runtime.sources.emit('job', payload);
  t.match(handled, { worker: Number, tries: 1 });
  const [begun] = await told.count(1, 'begun');
  t.match(begun, { kind: 'emit', name: 'job', attempt: 1, worker: handled.worker });
  t.same(begun?.payload.list, payload.list);
  t.same(begun?.payload.date, payload.date);
  t.same(Buffer.from(begun?.payload.buffer), Buffer.of(1, 2));
  // Everybody gets some; unless the system leaves one without CPU, which then stands still.
  let fired = 1;
  for (const workers = new Set<number>(); workers.size < 2; fired += 20) {
    const more = Array.from({ length: 20 }, () => runtime.sources.emit('job'));
    for (const { worker } of await Promise.all(more)) workers.add(worker);
  }
  await told.count(fired, 'settled');
  t.equal(told.of('begun').length, fired);
  t.equal(new Set(told.of('begun').map(({ id }) => id)).size, fired, 'ids are unique');
  t.match(runtime.sources.list(), [
    {
      ...{ name: 'job', kind: 'emit', fired, handled: fired },
      running: 0,
      waiting: 0,
      handlers: 2,
    },
  ]);
  t.same(runtime.snapshot().sources, runtime.sources.list());
  t.same(told.failures, []);
});

t.test('the payload is what it was at the call', async (t) => {
  const { runtime, told } = await events(t);
  const payload = { n: 1 };
  const handled = runtime.sources.emit('job', payload);
  payload.n = 2;
  await handled;
  t.equal((await told.count(1, 'begun'))[0]?.payload.n, 1);
});

t.test('from a worker, also to itself', async (t) => {
  const { runtime, told } = await events(t, ['job', 'more']);
  const { emit } = runtime.sources;
  await emit.call(runtime.sources, 'job', { emits: 'more', payload: { n: 7 } });
  const [emitted] = await told.count(1, 'emitted');
  t.match(emitted?.outcome, { worker: Number, tries: 1 });
  t.match((await told.count(1, 'begun', 'more'))[0]?.payload, { n: 7 });
  await runtime.sources.emit('job', { emits: 'nobody' });
  t.equal((await told.count(2, 'emitted'))[1]?.outcome.code, 'ERR_GYRE_EVENT_UNHANDLED');
  const fails = { throws: new RangeError('thrown on purpose'), code: 'ECODE' };
  await runtime.sources.emit('job', { emits: 'more', payload: fails });
  const failed = (await told.count(3, 'emitted'))[2]?.outcome;
  t.equal(failed.code, 'ERR_GYRE_EVENT_FAILED');
  t.ok(failed.cause instanceof RangeError);
  t.equal(failed.cause.message, 'thrown on purpose');
});

t.test('a handler that throws has handled it: it is told, and not tried again', async (t) => {
  const { runtime, told } = await events(t);
  const fails = { throws: new RangeError('thrown on purpose'), code: 'ECODE' };
  const error = await refusal(runtime.sources.emit('job', fails, { retry: true }));
  t.ok(error instanceof GyreError);
  t.match(error, {
    code: 'ERR_GYRE_EVENT_FAILED',
    message: /"job" in worker \d.*thrown on purpose/,
  });
  t.equal((error.cause as { code?: string }).code, 'ECODE');
  t.ok(error.cause instanceof RangeError);
  t.match(told.failures, [
    { name: 'job', kind: 'emit', times: 1, error, payload: { throws: Object } },
  ]);
  for (const thrown of [undefined, null, 'a text', 7]) {
    const { cause } = await refusal(runtime.sources.emit('job', { throws: thrown }));
    t.equal(cause, thrown);
  }
  t.equal((await told.count(5, 'begun')).length, 5, 'each once');
  t.equal(runtime.sources.list()[0]?.failed, 5);
});

t.test('nobody handles it: the caller is told, and so is everybody', async (t) => {
  const { runtime, told } = await events(t);
  t.match(await refusal(runtime.sources.emit('other', 5)), { code: 'ERR_GYRE_EVENT_UNHANDLED' });
  t.match(told.failures, [
    { name: 'other', error: { code: 'ERR_GYRE_EVENT_UNHANDLED' }, payload: 5 },
  ]);
  const other = runtime.sources.list().find(({ name }) => name === 'other');
  t.match(other, { fired: 1, unhandled: 1, handled: 0, handlers: 0 });
});

t.test('without a listener a warning tells, once for each name', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.removeListener('warning', onWarning));
  const { runtime } = await events(t);
  runtime.removeAllListeners('failure');
  for (const name of ['other', 'other', 'another']) await refusal(runtime.sources.emit(name));
  await sleep(0); // warnings come in the next turn
  t.match(warnings, [
    { name: 'GyreWarning', code: 'ERR_GYRE_EVENT_UNHANDLED', message: /"other"/ },
    { name: 'GyreWarning', code: 'ERR_GYRE_EVENT_UNHANDLED', message: /"another"/ },
  ]);
});

t.test('a worker that ends while it handles it: lost, or handled by another', async (t) => {
  const { runtime, told } = await events(t, ['job'], { hangMs: HANG_MS });
  const { sources } = runtime;
  for (const how of [{ exit: 3 }, { dies: true }, { loops: true }]) {
    const lost = await refusal(sources.emit('job', how));
    t.match(lost, { code: 'ERR_GYRE_EVENT_LOST', worker: Number }, JSON.stringify(how));
    t.match(await sources.emit('job', how, { retry: true }), { tries: 2 });
  }
  t.match(await sources.emit('job', { exit: 0 }, { retry: 2 }), { tries: 2 });
  const always = { exit: 0, always: true };
  const over = await refusal(sources.emit('job', always, { retry: 3 }));
  t.match(over, { code: 'ERR_GYRE_EVENT_LOST', message: /in try 3/ });
  const begun = await told.count(14, 'begun');
  t.same(
    begun.map(({ attempt }) => attempt),
    [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 2, 1, 2, 3],
  );
  t.match(sources.list(), [{ fired: 8, handled: 4, lost: 4, retried: 6 }]);
});

t.test('what nobody has begun is not lost with a worker, whatever retry says', async (t) => {
  const { runtime, told } = await events(t, ['job'], { workers: 1, maxWorkers: 1 });
  const first = runtime.sources.emit('job', { block: 300, exit: 1 });
  await told.count(1, 'begun');
  const others = Array.from({ length: 5 }, () => runtime.sources.emit('job', {}));
  t.match(await refusal(first), { code: 'ERR_GYRE_EVENT_LOST' });
  for (const handled of await Promise.all(others)) t.match(handled, { tries: 1 });
  t.equal((await told.count(6, 'begun')).length, 6);
  t.match(runtime.sources.list(), [{ fired: 6, handled: 5, lost: 1, retried: 0, takenBack: 5 }]);
});

t.test('what waits behind a worker that stands still goes to one that does not', async (t) => {
  for (const move of [true, false]) {
    const { runtime, told } = await events(t, ['job'], { scheduler: { move } });
    const long = runtime.sources.emit('job', { block: 1_000 });
    const short = runtime.sources.emit('job', { block: 200 });
    await told.count(2, 'begun');
    const jobs = Array.from({ length: 10 }, () => runtime.sources.emit('job', {}));
    const handled = await Promise.all(jobs);
    const slow = told.of('begun').find(({ payload }) => payload.block === 1_000);
    t.notOk(
      told.of('settled').some(({ id }) => id === slow?.id),
      'nobody waited for it',
    );
    t.ok(
      handled.every((each) => each.worker === handled[0]?.worker),
      'by the one that was free first',
    );
    await Promise.all([long, short]);
    // Behind these nothing is left that either worker could still begin.
    const last: number[] = [];
    while (new Set(last).size < 2) {
      last.push((await runtime.sources.emit('job', { last: true, wait: 5 })).worker);
    }
    await told.until(
      () => told.of('begun').filter(({ payload }) => payload.last).length >= last.length,
    );
    const ids = told.of('begun').map(({ id }) => id);
    t.equal(new Set(ids).size, ids.length, 'each once');
    t.equal(runtime.sources.list()[0]?.handled, 12 + last.length);
    await runtime.close({ drainMs: 0 });
  }
});

t.test('one after the other, where that is wanted', async (t) => {
  const { runtime, told } = await events(t);
  const options = { concurrent: false };
  const calls = [
    ...[
      { n: 0, wait: 50 },
      { n: 1, block: 20 },
      { n: 2, throws: 'x' },
      { n: 3, exit: 0 },
    ],
    ...[{ n: 4, wait: 10 }, { n: 5 }],
  ];
  const all = await Promise.allSettled(
    calls.map((payload) => runtime.sources.emit('job', payload, options)),
  );
  t.same(
    all.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'rejected', 'fulfilled', 'fulfilled'],
  );
  await told.count(6, 'begun');
  await told.count(4, 'settled');
  const order = told.all.map(({ what, payload, id }) => [what, payload?.n ?? id]);
  let at = -1;
  for (const told_ of told.all) {
    if (told_.what === 'begun') at = told_.id;
    else t.equal(told_.id, at, `nothing begins before the one before has settled: ${order}`);
  }
  t.same(
    told.of('begun').map(({ payload }) => payload.n),
    [0, 1, 2, 3, 4, 5],
  );
  const many = Array.from({ length: 5_000 }, () =>
    refusal(runtime.sources.emit('nobody', 0, options)),
  );
  t.ok((await Promise.all(many)).every(({ code }) => code === 'ERR_GYRE_EVENT_UNHANDLED'));
});

t.test('one that takes too long is told so, and not tried again', async (t) => {
  const { runtime, told } = await events(t);
  const options = { timeoutMs: 100, retry: true, concurrent: false };
  const late = runtime.sources.emit('job', { wait: 600 }, options);
  const next = runtime.sources.emit('job', {}, options);
  t.match(await refusal(late), { code: 'ERR_GYRE_EVENT_TIMEOUT', message: /100 ms/ });
  t.match(await next, { tries: 1 }, 'the next one does not wait for it');
  t.match(await told.count(1, 'aborted'), [{ code: 'ERR_GYRE_EVENT_TIMEOUT' }]);
  await told.count(2, 'settled');
  t.equal(told.of('begun').length, 2);
  t.match(runtime.sources.list(), [{ fired: 2, handled: 1, timedOut: 1, running: 0 }]);
  t.same(told.codes, ['ERR_GYRE_EVENT_TIMEOUT']);
});

t.test('who closes the runtime for what is heard while it closes, closes it once', async (t) => {
  const { runtime, told } = await events(t, ['job'], { workers: 1, maxWorkers: 1 });
  let closed = 0;
  runtime.on('close', () => closed++);
  const blocked = runtime.sources.emit('job', { block: 300 });
  await told.count(1, 'begun');
  const waiting = Array.from({ length: 10 }, (_, n) => refusal(runtime.sources.emit('job', { n })));
  const again: Promise<void>[] = [];
  runtime.on('failure', () => again.push(runtime.close()));
  await runtime.close();
  await Promise.all([blocked, ...again]);
  t.ok(again.length > 0, 'something was heard');
  t.match(
    await Promise.all(waiting),
    waiting.map(() => ({ code: 'ERR_GYRE_CLOSED' })),
  );
  t.equal(closed, 1);
});

t.test('too many that wait are refused', async (t) => {
  const { runtime, told } = await events(t, ['job'], { workers: 1, maxWorkers: 1 });
  const blocked = runtime.sources.emit('job', { block: 500 });
  await told.count(1, 'begun');
  const calls = Array.from({ length: 10_500 }, (_, n) => runtime.sources.emit('job', { n }));
  const all = await Promise.allSettled(calls);
  await blocked;
  const refused = all.filter(({ status }) => status === 'rejected');
  t.match(refused[0], { reason: { code: 'ERR_GYRE_EVENT_REFUSED' } });
  const [{ fired = 0, handled = 0, skipped = 0 } = {}] = runtime.sources.list();
  t.equal(skipped, refused.length);
  t.ok(refused.length > 0 && refused.length < 500, `${refused.length} refused`);
  t.equal(handled, fired);
  t.equal(fired + skipped, 10_501);
});

t.test('misuse is an error at the call', async (t) => {
  const { runtime } = await events(t);
  const { sources } = runtime;
  const cases: [string, () => unknown][] = [
    ['ERR_GYRE_SOURCE_NAME', () => sources.emit('')],
    ['ERR_GYRE_SOURCE_NAME', () => sources.emit('x'.repeat(257))],
    ['ERR_GYRE_SOURCE_NAME', () => sources.emit(5 as never)],
    ['ERR_GYRE_EVENT_PAYLOAD', () => sources.emit('job', () => {})],
    ['ERR_GYRE_EVENT_PAYLOAD', () => sources.emit('job', { deep: [Symbol('x')] })],
    ['ERR_GYRE_OPTION_UNKNOWN', () => sources.emit('job', 1, { retries: 1 } as never)],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { retry: 0 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { retry: 1.5 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { retry: 'yes' as never })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { timeoutMs: 0 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { timeoutMs: Number.NaN })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { collaborates: '' })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, { concurrent: 1 as never })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.emit('job', 1, null as never)],
  ];
  for (const [code, call] of cases) {
    t.throws(call, { name: 'GyreError', code }, `${call}`);
  }
  t.same(sources.list(), [], 'none of it has fired');
  await runtime.close();
  t.match(await refusal(sources.emit('job')), { code: 'ERR_GYRE_CLOSED' });
});

t.test('on a thread that gyre did not start, nothing happens, and misuse is misuse', async (t) => {
  const off = worker.onEvent('job', () => {});
  off();
  worker.ready();
  t.match(await refusal(worker.emit('job')), { code: 'ERR_GYRE_EVENT_UNHANDLED' });
  t.throws(() => worker.emit(''), { code: 'ERR_GYRE_SOURCE_NAME' });
  t.throws(() => worker.emit('job', 1, { no: 1 } as never), { code: 'ERR_GYRE_OPTION_UNKNOWN' });
});
