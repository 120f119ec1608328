import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import * as native from '../src/native.js';
import { descriptors, threads } from './support/app.js';

const { EADDRINUSE, EINVAL, EBADF, EADDRNOTAVAIL, EACCES } = constants.errno;
const NATIVE = require.resolve('../src/native.js');
const CPUS = native.affinity();

/** Runs `body` in a thread, with `native` in scope, and returns what it posts. */
async function inThread(body: string, workerData: unknown = null): Promise<unknown> {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const native = require(${JSON.stringify(NATIVE)});
    ${body}
  `;
  const worker = new Worker(source, { eval: true, workerData, execArgv: [] });
  const [answer] = await once(worker, 'message');
  await worker.terminate();
  return answer;
}

/** Whether `fd` is closed when this process executes another program. */
function isCloseOnExec(fd: number): boolean {
  const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  return (Number.parseInt(flags ?? '0', 8) & 0o2000000) !== 0;
}

t.test('a thread reads and sets its own mask, and no other', async (t) => {
  const cpu = CPUS.at(-1) as number;
  const seen = await inThread(
    `native.setAffinity([workerData]);
     parentPort.postMessage({ mask: native.affinity(), cpu: native.currentCpu(), tid: native.threadId() });`,
    cpu,
  );
  t.match(seen, { mask: [cpu], cpu });
  t.same(native.affinity(), CPUS, 'the caller keeps its own');
  t.ok(CPUS.includes(native.currentCpu()));
  t.equal(native.threadId(), process.pid, 'the main thread is the process');
  t.throws(() => native.setAffinity([]), { code: 'ERR_GYRE_NATIVE', syscall: 'sched_setaffinity' });
  t.throws(() => native.affinity(2 ** 30), { code: 'ERR_GYRE_NATIVE' });
  t.same(native.affinity(), CPUS, 'a call that fails changes nothing');
});

t.test('a thread can be named, and a name too long is cut', async (t) => {
  const tid = await inThread(
    `native.setThreadName('a-name-of-more-than-15-bytes');
     const { readFileSync } = require('node:fs');
     parentPort.postMessage(readFileSync('/proc/thread-self/comm', 'utf8').trim());`,
  );
  t.equal(tid, 'a-name-of-more-');
});

t.test('a listening socket accepts, and its descriptor is nobody else’s', async (t) => {
  for (const [address, family, host] of [
    ['127.0.0.1', 4, '127.0.0.1'],
    ['::1', 6, '::1'],
    ['::', 6, '127.0.0.1'],
  ] as const) {
    const fd = native.openTcp(address, 0, family, 0, 8);
    t.ok(fd >= 3 && isCloseOnExec(fd), `${address}: ${fd}`);
    const { port, text } = native.nameOf(fd);
    t.equal(text, address);
    const client = net.connect(port, host);
    await once(client, 'connect');
    client.destroy();
    native.close(fd);
  }
});

t.test('with IPV6_V6ONLY the wildcard leaves IPv4 to others', async (t) => {
  const six = native.openTcp('::', 0, 6, native.TCP_IPV6ONLY, 8);
  const { port } = native.nameOf(six);
  const four = native.openTcp('0.0.0.0', port, 4, 0, 8);
  t.ok(four >= 3);
  native.close(six);
  native.close(four);
});

t.test('SO_REUSEPORT shares a port, and the probe finds one that is shared', async (t) => {
  const first = native.openTcp('127.0.0.1', 0, 4, native.TCP_REUSEPORT, 8);
  const { port } = native.nameOf(first);
  const second = native.openTcp('127.0.0.1', port, 4, native.TCP_REUSEPORT, 8);
  t.ok(second >= 3);
  const probing = native.TCP_REUSEPORT | native.TCP_PROBE;
  t.equal(native.openTcp('127.0.0.1', port, 4, probing, 8), -EADDRINUSE);
  t.equal(native.openTcp('127.0.0.1', port, 4, 0, 8), -EADDRINUSE);
  native.close(first);
  native.close(second);
  const after = native.openTcp('127.0.0.1', port, 4, probing, 8);
  t.ok(after >= 3, 'a free port passes the probe');
  native.close(after);
});

t.test('what cannot be opened is an errno, and leaves no descriptor', async (t) => {
  const before = descriptors().size;
  t.equal(native.openTcp('nonsense', 0, 4, 0, 8), -EINVAL);
  t.equal(native.openTcp('192.0.2.1', 0, 4, 0, 8), -EADDRNOTAVAIL);
  t.equal(native.openUnix('/no/such/directory/socket', 8), -EACCES);
  t.equal(native.openUnix(`/tmp/${'x'.repeat(200)}`, 8), -EINVAL);
  t.equal(native.openUnix('', 8), -EINVAL);
  t.equal(native.duplicate(-1), -EBADF);
  t.throws(() => native.nameOf(0), { code: 'ERR_GYRE_NATIVE', syscall: 'getsockname' });
  t.equal(descriptors().size, before);
});

t.test(
  'a Unix socket is named as it was asked, in the file system and in the abstract',
  async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'gyre-')); // a fixture's path would be too long
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = path.join(folder, 'socket');
    for (const name of [file, `\0gyre-test-${process.pid}`]) {
      const fd = native.openUnix(name, 8);
      const { family, text } = native.nameOf(fd);
      t.equal(family, 1);
      // Node 20 pads abstract names, and so does gyre there.
      t.equal(text.slice(0, name.length), name);
      t.match(text.slice(name.length), /^\0*$/);
      t.ok(isCloseOnExec(fd));
      t.equal(native.openUnix(name, 8), -EADDRINUSE);
      native.close(fd);
    }
  },
);

t.test(
  'a duplicate has a number of its own and the same cookie, and outlives the other',
  async (t) => {
    const fd = native.openTcp('127.0.0.1', 0, 4, 0, 8);
    const copy = native.duplicate(fd);
    t.ok(copy >= 3 && copy !== fd && isCloseOnExec(copy));
    const cookie = native.cookieOf(fd) as bigint;
    t.equal(native.cookieOf(copy), cookie);
    const { port } = native.nameOf(fd);
    native.close(fd);
    t.equal(native.nameOf(copy).port, port);

    const other = native.openTcp('127.0.0.1', 0, 4, 0, 8);
    t.equal(native.closeIfSame(other, cookie), false, 'another socket is left open');
    t.equal(native.nameOf(other).family, 4);
    t.equal(native.closeIfSame(copy, cookie), true);
    t.equal(native.closeIfSame(copy, cookie), false, 'a number that is closed is nobody’s');
    native.close(other);
  },
);

t.test(
  'children of a pinned thread start on the whole mask, with none of its sockets',
  async (t) => {
    native.widenInChildren(CPUS);
    const fd = native.openTcp('127.0.0.1', 0, 4, 0, 8);
    const body = `
    const { execFileSync } = require('node:child_process');
    native.setAffinity([${CPUS[0]}]);
    native.markPinned(true);
    const status = execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' });
    parentPort.postMessage(/Cpus_allowed_list:\\s*(.*)/.exec(status)[1]);
  `;
    const mask = /Cpus_allowed_list:\s*(.*)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    t.equal(await inThread(body), mask);
    const { stdout } = spawnSync('ls', ['/proc/self/fd'], { encoding: 'utf8' });
    t.notOk(stdout.split('\n').includes(String(fd)));
    native.close(fd);
  },
);

t.test('a loop is counted and woken, and neither keeps it alive', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const source = `
    const { parentPort, workerData: words } = require('node:worker_threads');
    const native = require(${JSON.stringify(NATIVE)});
    const { wakeId } = native.attachLoop(words, 0, 1, () => parentPort.postMessage('woken'));
    parentPort.on('message', () => parentPort.unref());
    parentPort.postMessage(wakeId);
  `;
  const worker = new Worker(source, { eval: true, workerData: words, execArgv: [] });
  const [wakeId] = (await once(worker, 'message')) as [number];
  const before = Atomics.load(words, 0);
  t.equal(native.wake(wakeId), true);
  t.same(await once(worker, 'message'), ['woken']);
  t.ok(Atomics.load(words, 0) > before, 'iterations are counted');
  t.not(Atomics.load(words, 1), 0, 'with the time of the last');
  worker.postMessage('go'); // now nothing else keeps it alive
  await once(worker, 'exit');
  t.equal(native.wake(wakeId), false, 'a loop that is gone is not woken');
});

t.test('a loop may be let go of twice', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const hooks = native.attachLoop(words, 0, 1, () => {});
  hooks.detach();
  hooks.detach();
  t.equal(native.wake(hooks.wakeId), false);
});

t.test('threads that are terminated while they are woken leave nothing behind', async (t) => {
  const times = 60;
  const source = `
    const { parentPort, workerData: words } = require('node:worker_threads');
    const native = require(${JSON.stringify(NATIVE)});
    const { wakeId } = native.attachLoop(words, 0, 1, () => {});
    setInterval(() => {}, 1000);
    parentPort.postMessage(wakeId);
  `;
  const start = () => {
    const workerData = new Int32Array(new SharedArrayBuffer(8));
    return new Worker(source, { eval: true, workerData, execArgv: [] });
  };
  const warm = start(); // what node opens once, it opens now
  await once(warm, 'message');
  await warm.terminate();
  const open = descriptors().size;
  const running = threads().length;
  for (let i = 0; i < times; i++) {
    const worker = start();
    const [wakeId] = (await once(worker, 'message')) as [number];
    const over = worker.terminate();
    while (native.wake(wakeId)) await new Promise(setImmediate);
    await over;
  }
  t.equal(descriptors().size, open);
  t.equal(threads().length, running);
});
