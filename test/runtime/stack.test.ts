/**
 * What a thread is executing, seen from outside: and whoever was looked at goes on.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import workerThreads from 'node:worker_threads';
import t, { type Test } from 'tap';
import { stackOf } from '../../src/runtime/stack.js';
import { folder } from '../support/folder.js';

t.setTimeout(60_000);

/** Burns, or waits in read(2), as it is told, and says when it has done so. */
const PROGRAM = `
const { readFileSync } = require('node:fs');
const { parentPort } = require('node:worker_threads');
function burn() {
  for (const end = Date.now() + 1000; Date.now() < end; );
}
parentPort.on('message', (what) => {
  parentPort.postMessage('begun');
  if (what === 'burn') burn();
  else readFileSync(what);
  parentPort.postMessage('done');
});
`;

async function thread(t: Test) {
  const worker = new workerThreads.Worker(PROGRAM, { eval: true });
  t.teardown(() => worker.terminate());
  const said = async (what: string) => t.same(await once(worker, 'message'), [what]);
  await once(worker, 'online');
  return { worker, said };
}

t.test('a thread that burns is seen, and goes on', async (t) => {
  const { worker, said } = await thread(t);
  worker.postMessage('burn');
  await said('begun');
  const [frame] = (await stackOf(worker.threadId)) ?? [];
  t.match(frame, { name: 'burn', from: 4, line: 5 });
  await said('done');
});

t.test('one in a system call is not, and goes on afterwards', async (t) => {
  const { worker, said } = await thread(t);
  const pipe = path.join(folder(t), 'pipe');
  execFileSync('mkfifo', [pipe]);
  worker.postMessage(pipe);
  await said('begun');
  t.equal(await stackOf(worker.threadId), null);
  writeFileSync(pipe, '');
  await said('done');
});

t.test('one that has ended, or never was', async (t) => {
  const { worker } = await thread(t);
  const { threadId } = worker;
  await worker.terminate();
  t.equal(await stackOf(threadId), null);
});

t.test('several at once', async (t) => {
  const all = await Promise.all([thread(t), thread(t), thread(t)]);
  for (const { worker, said } of all) {
    worker.postMessage('burn');
    await said('begun');
  }
  const stacks = await Promise.all(all.map(({ worker }) => stackOf(worker.threadId)));
  // One that got no CPU in time is not seen.
  t.ok(stacks.every((stack) => stack === null || stack[0]?.name === 'burn'));
  for (const { said } of all) await said('done');
});
