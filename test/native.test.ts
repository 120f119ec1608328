/**
 * The native helper by itself, through src/native.ts: threads, sockets, descriptors and
 * loops of the real kernel and of the real libuv.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os, { constants } from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import {
  affinity,
  attachLoop,
  close,
  closeIfSame,
  cookieOf,
  createWatcher,
  duplicate,
  hasHelper,
  hasLinuxParts,
  listenOn,
  misalignmentOf,
  nameOf,
  openTcp,
  openUnix,
  queueOf,
  setAffinity,
  setCpus,
  stepBack,
  TCP_IPV6ONLY,
  TCP_PROBE,
  TCP_REUSEPORT,
  threadId,
  usageOf,
  wake,
  watchQueue,
} from '../src/native.js';
import { Injection, reasonAgainst } from './moving/injection.js';
import { ROOT } from './support/app.js';
import { folder } from './support/folder.js';
import { cpusOf, descriptors, threads } from './support/proc.js';
import { Running } from './support/running.js';

const { EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EINVAL, ENOTSOCK, ESRCH } = constants.errno;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const NATIVE = path.join(ROOT, 'dist', 'src', 'native.js');
const PROC = path.join(ROOT, 'dist', 'test', 'support', 'proc.js');
const CPUS = affinity();
const LAST = CPUS.at(-1) as number;
const HAS_IPV6 = os.networkInterfaces().lo?.some(({ family }) => family === 'IPv6') === true;

/** After this many ms the stress tests stop early, and say so: a busy machine is slow. */
const STRESS_MS = 10_000;

/** What every script below begins with. */
const PRELUDE = `
  const native = require(${JSON.stringify(NATIVE)});
  const { parentPort, workerData } = require('node:worker_threads');
`;

/** A thread that runs `script`, and has ended when the test has. */
function thread(t: Test, script: string, workerData: unknown = null): Worker {
  const worker = new Worker(PRELUDE + script, { eval: true, workerData });
  t.teardown(() => worker.terminate());
  return worker;
}

/** `script` in a process of its own, which must end well; what it wrote. */
async function output(
  t: Test,
  script: string,
  env: NodeJS.ProcessEnv = {},
  prelude = PRELUDE,
): Promise<string> {
  const child = new Running(t, process.execPath, ['-e', prelude + script], env);
  t.same(await child.ended(), { code: 0, signal: null }, child.stderr.slice(0, 2_000));
  return child.stdout;
}

/** A descriptor of the helper's, closed with the test. */
function opened(t: Test, fd: number): number {
  t.ok(fd >= 3, `${fd} is a descriptor and not one of stdio's`);
  t.teardown(() => {
    if (descriptors().has(fd)) close(fd);
  });
  return fd;
}

function flagsOf(fd: number): number {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(info)?.[1] ?? '', 8);
}

/** `'open'`, or the code of the error. */
async function connects(options: net.NetConnectOpts): Promise<string> {
  const socket = net.connect(options);
  try {
    await once(socket, 'connect');
    return 'open';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? '';
  } finally {
    socket.destroy();
  }
}

/** The CPU that a thread of this process is on, or was on last (proc(5): processor). */
function cpuOf(tid: number): number {
  const [, fields = ''] = readFileSync(`/proc/self/task/${tid}/stat`, 'utf8').split(') ');
  return Number(fields.split(' ')[36]);
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A word in shared memory, to hear from a thread without its loop or ours. */
function word(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** Blocks until `words[0]` is at least `value`. */
function reached(words: Int32Array<SharedArrayBuffer>, value: number): boolean {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const seen = Atomics.load(words, 0);
    if (seen >= value) return true;
    if (performance.now() > deadline) return false;
    Atomics.wait(words, 0, seen, 100);
  }
}

t.equal(hasHelper && hasLinuxParts, true, 'the helper is built, with its Linux parts');

t.test('the affinity of the main thread is read, set and put back', async (t) => {
  const [self] = threads().filter(({ tid }) => tid === process.pid);
  t.same(cpusOf(self?.cpus ?? ''), CPUS, 'as the kernel says');
  t.equal(threadId(), process.pid);
  try {
    setAffinity([LAST]);
    t.same(affinity(), [LAST]);
    t.equal(cpuOf(process.pid), LAST, 'and it runs there at once');
    const [pinned] = threads().filter(({ tid }) => tid === process.pid);
    t.equal(pinned?.cpus, String(LAST));
  } finally {
    setAffinity(CPUS);
  }
  t.same(affinity(), CPUS);
});

t.test('an affinity that cannot be is an error with the system call in it', async (t) => {
  const native = { name: 'GyreError', code: 'ERR_GYRE_NATIVE' };
  const set = { ...native, syscall: 'sched_setaffinity', errno: -EINVAL };
  t.throws(() => setAffinity([]), set);
  t.throws(() => setAffinity([8191]), set);
  t.throws(() => setAffinity([-1, 100_000]), set);
  const nobody = 2 ** 22 + 1; // beyond the greatest pid that Linux gives out
  t.throws(() => affinity(nobody), { ...native, syscall: 'sched_getaffinity', errno: -ESRCH });
  t.throws(() => setAffinity(CPUS, nobody), { ...set, errno: -ESRCH });
  t.same(affinity(), CPUS, 'and nothing has changed');
});

t.test('a worker thread has its own id, affinity and name', async (t) => {
  const worker = thread(
    t,
    `
    native.setThreadName('a name of more than 15 bytes');
    native.setAffinity([workerData]);
    parentPort.postMessage([native.threadId(), native.affinity()]);
    parentPort.once('message', () => {});
  `,
    LAST,
  );
  const [[tid, cpus]] = await once(worker, 'message');
  t.not(tid, process.pid);
  t.same([cpus, cpuOf(tid)], [[LAST], LAST]);
  t.same(affinity(tid), [LAST], 'which another thread can read');
  const [there] = threads().filter((each) => each.tid === tid);
  t.match(there, { name: 'a name of more ', cpus: String(LAST) });
  t.same(affinity(), CPUS, 'the main thread keeps its own');
  setAffinity(CPUS, tid);
  t.same(affinity(tid), CPUS, 'and can set that of the other');
});

t.test('a TCP socket over IPv4 accepts, and is nobody else’s', async (t) => {
  const fd = opened(t, openTcp('127.0.0.1', 0, 4, 0, 8));
  const { family, text, port } = nameOf(fd);
  t.same([family, text], [4, '127.0.0.1']);
  t.equal(await connects({ host: '127.0.0.1', port }), 'open');
  t.equal(flagsOf(fd) & (O_CLOEXEC | O_NONBLOCK), O_CLOEXEC | O_NONBLOCK);
  t.equal(openTcp('127.0.0.1', port, 4, 0, 8), -EADDRINUSE);
  close(fd);
  t.equal(await connects({ host: '127.0.0.1', port }), 'ECONNREFUSED');
  opened(t, openTcp('127.0.0.1', port, 4, 0, 8)); // at once: SO_REUSEADDR
});

t.test('over IPv6 it takes IPv4, too, or refuses it', { skip: !HAS_IPV6 }, async (t) => {
  const { port } = nameOf(opened(t, openTcp('::', 0, 6, 0, 8)));
  t.equal(await connects({ host: '::1', port }), 'open');
  t.equal(await connects({ host: '127.0.0.1', port }), 'open');
  t.equal(openTcp('0.0.0.0', port, 4, 0, 8), -EADDRINUSE);

  const only = nameOf(opened(t, openTcp('::1', 0, 6, TCP_IPV6ONLY, 8)));
  t.same([only.family, only.text], [6, '::1']);
  t.equal(await connects({ host: '::1', port: only.port }), 'open');
  const every = nameOf(opened(t, openTcp('::', 0, 6, TCP_IPV6ONLY, 8)));
  t.equal(await connects({ host: '127.0.0.1', port: every.port }), 'ECONNREFUSED');
  opened(t, openTcp('0.0.0.0', every.port, 4, 0, 8));
});

t.test('SO_REUSEPORT shares a port, and the probe sees through it', async (t) => {
  const { port } = nameOf(opened(t, openTcp('127.0.0.1', 0, 4, TCP_REUSEPORT, 8)));
  opened(t, openTcp('127.0.0.1', port, 4, TCP_REUSEPORT, 8));
  t.equal(openTcp('127.0.0.1', port, 4, TCP_REUSEPORT | TCP_PROBE, 8), -EADDRINUSE);
  t.equal(openTcp('127.0.0.1', port, 4, 0, 8), -EADDRINUSE);
  const probed = opened(t, openTcp('127.0.0.1', 0, 4, TCP_REUSEPORT | TCP_PROBE, 8));
  const free = nameOf(probed).port;
  close(probed);
  opened(t, openTcp('127.0.0.1', free, 4, TCP_REUSEPORT | TCP_PROBE, 8)); // nobody's again
});

t.test('an address may carry a zone', { skip: !HAS_IPV6 }, async (t) => {
  opened(t, openTcp('::1%lo', 0, 6, 0, 8));
  const links = Object.entries(os.networkInterfaces()).flatMap(([name, list]) =>
    (list ?? [])
      .filter(({ address }) => address.startsWith('fe80:'))
      .map(({ address }) => `${address}%${name}`),
  );
  for (const link of links) {
    const { port, text } = nameOf(opened(t, openTcp(link, 0, 6, 0, 8)));
    t.equal(text, link.split('%')[0]);
    t.equal(await connects({ host: link, port }), 'open', link);
    t.equal(openTcp(text, 0, 6, 0, 8), -EINVAL, 'without it the kernel does not know where');
  }
  t.equal(openTcp('fe80::1%nowhere', 0, 6, 0, 8), -EINVAL);
});

t.test('an address that cannot be is a negative errno, and no descriptor', async (t) => {
  const before = descriptors();
  for (const address of ['', 'localhost', '127.0.0', '1.2.3.4.5', '::1']) {
    t.equal(openTcp(address, 0, 4, 0, 8), -EINVAL, JSON.stringify(address));
  }
  for (const address of ['', '::g', '127.0.0.1', ':::']) {
    t.equal(openTcp(address, 0, 6, 0, 8), -EINVAL, JSON.stringify(address));
  }
  t.equal(openTcp('192.0.2.1', 0, 4, 0, 8), -EADDRNOTAVAIL, 'of a network for documentation');
  t.same(descriptors(), before);
});

t.test('a Unix socket, by path and abstract, with node’s errors', async (t) => {
  const dir = folder(t);
  writeFileSync(path.join(dir, 'file'), '');
  const at = path.join(dir, 's');
  const fd = opened(t, openUnix(at, 8));
  t.same(nameOf(fd), { family: 1, port: 0, text: at });
  t.equal(flagsOf(fd) & (O_CLOEXEC | O_NONBLOCK), O_CLOEXEC | O_NONBLOCK);
  t.equal(await connects({ path: at }), 'open');
  t.equal(openUnix(at, 8), -EADDRINUSE);
  t.equal(openUnix(path.join(dir, 'file'), 8), -EADDRINUSE);
  t.equal(openUnix('', 8), -EINVAL);
  t.equal(openUnix('x'.repeat(108), 8), -EINVAL);
  t.equal(openUnix('no-such-directory/s', 8), -EACCES);
  t.notOk(existsSync('x'.repeat(107)));

  const name = `\0gyre-test-${process.pid}`;
  const abstract = opened(t, openUnix(name, 8));
  t.equal(nameOf(abstract).text.replace(/\0+$/, ''), name);
  t.equal(await connects({ path: name }), 'open', 'spelt as this line of node spells it');
  t.equal(openUnix(name, 8), -EADDRINUSE);
  const longest = opened(t, openUnix(`\0${'x'.repeat(107)}`, 8));
  t.equal(nameOf(longest).text.length, 108);
});

t.test('a duplicate is another descriptor for the same socket', async (t) => {
  const fd = opened(t, openTcp('127.0.0.1', 0, 4, 0, 8));
  const copy = opened(t, duplicate(fd));
  t.not(copy, fd);
  t.same(nameOf(copy), nameOf(fd));
  t.equal(flagsOf(copy) & O_CLOEXEC, O_CLOEXEC);
  const { port } = nameOf(fd);
  close(fd);
  t.equal(await connects({ host: '127.0.0.1', port }), 'open', 'which it keeps open');
  t.equal(duplicate(fd), -EBADF);
  t.equal(duplicate(-1), -EBADF);
  t.throws(() => close(fd), { code: 'ERR_GYRE_NATIVE', syscall: 'close', errno: -EBADF });
});

t.test('no descriptor takes the number of a closed stdin, stdout or stderr', async (t) => {
  const numbers = await output(
    t,
    `
    const { closeSync, writeFileSync } = require('node:fs');
    const first = native.openTcp('127.0.0.1', 0, 4, 0, 8);
    const client = require('node:net').connect(native.nameOf(first).port, '127.0.0.1');
    client.on('connect', () => {
      closeSync(0);
      closeSync(2);
      const tcp = native.openTcp('127.0.0.1', 0, 4, native.TCP_PROBE, 8);
      const unix = native.openUnix('\\0gyre-stdio-' + process.pid, 8);
      const accepted = native.acceptOne(first);
      const taken = [tcp, unix, accepted, native.duplicate(tcp), native.duplicate(1)];
      writeFileSync(1, JSON.stringify(taken));
      client.destroy();
    });
  `,
  );
  t.ok(
    JSON.parse(numbers).every((fd: number) => fd >= 3),
    numbers,
  );
});

t.test('no descriptor of the helper survives into a child process', async (t) => {
  const open = [openTcp('127.0.0.1', 0, 4, TCP_PROBE | TCP_REUSEPORT, 8), openUnix('\0gyre-c', 8)];
  const mine = [...open, ...open.map(duplicate)].map((fd) => opened(t, fd));
  const sockets = mine.map((fd) => descriptors().get(fd) ?? '');
  t.match(sockets[0], /^socket:/);
  const there = execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
  t.same(
    sockets.filter((socket) => there.includes(socket)),
    [],
  );
});

t.test('names and cookies tell sockets apart, and what is none', async (t) => {
  const fd = opened(t, openTcp('127.0.0.1', 0, 4, 0, 8));
  const other = opened(t, openTcp('127.0.0.1', 0, 4, 0, 8));
  const copy = opened(t, duplicate(fd));
  const cookie = cookieOf(fd) as bigint;
  t.type(cookie, 'bigint');
  t.equal(cookieOf(copy), cookie, 'the same through a duplicate');
  t.not(cookieOf(other), cookie);

  const file = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(file));
  const native = { code: 'ERR_GYRE_NATIVE', syscall: 'getsockname' };
  t.throws(() => nameOf(file), { ...native, errno: -ENOTSOCK });
  t.throws(() => nameOf(-1), { ...native, errno: -EBADF });
  t.throws(() => cookieOf(file), { code: 'ERR_GYRE_NATIVE', errno: -ENOTSOCK });

  t.equal(closeIfSame(other, cookie), false, 'another socket');
  t.equal(closeIfSame(file, cookie), false, 'no socket');
  t.ok(descriptors().has(other) && descriptors().has(file), 'both are still open');
  t.equal(closeIfSame(copy, cookie), true);
  t.notOk(descriptors().has(copy));
  t.equal(closeIfSame(copy, cookie), false, 'closed already');
  t.equal(cookieOf(fd), cookie, 'the original is not touched');
});

t.test('an accept queue tells its length, and whom it turned away', async (t) => {
  const fd = opened(t, openTcp('127.0.0.1', 0, 4, 0, 1));
  t.same(queueOf(fd), { length: 0, limit: 1, dropped: 0 });
  const to = { host: '127.0.0.1', port: nameOf(fd).port };
  const clients = Array.from({ length: 6 }, () => net.connect(to).on('error', () => {}));
  t.teardown(() => {
    for (const client of clients) client.destroy();
  });
  await Promise.all(clients.slice(0, 2).map((client) => once(client, 'connect')));
  let queue = queueOf(fd);
  for (let tries = 0; tries < 500 && (queue?.dropped ?? 0) < 4; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    queue = queueOf(fd);
  }
  t.equal(queue?.length, 2, 'Linux takes one more than the limit');
  t.ok((queue?.dropped ?? 0) >= 4, 'all others were turned away, and try again');
  const unix = opened(t, openUnix(`\0gyre-queue-${process.pid}`, 1));
  t.equal(queueOf(unix), null, 'of a Unix socket it is not known');
  t.equal(queueOf(0), null);
});

t.test('the place of a view in memory is told to the byte', async (t) => {
  const buffer = new SharedArrayBuffer(1024);
  const at = (bytes: number) => misalignmentOf?.(new Int32Array(buffer, bytes), 128) ?? -1;
  const start = at(0);
  t.ok(start >= 0 && start < 128);
  t.same(
    [4, 64, 128, 132].map(at),
    [4, 64, 128, 132].map((bytes) => (start + bytes) % 128),
  );
});

t.test('an attached loop counts its iterations, past the greatest number, too', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(1024));
  words[8] = 2 ** 31 - 2;
  const loop = attachLoop(words, 8, 9, () => {});
  const turns = async (count: number) => {
    for (let turn = 0; turn < count; turn++) await nextTurn();
  };
  await turns(10);
  const counted = ((words[8] as number) - (2 ** 31 - 2)) | 0;
  t.ok(counted >= 9, `${counted} of 10`);
  t.ok((words[8] as number) < 0, 'it has wrapped');
  t.not(words[9], 0, 'the clock of the loop is there');
  t.ok(
    words.every((value, index) => value === 0 || index === 8 || index === 9),
    'and nothing else',
  );
  loop.detach();
  loop.detach();
  const after = words[8];
  await turns(10);
  t.equal(words[8], after, 'a detached one counts no more');
  t.equal(wake(loop.wakeId), false);
});

t.test('an attached loop counts how long its iterations kept it busy, if asked to', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(1024));
  const floats = new Float64Array(words.buffer);
  const [sumIndex, countIndex, bucketsIndex, buckets] = [32, 34, 36, 20];
  const times = { sumIndex, countIndex, bucketsIndex, buckets };
  const loop = attachLoop(words, 8, 9, () => {}, null, times);
  t.teardown(() => loop.detach());
  const byUs = () => [...words.subarray(bucketsIndex, bucketsIndex + buckets)];
  const burn = (ms: number) => {
    for (const end = performance.now() + ms; performance.now() < end; );
  };
  await nextTurn();
  await nextTurn();
  const before = { long: byUs()[15] ?? 0, sum: floats[16] as number };
  await new Promise((resolve) => setTimeout(resolve, 60)); // sleep is not work
  const slept = (floats[16] as number) - before.sum;
  t.ok(slept < 40e6, `${slept} ns, of 60 ms`);
  const [long, sum] = [byUs()[15] as number, floats[16] as number];
  burn(20); // 2^14 to 2^15 µs
  await nextTurn();
  await nextTurn();
  t.ok(
    byUs()
      .slice(15)
      .reduce((all, one) => all + one) > long,
    'it is among the long ones',
  );
  t.ok((floats[16] as number) - sum >= 20e6);
  const seen = words[countIndex] as number;
  const server = net.createServer((socket) => socket.resume()).listen(0);
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port);
  await once(client, 'connect');
  client.destroy();
  server.close();
  await once(server, 'close');
  await nextTurn();
  t.ok((words[countIndex] as number) > seen, 'and the events that it handled');
});

t.test('an attached loop does not keep its process or thread alive', async (t) => {
  const attach = 'native.attachLoop(new Int32Array(64), 0, 32, () => {});';
  t.equal(await output(t, attach), '');
  const worker = thread(t, attach);
  t.same(await once(worker, 'exit'), [0]);
  t.equal(await output(t, `const loop = ${attach} loop.detach();`), '');
});

t.test('two threads count into the same memory, each its own words', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(1024));
  const mine = attachLoop(words, 0, 1, () => {});
  t.teardown(() => mine.detach());
  const worker = thread(
    t,
    `
    native.attachLoop(workerData, 64, 65, () => {});
    let turns = 0;
    const turn = () => (++turns < 100 ? setImmediate(turn) : parentPort.postMessage(turns));
    turn();
  `,
    words,
  );
  await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  t.ok((words[64] as number) >= 90, String(words[64]));
  t.ok((words[0] as number) > 0);
  const last = words[64];
  await nextTurn();
  t.equal(words[64], last, 'nobody counts for a thread that has ended');
});

/** Attaches, says its wake id, and counts wakes in workerData[0]. */
const SLEEPER = `
  const { wakeId } = native.attachLoop(new Int32Array(64), 0, 32, () => {
    Atomics.add(workerData, 0, 1);
    Atomics.notify(workerData, 0);
  });
  parentPort.on('message', () => process.exit());
  parentPort.postMessage(wakeId);
`;

t.test('wake() wakes the loop of another thread, until that is gone', async (t) => {
  const heard = word();
  const worker = thread(t, SLEEPER, heard);
  const [wakeId] = (await once(worker, 'message')) as [number];
  for (let times = 1; times <= 20; times++) {
    t.equal(wake(wakeId), true);
    t.ok(reached(heard, times), 'while this thread stands still');
  }
  worker.postMessage('end');
  await once(worker, 'exit');
  t.equal(wake(wakeId), false);
  for (const nobody of [0, wakeId + 1000, 2 ** 32 - 1]) t.equal(wake(nobody), false);
});

t.test('a thread may wake itself, and what onWake promises is kept', async (t) => {
  const woken = await new Promise((resolve) => {
    const loop = attachLoop(new Int32Array(64), 0, 32, () => {
      Promise.resolve('microtask').then(resolve);
      loop.detach(); // from within its own callback
    });
    t.equal(wake(loop.wakeId), true);
    t.equal(wake(loop.wakeId), true, 'two may arrive as one');
    setTimeout(() => {}, 20_000).unref();
    const alive = setInterval(() => {}, 1_000); // an attached loop alone would end here
    t.teardown(() => clearInterval(alive));
  });
  t.equal(woken, 'microtask');
});

t.test('what onWake throws is that thread’s uncaught error', async (t) => {
  const worker = thread(
    t,
    `
    const loop = native.attachLoop(new Int32Array(64), 0, 32, () => {
      throw new RangeError('woken');
    });
    setInterval(() => {}, 1000);
    native.wake(loop.wakeId);
  `,
  );
  const [error] = await once(worker, 'error');
  t.match(error, { name: 'RangeError', message: 'woken' });
});

t.test('many threads wake many loops while those come and go', async (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.comment(`seed ${seed}`);
  const next = random(seed);
  const places = 4;
  // Wake ids of the loops there are; whoever reads one may find its loop gone.
  const ids = new Int32Array(new SharedArrayBuffer(4 * places));
  const control = new Int32Array(new SharedArrayBuffer(8));
  const wakers = Array.from({ length: 3 }, (_, index) =>
    thread(
      t,
      `
      const { ids, control, seed } = workerData;
      let state = seed | 1;
      let woken = 0;
      while (Atomics.load(control, 0) === 0) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        const id = Atomics.load(ids, (state >>> 0) % ids.length);
        if (native.wake(id)) woken++;
        else Atomics.wait(control, 0, 0, 1);
        if (woken % 64 === 0) Atomics.wait(control, 0, 0, 1);
      }
      parentPort.postMessage(woken);
    `,
      { ids, control, seed: seed + index },
    ),
  );
  let before: ReturnType<typeof descriptors> | undefined;
  const deadline = performance.now() + STRESS_MS;
  let generation = 0;
  for (; generation < 20 && performance.now() < deadline; generation++) {
    const heard = Array.from({ length: places }, word);
    const sleepers = heard.map(
      (each) => new Worker(PRELUDE + SLEEPER, { eval: true, workerData: each }),
    );
    const wakeIds = await Promise.all(
      sleepers.map(async (sleeper) => ((await once(sleeper, 'message')) as [number])[0]),
    );
    for (const [place, id] of wakeIds.entries()) Atomics.store(ids, place, id);
    const woken = heard.every((each, place) => {
      wake(wakeIds[place] as number);
      return reached(each, 1);
    });
    if (!woken) t.fail(`a loop of generation ${generation} was not woken`);
    // Some end by themselves, some are cut off, in the middle of being woken.
    const ended = sleepers.map(async (sleeper) => {
      const exit = once(sleeper, 'exit');
      if (next() < 0.5) sleeper.postMessage('end');
      else await sleeper.terminate();
      await exit;
    });
    await Promise.all(ended);
    if (wakeIds.some((id) => wake(id))) t.fail(`an ended loop of generation ${generation} wakes`);
    before ??= descriptors();
  }
  t.comment(`${generation} generations`);
  const told = wakers.map((waker) => once(waker, 'message'));
  Atomics.store(control, 0, 1);
  Atomics.notify(control, 0);
  const counts = (await Promise.all(told)).map(([woken]) => woken as number);
  t.ok(
    counts.every((woken) => woken > 0),
    `${counts} wakes`,
  );
  await Promise.all(wakers.map((waker) => waker.terminate()));
  t.ok(descriptors().size <= (before?.size ?? 0), 'no descriptor is left behind');
});

t.test('a thread is cut off in the middle of the helper, up to 200 times', async (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.comment(`seed ${seed}`);
  // In a process of its own, because a crash would take this one with it.
  const said = await output(
    t,
    `
    const { readdirSync, readFileSync, readlinkSync } = require('node:fs');
    const { Worker } = require('node:worker_threads');
    const random = (${random})(${seed});
    // What each in a folder of /proc/self says, but for those that are gone by then.
    const list = (what, tell) =>
      readdirSync('/proc/self/' + what).flatMap((each) => {
        try {
          return [tell('/proc/self/' + what + '/' + each).trim()];
        } catch {
          return [];
        }
      }).sort();
    const script = \`
      const { file, flag, attached } = require('node:worker_threads').workerData;
      Atomics.store(flag, 0, 1);
      Atomics.notify(flag, 0);
      if (attached) require(file).attachLoop(new Int32Array(64), 0, 32, () => {});
      for (;;) {
        delete require.cache[file]; // each time the addon sets itself up anew
        const native = require(file);
        const loop = native.attachLoop(new Int32Array(64), 0, 32, () => {});
        native.wake(loop.wakeId);
        native.affinity();
        try {
          native.nameOf(-1);
        } catch {}
        loop.detach();
      }
    \`;
    const left = async () => {
      let threads;
      // The kernel lists a thread a moment longer than it runs.
      for (let i = 0; i < 50; i++) {
        await new Promise(setImmediate);
        const now = list('task', (folder) => readFileSync(folder + '/comm', 'utf8'));
        if (!(now.length >= threads?.length)) threads = now;
      }
      return { threads, descriptors: list('fd', readlinkSync) };
    };
    (async () => {
      const deadline = performance.now() + ${STRESS_MS};
      let settled;
      let cycle = 0;
      for (; cycle < 30 || (cycle < 200 && performance.now() < deadline); cycle++) {
        const flag = new Int32Array(new SharedArrayBuffer(4));
        const attached = random() < 0.5;
        const worker = new Worker(script, {
          eval: true,
          workerData: { file: ${JSON.stringify(NATIVE)}, flag, attached },
        });
        Atomics.wait(flag, 0, 0);
        const until = performance.now() + 8 * random() ** 3;
        while (performance.now() < until);
        await worker.terminate();
        if (cycle === 20) settled = await left();
      }
      console.log(JSON.stringify([cycle, settled, await left()]));
    })();
  `,
  );
  const [cycles, settled, after] = JSON.parse(said);
  t.comment(`${cycles} times`);
  t.same(after, settled, 'descriptors and threads');
});

t.test('a thread that alone had the helper leaves a process that lives', async (t) => {
  // The process has its signal handler for good, and must not lose the code of it.
  const said = await output(
    t,
    `
    const { Worker } = require('node:worker_threads');
    const { once } = require('node:events');
    const script = \`require(${JSON.stringify(NATIVE)}).installSafepoint()\`;
    once(new Worker(script, { eval: true }), 'exit').then(() => {
      process.kill(process.pid, 'SIGURG');
      console.log('alive');
    });
  `,
    {},
    '', // its main thread must not load it
  );
  t.equal(said, 'alive\n');
});

const ONE = CPUS.length < 2 && 'there is one CPU';
t.test('children of a pinned thread start on all CPUs', { skip: ONE }, async (t) => {
  const said = await output(
    t,
    `
    const { Worker, isMainThread } = require('node:worker_threads');
    const { execFileSync } = require('node:child_process');
    native.widenInChildren(native.affinity());
    native.widenInChildren([${LAST}]); // the first one counts
    new Worker(\`
      const native = require(${JSON.stringify(NATIVE)});
      const { execFileSync } = require('node:child_process');
      const grep = ['Cpus_allowed_list', '/proc/self/status'];
      const child = () => execFileSync('grep', grep, { encoding: 'utf8' }).split(':')[1].trim();
      native.setAffinity([${LAST}]);
      const unmarked = child();
      native.markPinned(true);
      const marked = child();
      const own = native.affinity();
      native.markPinned(false);
      console.log(JSON.stringify([unmarked, marked, own, child()]));
    \`, { eval: true });
  `,
  );
  const [unmarked, marked, own, again] = JSON.parse(said);
  t.same(cpusOf(marked), CPUS);
  t.same([unmarked, own, again], [String(LAST), [LAST], String(LAST)]);
});

/** A thread that has a loop of gyre's, and says the id of it. */
async function peer(t: Test, script: string, data: unknown): Promise<[Worker, number, number]> {
  const worker = thread(
    t,
    `
    const loop = native.attachLoop(new Int32Array(64), 0, 32, () => {});
    parentPort.postMessage([loop.wakeId, native.threadId()]);
    ${script}
  `,
    data,
  );
  const [[wakeId, tid]] = await once(worker, 'message');
  return [worker, wakeId, tid];
}

/** Accepts what comes through the socket `fd`, and is then asked to end. */
const ACCEPTS = `
  const { fd, owned } = workerData;
  const watch = native.watchQueue(fd, () => {
    const accepted = watch.accept();
    if (accepted < 0) return;
    if (owned) watch.accepted[0] = -1;
    parentPort.postMessage(accepted);
  });
  watch.start();
  parentPort.postMessage('listens');
`;

for (const owned of [false, true]) {
  t.test(
    `what was accepted ${owned ? 'and has an' : 'but has no'} owner, when its thread is terminated`,
    async (t) => {
      const fd = openTcp('127.0.0.1', 0, 4, 0, 8);
      const worker = thread(t, ACCEPTS, { fd, owned });
      await once(worker, 'message');
      const client = net.connect(nameOf(fd).port, '127.0.0.1');
      t.teardown(() => client.destroy());
      const closed = once(client, 'close');
      client.resume();
      const [accepted] = (await once(worker, 'message')) as [number];
      t.match(descriptors().get(accepted), /^socket:/);
      await worker.terminate();
      t.equal(descriptors().has(fd), false, 'the watched descriptor is closed');
      t.equal(descriptors().has(accepted), owned, 'and the other one, if it is nobody’s');
      if (owned) close(accepted);
      await closed;
    },
  );
}

t.test('a queue is watched while that is wanted, and accepts one when asked', async (t) => {
  const fd = openTcp('127.0.0.1', 0, 4, 0, 8);
  const { port } = nameOf(fd);
  let ready = 0;
  const watch = watchQueue(fd, () => {
    ready++;
  });
  if (typeof watch === 'number') throw new Error(`errno ${watch}`);
  t.equal(watch.accept(), -constants.errno.EAGAIN);
  const clients = [net.connect(port, '127.0.0.1'), net.connect(port, '127.0.0.1')];
  t.teardown(() => clients.map((client) => client.destroy()));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  await nextTurn();
  t.equal(ready, 0, 'not before it is started');
  t.equal(watch.start(), 0);
  while (ready < 3) await nextTurn(); // again and again, as long as something waits
  watch.stop();
  ready = 0;
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  t.equal(ready, 0);
  const accepted = [watch.accept(), watch.accept()];
  t.equal(watch.accepted[0], accepted[1]);
  t.equal(watch.accept(), -constants.errno.EAGAIN);
  t.equal(watch.accepted[0], -1);
  for (const each of accepted) close(each);
  t.equal(listenOn(fd, 4), 0, 'a socket that listens may listen anew');
  watch.close();
  t.equal(descriptors().has(fd), false);
  t.ok((watchQueue(-1, () => {}) as number) < 0);
  t.equal(listenOn(-1, 4), -EBADF);
});

/** The descriptors that `create` opens, with what they are. */
function openedBy(create: () => void): [number, string][] {
  const before = descriptors();
  create();
  return [...descriptors()].filter(([fd]) => !before.has(fd));
}

t.test('a peer that a watcher is told of while it reports another is watched', async (t) => {
  const over = word();
  const burning = word();
  t.teardown(() => over.fill(1));
  const script = `
    const { burning, over } = workerData;
    parentPort.on('message', () => {
      Atomics.add(burning, 0, 1);
      Atomics.notify(burning, 0);
      while (Atomics.load(over, 0) === 0);
    });
  `;
  const [hung, first] = await peer(t, script, { burning, over });
  const [late, second] = await peer(t, script, { burning, over });
  hung.postMessage('burn'); // and nothing waits for it
  reached(burning, 1);
  let control = -1;
  const signalled = () => {
    const info = readFileSync(`/proc/self/fdinfo/${control}`, 'utf8');
    return !/^eventfd-count:\s+0$/m.test(info);
  };
  const stalled: number[] = [];
  const told = new Promise<void>((resolve) => {
    const watch = () => {
      const watcher = createWatcher(2, 1_000, () => {
        stalled.push(watcher.stalled(0) ? 0 : 1);
        if (stalled.length === 1) {
          watcher.set(1, second);
          while (signalled()); // until the watcher, which waits for `continue()`, has heard of it
          late.postMessage('burn');
          reached(burning, 2);
          late.postMessage('wait');
        } else {
          resolve();
        }
        watcher.continue();
      });
      t.teardown(() => watcher.stop());
      watcher.set(0, first);
    };
    [control] = openedBy(watch).find(([, what]) => what === 'anon_inode:[eventfd]') ?? [-1];
  });
  await told;
  t.same(stalled, [0, 1]);
});

t.test('what a thread has had of the CPUs is told as long as it lives', async (t) => {
  const flag = word();
  const script = `
    while (Atomics.load(workerData, 0) === 0);
    Atomics.wait(workerData, 0, 1);
  `;
  const [worker, wakeId] = await peer(t, script, flag);
  const burnt = (ms: number) => {
    const usage = usageOf(wakeId);
    return usage !== null && usage.runMs >= ms ? usage : null;
  };
  let usage = burnt(50);
  while (usage === null) usage = burnt(50);
  t.ok(usage.runnable);
  t.ok(CPUS.includes(usage.cpu));
  t.ok(usage.runs >= 1);
  t.ok(usage.delayMs >= 0);
  const before = usage;
  Atomics.store(flag, 0, 1);
  while (usageOf(wakeId)?.runnable) await nextTurn();
  t.match(usageOf(wakeId), { runnable: false }, 'it sleeps');
  t.ok((usageOf(wakeId)?.runMs ?? 0) >= before.runMs);
  await worker.terminate();
  t.equal(usageOf(wakeId), null);
  t.equal(usageOf(2 ** 31), null, 'nobody');
});

t.test('a thread is bound from another one', { skip: ONE }, async (t) => {
  const [worker, wakeId, tid] = await peer(t, `parentPort.on('message', () => {});`, null);
  t.ok(setCpus(wakeId, [LAST]));
  t.same(affinity(tid), [LAST]);
  t.ok(setCpus(wakeId, CPUS));
  t.same(affinity(tid), CPUS);
  t.equal(setCpus(wakeId, [8191]), false, 'there is no such CPU');
  t.same(affinity(tid), CPUS, 'and nothing has changed');
  await worker.terminate();
  t.equal(setCpus(wakeId, [LAST]), false, 'it is gone');
  t.same(affinity(), CPUS);
});

t.test('a thread steps back, and no other one', { skip: ONE }, async (t) => {
  const [worker, wakeId, tid] = await peer(t, `parentPort.on('message', () => {});`, null);
  const [own, its] = [os.getPriority(), os.getPriority(tid)];
  t.ok(stepBack(wakeId, 3));
  t.equal(os.getPriority(tid), Math.min(its + 3, 19));
  t.ok(stepBack(wakeId, 30), 'no farther than there is');
  t.equal(os.getPriority(tid), 19);
  t.equal(os.getPriority(), own);
  await worker.terminate();
  t.equal(stepBack(wakeId, 1), false, 'it is gone');
});

t.test(
  'who binds a thread is heard, and does not touch what that creates meanwhile',
  { skip: ONE },
  async (t) => {
    const flag = word();
    const cpus = { all: CPUS, flag };
    const script = `
    const { all, flag } = workerData;
    const same = (one, other) => one.join() === other.join();
    let wrong = 0;
    let times = 0;
    for (; Atomics.load(flag, 0) === 0; times++) {
      native.loosen(all);
      // Time for the other to bind it in the midst of this.
      for (let look = 0; look < 20; look++) if (!same(native.affinity(), all)) wrong++;
      native.tighten();
    }
    parentPort.postMessage({ wrong, times });
    parentPort.on('message', () => {});
  `;
    const [worker, wakeId, tid] = await peer(t, script, cpus);
    const deadline = performance.now() + 1_000;
    const last = [CPUS[0] as number];
    let lost = 0;
    for (let times = 0; performance.now() < deadline; times++) {
      setCpus(wakeId, times % 2 === 0 ? [LAST] : last);
    }
    setCpus(wakeId, last);
    Atomics.store(flag, 0, 1);
    const [{ wrong, times }] = await once(worker, 'message');
    if (affinity(tid).join() !== last.join()) lost++;
    t.comment(`${times} times`);
    t.ok(times > 10);
    t.same({ wrong, lost }, { wrong: 0, lost: 0 });
  },
);

t.test('a thread without a loop loosens and tightens itself, too', { skip: ONE }, async (t) => {
  const said = await output(
    t,
    `
    native.setAffinity([${LAST}]);
    native.loosen(${JSON.stringify(CPUS)});
    const loose = native.affinity();
    native.tighten();
    console.log(JSON.stringify([loose, native.affinity()]));
  `,
  );
  t.same(JSON.parse(said), [CPUS, [LAST]]);
});

const UNTRACED = reasonAgainst() ?? false;
t.test('a watcher that gets no thread is an error of its thread', { skip: UNTRACED }, async (t) => {
  const worker = thread(
    t,
    `
    parentPort.once('message', () => native.createWatcher(1, 1_000, () => {}));
    parentPort.postMessage(native.threadId());
  `,
  );
  const [tid] = (await once(worker, 'message')) as [number];
  const sockets = () => [...descriptors().values()].filter((what) => what.startsWith('socket:'));
  const before = sockets();
  const faults = ['clone', 'clone3'].map((call) => `${call}:error=EAGAIN`);
  const injection = await Injection.start(t, [tid], faults, path.join(folder(t), 'trace'));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage('create');
  const [error] = await once(worker, 'error');
  t.match(error, { code: 'ERR_GYRE_NATIVE', errno: -constants.errno.EAGAIN });
  await ended;
  t.ok((await injection.stop()) > 0);
  t.same(sockets(), before, 'and nothing of it stays open');
});

t.test('without the helper it says why, and every call is a coded error', async (t) => {
  const dir = t.testdir({ 'broken.node': 'no library' });
  for (const file of ['none', path.join(dir, 'missing.node'), path.join(dir, 'broken.node')]) {
    const said = await output(
      t,
      `
      const codes = new Set();
      const { affinity, duplicate, openTcp, wake, acceptOne, closeIfSame } = native;
      for (const call of [affinity, duplicate, openTcp, wake, acceptOne, closeIfSame]) {
        try {
          call();
          codes.add('none');
        } catch (error) {
          codes.add(error.code);
        }
      }
      const { hasHelper, hasLinuxParts, missingReason, misalignmentOf } = native;
      const nothing = [hasHelper, hasLinuxParts, misalignmentOf, native.threadId(), native.cookieOf(0)];
      console.log(JSON.stringify([missingReason !== '', nothing, [...codes]]));
    `,
      { GYRE_NATIVE: file },
    );
    const nothing = [false, false, null, null, null];
    t.same(JSON.parse(said), [true, nothing, ['ERR_GYRE_CAPABILITY']], path.basename(file));
  }
});

t.test('a loop that may be paused changes its epoll set by itself', async (t) => {
  const script = `
    const net = require('node:net');
    const { descriptors } = require(${JSON.stringify(PROC)});
    const rings = () =>
      [...descriptors().values()].filter((what) => what === 'anon_inode:[io_uring]').length;
    const before = rings();
    const seen = [];
    let hooks = null;
    const server = net.createServer((socket) => {
      // This one is watched already, and the loop is within its poll phase.
      hooks ??= native.attachLoop(new Int32Array(new SharedArrayBuffer(8)), 0, 1, () => {});
      seen.push([before - rings(), native.stopBatching(), before - rings()]);
      socket.pipe(socket);
    });
    server.listen(0, '127.0.0.1', async () => {
      const text = 'x'.repeat(4_000_000); // some of which waits until it can be written
      let whole = 0;
      for (let i = 0; i < 3; i++) {
        let got = '';
        const socket = net.connect(server.address().port, '127.0.0.1').setEncoding('latin1');
        socket.end(text);
        for await (const chunk of socket) got += chunk;
        if (got === text) whole++;
      }
      hooks.detach();
      server.close();
      console.log(JSON.stringify({ before, seen, whole }));
    });`;
  const starting = `
    const { Worker } = require('node:worker_threads');
    new Worker(${JSON.stringify(PRELUDE + script)}, { eval: true });`;
  // Node 20 makes rings only when it is told to.
  const ran = JSON.parse(await output(t, starting, { UV_USE_IO_URING: '1' }, ''));
  t.equal(ran.whole, 3, 'it goes on');
  if (ran.before === 0) {
    t.same(ran.seen, Array(3).fill([0, true, 0]));
    t.pass('rings', { skip: 'this system has no io_uring' });
    return;
  }
  t.same(ran.seen, Array(3).fill([1, true, 1]), 'without a ring');
});
