/** `gyre/arena`: what is in it, from one thread, from several, and from the workers of a runtime. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { type ArenaHandle, arena, attach, counter, handleOf, records } from '../src/arena.js';
import { counterRows } from '../src/arena-registry.js';
import { hasLinuxParts } from '../src/native.js';
import { app, get, getFromEach, portOf, ROOT, start } from './support/app.js';

const ADDS = path.join(ROOT, 'test', 'fixtures', 'arenas', 'adds.js');
const FUNCTIONS = path.join(ROOT, 'test', 'fixtures', 'jobs', 'functions.js');
const MB = 2 ** 20;

t.setTimeout(60_000); // of all tests in this file together

t.test('who asks again gets the same', async (t) => {
  const schema = { hits: counter(), rows: records(10, { a: 'int32', b: 'float64', c: 'int64' }) };
  const one = arena('same', schema);
  const other = arena('same', schema);
  one.hits.add(2);
  other.hits.add(3n);
  other.hits.add(-1);
  t.equal(one.hits.value, 4);
  one.rows.fields.a.set(9, 5);
  one.rows.fields.b.set(9, 0.5);
  one.rows.fields.c.set(9, -7n);
  const { a, b, c } = other.rows.fields;
  t.same([a.get(9), b.get(9), c.get(9)], [5, 0.5, -7n]);
  t.equal(a.add(9, 2), 5);
  t.equal(a.exchange(9, 1), 7);
  t.equal(a.compareExchange(9, 0, 2), 1, 'is not 0');
  t.equal(a.compareExchange(9, 1, 2), 1);
  t.equal(a.get(9), 2);
  t.equal(other.rows.count, 10);
});

t.test('records have nothing in common', async (t) => {
  for (const packed of [false, true]) {
    const fields = { a: 'int32', b: 'uint32', c: 'int64', d: 'float64' } as const;
    const { rows } = arena(`apart ${packed}`, { rows: records(3_000, fields, { packed }) });
    for (let i = 0; i < rows.count; i++) {
      rows.fields.a.set(i, -i);
      rows.fields.b.set(i, i);
      rows.fields.c.set(i, BigInt(i));
      rows.fields.d.set(i, i / 2);
    }
    let right = 0;
    for (let i = 0; i < rows.count; i++) {
      const { a, b, c, d } = rows.fields;
      if (a.get(i) !== -i || b.get(i) !== i || c.get(i) !== BigInt(i) || d.get(i) !== i / 2)
        continue;
      right++;
    }
    t.equal(right, rows.count);
    for (const wrong of [-1, 3_000, 0.5, Number.NaN, 2 ** 32]) {
      t.throws(() => rows.fields.a.get(wrong), RangeError);
    }
  }
});

t.test('a mistake is a coded error at the call', async (t) => {
  const invalid = { name: 'GyreError', code: 'ERR_GYRE_OPTION_INVALID' };
  const unknown = { code: 'ERR_GYRE_OPTION_UNKNOWN' };
  const schema = { hits: counter() };
  for (const name of ['', 5, null, 'x'.repeat(201)]) {
    t.throws(() => arena(name as string, schema), invalid);
  }
  for (const wrong of [null, {}, [], { a: null }, { a: 1 }, { a: { kind: 'other' } }]) {
    t.throws(() => arena('wrong', wrong as never), invalid);
  }
  t.throws(() => arena('wrong', schema, { huge: true } as object), unknown);
  t.throws(() => arena('wrong', schema, { hugePages: 1 as never }), invalid);
  for (const count of [0, -1, 1.5, 2 ** 24 + 1, '5']) {
    t.throws(() => records(count as number, { a: 'int32' }), invalid);
  }
  for (const fields of [null, {}, { a: 'int16' }, { a: 'toString' }]) {
    t.throws(() => records(1, fields as never), invalid);
  }
  t.throws(() => records(1, { a: 'int32' }, { pack: true } as object), unknown);
  t.throws(() => records(1, { a: 'int32' }, { packed: 1 as never }), invalid);
  t.throws(() => handleOf({} as never), invalid);
  arena('taken', schema);
  t.throws(() => arena('taken', { hits: counter(), more: counter() }), {
    code: 'ERR_GYRE_ARENA_CONFLICT',
  });
  t.throws(() => arena('taken', schema, { hugePages: true }), { code: 'ERR_GYRE_ARENA_CONFLICT' });
  t.throws(() => arena('huge', { rows: records(2 ** 24, { a: 'int32' }) }), {
    code: 'ERR_GYRE_ARENA_FULL',
  });
});

t.test('threads that add at the same time lose nothing', async (t) => {
  const THREADS = 4;
  const times = 50_000;
  const cells = records(2, { sum: 'int32', wide: 'int64', swapped: 'uint32' });
  const shared = arena('threads', { hits: counter(), cells });
  const running = Array.from({ length: THREADS }, (_, i) => {
    const workerData = { handle: handleOf(shared), times, record: i % 2 };
    return new Worker(ADDS, { workerData, execArgv: [] });
  });
  await Promise.all(running.map((thread) => once(thread, 'exit')));
  t.equal(shared.hits.value, THREADS * times);
  const { sum, wide, swapped } = shared.cells.fields;
  for (const record of [0, 1]) {
    t.equal(sum.get(record), (THREADS / 2) * times);
    t.equal(wide.get(record), BigInt(THREADS * times));
    t.equal(swapped.get(record), ((3 * THREADS) / 2) * times);
  }
});

t.test('touching provides memory and changes nothing', { skip: !hasLinuxParts }, async (t) => {
  const { rows } = arena('touched', { rows: records(2 ** 18, { a: 'int32' }) });
  rows.fields.a.set(5, 5);
  const before = process.memoryUsage.rss();
  rows.touch(0, 2 ** 17);
  const half = process.memoryUsage.rss() - before;
  t.ok(half > 15 * MB && half < 20 * MB, `${half} bytes`);
  rows.touch();
  t.ok(process.memoryUsage.rss() - before > 31 * MB);
  t.equal(rows.fields.a.get(5), 5);
  t.equal(rows.fields.a.get(2 ** 18 - 1), 0);
  t.throws(() => rows.touch(1, 2 ** 18), RangeError);
  t.throws(() => rows.touch(-1), RangeError);
});

/** Bytes of this process that are in transparent huge pages. */
function hugeBytes(): number {
  const sizes = readFileSync('/proc/self/smaps', 'utf8').matchAll(/^AnonHugePages:\s+(\d+) kB$/gm);
  return [...sizes].reduce((sum, [, kB]) => sum + Number(kB) * 1_024, 0);
}

t.test('huge pages, or why there are none', async (t) => {
  const small = arena('huge small', { hits: counter() }, { hugePages: true });
  t.match(handleOf(small), { hugeBytes: 0, hugeReason: String });
  const schema = { rows: records(2 ** 18, { a: 'int32' }) };
  t.match(handleOf(arena('not huge', schema)), { hugeBytes: 0, hugeReason: null });
  const large = arena('huge', schema, { hugePages: true });
  const { hugeBytes: advised, hugeReason } = handleOf(large);
  if (hugeReason !== null) {
    t.equal(advised, 0);
    t.comment(hugeReason);
    return;
  }
  t.ok(advised >= 30 * MB, `${advised} bytes`);
  const before = hugeBytes();
  large.rows.touch();
  t.comment(`${(hugeBytes() - before) / MB} MB are in huge pages`);
  large.rows.fields.a.set(2 ** 18 - 1, 1);
  t.equal(large.rows.fields.a.get(2 ** 18 - 1), 1);
});

t.test('workers share by name, and so do their successors and main', async (t) => {
  const env = { ARENA: 'workers' };
  const runtime = await start(t, app('shares.js'), { workers: 2, spares: 0, env });
  const port = portOf(runtime);
  const answers = await getFromEach(port, 2, ({ body }) => JSON.parse(body).index);
  const before = Math.max(...[...answers.values()].map(({ body }) => JSON.parse(body).hits));
  await runtime.reload();
  const { hits, requests } = JSON.parse((await get(port)).body);
  t.equal(hits, before + 1);
  t.equal(requests[0] + requests[1], hits);
  const mine = arena('workers', {
    hits: counter(),
    seen: records(8, { requests: 'int32', last: 'float64' }),
  });
  t.equal(mine.hits.value, hits);
  mine.hits.add(100);
  const conflict = { name: 'GyreError', code: 'ERR_GYRE_ARENA_CONFLICT' };
  t.match(JSON.parse((await get({ port, path: '/other' })).body), {
    ...{ hits: hits + 101, other: conflict },
  });
});

t.test('an arena may be handed to a job', async (t) => {
  const jobs = { echo: FUNCTIONS };
  const runtime = await start(t, app('idle.js'), { workers: 1, spares: 0, startMs: 1, jobs });
  const shared = arena('to a job', { hits: counter() });
  const back = attach<{ hits: ReturnType<typeof counter> }>(
    await runtime.run<ArenaHandle>('echo', handleOf(shared)),
  );
  back.hits.add(5);
  t.equal(shared.hits.value, 5);
});

t.test('other threads have to be handed theirs', async (t) => {
  const script = `
    const { arena, counter } = require('gyre/arena');
    try { arena('x', { hits: counter() }) } catch (e) { require('worker_threads').parentPort.postMessage(e.code) }`;
  const thread = new Worker(script, { eval: true, execArgv: [] });
  t.same(await once(thread, 'message'), ['ERR_GYRE_NO_RUNTIME']);
  await once(thread, 'exit');
});

t.test('a counter has rows for both slots of a worker on each CPU', async (t) => {
  t.ok(counterRows() >= 3);
  t.ok(counterRows() <= 256);
});
