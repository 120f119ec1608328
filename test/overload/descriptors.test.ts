/**
 * Where descriptors run out, connections wait in the kernel's queue: nobody is reset, nothing
 * spins, and what waits is served when descriptors come free.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { limitFor, total } from '../moving/host.js';
import { Injection, reasonAgainst, threadOf } from '../moving/injection.js';
import { folder } from '../support/folder.js';
import { cpuMs } from '../support/proc.js';
import { type Client, Crowd, startLoaded } from './crowd.js';

/** Descriptors beyond those that the process has when it listens, and clients. */
const FREE = 60;
const CLIENTS = 150;
/** What startLoaded() starts. */
const WORKERS = 2;

t.setTimeout(120_000); // of all tests in this file together

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

/** Whether process `pid` has all the descriptors that it may have. */
function isFull(pid: number): boolean {
  const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
  const max = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
  return readdirSync(`/proc/${pid}/fd`).length >= max;
}

/** A host with {@link FREE} descriptors left. */
async function startShort(t: Test) {
  const probe = await startLoaded(t);
  const limit = limitFor(await probe.facts(), FREE);
  await probe.close(t);
  return startLoaded(t, {}, { under: ['prlimit', `--nofile=${limit}:${limit}`] });
}

t.test(`${FREE} descriptors and ${CLIENTS} clients`, async (t) => {
  const host = await startShort(t);
  const crowd = new Crowd(t, await host.facts());
  crowd.join(CLIENTS);
  const waits = await host.factsWhen(({ snapshot }) =>
    snapshot.workers.every(({ accepting }) => accepting === 'no-descriptors'),
  );
  const connections = total(waits, 'connections');
  t.ok(connections >= FREE / 2, `${connections} are served`);
  t.ok(connections < FREE, 'and some descriptors are left to the rest');
  t.ok(await crowd.when(() => crowd.served.length >= connections - 2));

  const before = cpuMs(host.pid);
  await sleep(1_000);
  const used = cpuMs(host.pid) - before;
  t.ok(used < 300, `nothing spins: ${used} ms of CPU in a second`);
  t.same(crowd.failed, [], 'nobody is reset');

  const seen: Client[] = [];
  const delays: number[] = [];
  while (crowd.waiting.length > 0) {
    const leaving = crowd.served.slice(0, 10);
    seen.push(...leaving);
    const waiting = crowd.waiting;
    const left = performance.now();
    crowd.leave(leaving);
    if (!(await crowd.when(() => waiting.some(({ answer }) => answer !== null)))) break;
    await crowd.when(() => crowd.waiting.length <= Math.max(waiting.length - 5, 0));
    const first = Math.min(...waiting.filter(({ at }) => at > 0).map(({ at }) => at));
    delays.push(first - left);
  }
  t.equal(seen.length + crowd.served.length, CLIENTS, 'in the end all are served');
  t.same(crowd.failed, []);
  t.comment(`after ${delays.map((ms) => Math.round(ms)).join(', ')} ms`);
  t.ok(median(delays) < 200, 'soon after descriptors came free');
  crowd.close();
  await host.factsWhen((facts) => total(facts, 'connections') === 0);
  await host.close(t);
});

t.test('the application has every descriptor, and gives them back', async (t) => {
  const host = await startShort(t);
  const crowd = new Crowd(t, await host.facts());
  const file = path.join(folder(t), 'enough');
  const delays: number[] = [];
  for (let round = 0; round < 5; round++) {
    const [taker] = crowd.join(1, `/take?until=${encodeURIComponent(file)}`);
    t.ok(await crowd.when(() => isFull(host.pid)));
    const others = crowd.join(8);
    await sleep(100);
    // One that somebody had for a moment while the application took the rest may be free again.
    t.ok(crowd.waiting.length >= 9 - WORKERS, `${crowd.waiting.length} wait`);
    writeFileSync(file, '');
    const freed = performance.now();
    t.ok(await crowd.when(() => crowd.waiting.length === 0), 'all are served');
    delays.push(Math.max(...others.map(({ at }) => at)) - freed);
    t.same(crowd.failed, []);
    rmSync(file);
    crowd.leave([taker as Client, ...others]);
    // Their descriptors are free, and not only about to be.
    await host.factsWhen((facts) => total(facts, 'connections') === 0);
  }
  t.comment(`after ${delays.map((ms) => Math.round(ms)).join(', ')} ms`);
  t.ok(median(delays) < 200, 'soon after descriptors came free');
  await host.close(t);
});

const skip = reasonAgainst() ?? false;

for (const error of ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS']) {
  t.test(`accept(2) fails with ${error}`, { skip }, async (t) => {
    const host = await startLoaded(t, { workers: 1 });
    const crowd = new Crowd(t, await host.facts());
    crowd.join(4);
    t.ok(await crowd.when(() => crowd.served.length === 4));
    const [worker, file] = [threadOf(host.pid, /-w0$/), path.join(folder(t), 'trace')];
    const injection = await Injection.start(t, [worker], [`accept4:error=${error}`], file);
    crowd.join(20);
    // A connection is counted before it is accepted, and no longer when that has failed.
    const waits = await host.factsWhen(
      ({
        snapshot: {
          workers: [only],
        },
      }) => {
        return only?.accepting === 'no-descriptors' && only.connections === 4;
      },
    );
    t.match(waits.snapshot.workers, [{ accepting: 'no-descriptors', connections: 4 }]);
    await sleep(500);
    t.equal(crowd.waiting.length, 20, 'they wait');
    const calls = await injection.stop();
    t.ok(calls >= 2 && calls < 100, `it was tried now and then: ${calls} times`);
    t.ok(await crowd.when(() => crowd.served.length === 24), 'then all are served');
    t.same(crowd.failed, []);
    const after = await host.facts();
    t.match(after.snapshot.workers, [{ accepting: 'accepts', connections: 24 }]);
    crowd.close();
    await host.close(t);
  });
}

t.test('errors of one connection are not those of all', { skip }, async (t) => {
  const host = await startLoaded(t, { workers: 1 });
  const crowd = new Crowd(t, await host.facts());
  const [worker, file] = [threadOf(host.pid, /-w0$/), path.join(folder(t), 'trace')];
  const faults = ['accept4:error=ECONNABORTED:when=1+2'];
  const injection = await Injection.start(t, [worker], faults, file);
  crowd.join(40);
  t.ok(await crowd.when(() => crowd.served.length === 40), 'all are served');
  t.ok((await injection.stop()) >= 20);
  t.match((await host.facts()).snapshot.workers, [{ accepting: 'accepts' }]);
  crowd.close();
  await host.close(t);
});
