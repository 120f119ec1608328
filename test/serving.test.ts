import { readFileSync } from 'node:fs';
import t from 'tap';
import { affinity } from '../src/native.js';
import { app, get, getFromEach, portOf, start } from './support/app.js';
import { threads } from './support/proc.js';

const CPUS = affinity();

t.test('two workers serve an http app that knows nothing of gyre', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: 2 });
  const port = portOf(runtime);
  const ids = runtime.workers.map(({ threadId }) => threadId);
  const answers = await getFromEach(port, 2, ({ body }) => ids.indexOf(JSON.parse(body).threadId));
  const parsed = [...answers.values()].map(({ body }) => JSON.parse(body));
  t.same(new Set(parsed.map(({ pid }) => pid)), new Set([process.pid]), 'one process');
  t.equal(new Set(parsed.map(({ threadId }) => threadId)).size, 2, 'two threads');
  const snapshot = runtime.snapshot();
  t.ok(
    // The first connections of a worker that still warms up may be accepted for another.
    snapshot.workers.every(({ accepted, received, loops }) => accepted + received > 0 && loops > 0),
    'both have accepted or received, and both loops are counted',
  );
});

t.test('each worker is bound to its own CPU of the inherited mask, nothing else is', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: CPUS.length });
  const byTid = new Map(threads().map((thread) => [thread.tid, thread]));
  const pinned = runtime.workers.map(({ tid, cpu }) => {
    const thread = byTid.get(tid as number);
    t.equal(thread?.cpus, String(cpu));
    byTid.delete(tid as number);
    return cpu;
  });
  t.same(pinned, CPUS);
  const mask = readFileSync('/proc/self/status', 'utf8').match(/Cpus_allowed_list:\s*(.*)/)?.[1];
  t.ok(
    [...byTid.values()].every(({ cpus }) => cpus === mask),
    'main and the thread pool keep the whole mask',
  );
});

t.test('the same application runs inline, on the main thread', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: 'inline' });
  const { body } = await get(portOf(runtime));
  t.match(JSON.parse(body), { threadId: 0, pid: process.pid });
});
