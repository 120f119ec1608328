/**
 * Each kind of source on what it is made for: real signals, files, pipes, terminals, sockets, and
 * what else the kernel can poll.
 */
import { execFileSync, type StdioOptions, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ROOT } from '../support/app.js';
import { events } from './told.js';

t.setTimeout(280_000); // of all tests in this file together

/** Both ends of a named pipe, non-blocking. */
function pipe(t: Test): { read: number; write: number } {
  const file = path.join(folder(t), 'pipe');
  execFileSync('mkfifo', [file]);
  const read = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  return { read, write: openSync(file, 'w') };
}

t.test('a timer fires at multiples of its period, on whoever has time', async (t) => {
  const { runtime, told } = await events(t, ['tick']);
  const before = performance.timeOrigin + performance.now();
  const timer = runtime.sources.timer({ name: 'tick', everyMs: 50 });
  const after = performance.timeOrigin + performance.now();
  t.match(timer, { name: 'tick', kind: 'timer', closed: false });
  const ticks = await told.count(10, 'begun');
  const [first] = ticks;
  const start = first?.payload.dueAtMs - first?.payload.n * 50;
  t.ok(start >= before && start <= after, 'it counts from the call');
  let last = 0;
  for (const { payload } of ticks) {
    t.equal(payload.n, last + 1 + payload.skipped);
    t.ok(Math.abs(payload.dueAtMs - (start + payload.n * 50)) < 0.01, `${payload.n} is due`);
    last = payload.n;
  }
  t.equal(new Set(ticks.map(({ worker }) => worker)).size, 2, 'both workers take part');
  await timer.close();
  t.equal(timer.closed, true);
  t.same(runtime.sources.list(), []);
  const { length } = told.of('begun');
  await sleep(200); // nothing is what is tested
  t.ok(told.of('begun').length - length <= 1, 'it fires no more');
  const idle = { name: 'tick', everyMs: 1_000_000 };
  for (const [more, placement, collaborates] of [
    [{}, 'divergent', null],
    [{ placement: 'divergent' }, 'divergent', null],
    [{ placement: 'collaborative' }, 'collaborative', null],
    [{ collaborates: 'k' }, 'collaborative', 'k'],
  ] as const) {
    const another = runtime.sources.timer({ ...idle, ...more });
    t.match(another.info(), { placement, collaborates });
    await another.close();
  }
});

t.test('a timer that fires once, at a time of the clock', async (t) => {
  const { runtime, told } = await events(t, ['once', 'late']);
  const atMs = Date.now() + 300;
  const timer = runtime.sources.timer({ name: 'once', atMs });
  const late = runtime.sources.timer({ name: 'late', atMs: 5, jitterMs: 10 });
  t.match((await told.count(1, 'begun', 'late'))[0]?.payload, { n: 1, dueAtMs: 5 });
  t.match((await told.count(1, 'begun', 'once'))[0]?.payload, { n: 1, dueAtMs: atMs, skipped: 0 });
  t.ok(Date.now() >= atMs, 'not before its time');
  await told.count(2, 'settled');
  await Promise.all([timer.close(), late.close()]);
  t.ok(timer.closed && late.closed, 'it is closed by that');
  t.equal(timer.info().fired, 1);
});

t.test('jitter delays each firing, and adds up to nothing', async (t) => {
  const { runtime, told } = await events(t, ['tick']);
  runtime.sources.timer({ name: 'tick', everyMs: 40, jitterMs: 39 });
  const ticks = await told.count(15, 'begun');
  const start = ticks[0]?.payload.dueAtMs - ticks[0]?.payload.n * 40;
  for (const { payload } of ticks) {
    t.ok(Math.abs(payload.dueAtMs - (start + payload.n * 40)) < 0.01, 'due without it');
  }
});

t.test('firings that come too fast for their handler are skipped, and counted', async (t) => {
  const { runtime, told } = await events(t, ['tick'], { workers: 1, maxWorkers: 1 });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: 5 });
  await told.count(3, 'begun');
  const blocked = runtime.sources.emit('tick', { block: 400 });
  await blocked;
  const { length } = told.of('begun');
  await told.count(length + 5, 'begun');
  const ticks = told.of('begun').filter(({ kind }) => kind === 'timer');
  const [skipping] = ticks.filter(({ payload }) => payload.skipped > 20);
  t.ok(skipping, 'one says how many there were');
  const { skipped, fired } = timer.info();
  const last = ticks.at(-1)?.payload.n;
  t.ok(skipped + fired >= last && skipped + fired <= last + 40, 'none is unaccounted for');
  await timer.close();
});

for (const concurrent of [false, true]) {
  t.test(`a timer that is ${concurrent ? '' : 'not '}concurrent`, async (t) => {
    const { runtime, told } = await events(t, ['tick'], { env: { WAIT: '100' } });
    const timer = runtime.sources.timer({ name: 'tick', everyMs: 20, concurrent });
    const ticks = await told.count(8, 'begun');
    await timer.close();
    await told.count(timer.info().handled, 'settled');
    let running = 0;
    let most = 0;
    for (const { what } of told.all) {
      running += what === 'begun' ? 1 : -1;
      most = Math.max(most, running);
    }
    if (concurrent) t.ok(most > 1, `${most} at once`);
    else t.equal(most, 1, 'one at a time');
    const { fired, skipped, handled, cancelled } = timer.info();
    t.equal(handled + cancelled, fired);
    t.ok(concurrent || skipped > fired, `${skipped} skipped, ${fired} fired`);
    t.equal(new Set(ticks.map(({ payload }) => payload.n)).size, ticks.length, 'no number twice');
  });
}

t.test('a signal', async (t) => {
  const { runtime, told } = await events(t, ['SIGUSR2', 'winch']);
  const before = process.listenerCount('SIGUSR2');
  const source = runtime.sources.signal('SIGUSR2');
  runtime.sources.signal('SIGWINCH', { name: 'winch' });
  t.match(source, { name: 'SIGUSR2', kind: 'signal' });
  process.kill(process.pid, 'SIGUSR2');
  process.kill(process.pid, 'SIGWINCH');
  t.match((await told.count(1, 'begun', 'SIGUSR2'))[0], {
    kind: 'signal',
    payload: { signal: 'SIGUSR2', times: 1 },
  });
  t.match((await told.count(1, 'begun', 'winch'))[0]?.payload, { signal: 'SIGWINCH' });
  t.equal(process.listenerCount('SIGUSR2'), before + 1);
  await source.close();
  t.equal(process.listenerCount('SIGUSR2'), before, 'a closed source leaves the signal alone');
});

t.test('signals that come while a handler is at work are one firing', async (t) => {
  const { runtime, told } = await events(t, ['SIGUSR2'], { workers: 1, maxWorkers: 1 });
  const source = runtime.sources.signal('SIGUSR2');
  const blocked = runtime.sources.emit('SIGUSR2', { block: 500 });
  await told.count(1, 'begun');
  for (let i = 0; i < 3; i++) {
    const came = once(process, 'SIGUSR2'); // the kernel keeps one of a kind only
    process.kill(process.pid, 'SIGUSR2');
    await came;
  }
  await blocked;
  const times = () => told.of('begun').reduce((sum, { payload }) => sum + (payload.times ?? 0), 0);
  await told.until(() => times() >= 3);
  await source.close();
  t.equal(times(), 3);
  t.ok(source.info().fired <= 2, 'the first, and the others when that had settled');
});

t.test('a path: what changes, and below it', async (t) => {
  const { runtime, told } = await events(t, ['flat', 'deep', 'file']);
  const root = folder(t);
  mkdirSync(path.join(root, 'sub'));
  const file = path.join(root, 'file');
  writeFileSync(file, 'first');
  const flat = runtime.sources.path(root, { name: 'flat' });
  const deep = runtime.sources.path(root, { name: 'deep', recursive: true });
  runtime.sources.path(file, { name: 'file' });
  await sleep(100); // node's recursive watching begins some turns later, and does not say when
  writeFileSync(file, 'second');
  t.match((await told.count(1, 'begun', 'file'))[0]?.payload, {
    path: file,
    changes: [{ type: 'change', file: 'file' }],
    more: 0,
  });
  const seen = (name: string, wanted: string) => () =>
    told
      .of('begun', name)
      .some(({ payload }) =>
        payload.changes.some((change: { file: string }) => change.file === wanted),
      );
  await told.until(seen('flat', 'file'));
  writeFileSync(path.join(root, 'sub', 'below'), 'x');
  await told.until(seen('deep', path.join('sub', 'below')));
  t.notOk(seen('flat', path.join('sub', 'below'))());
  await Promise.all([flat.close(), deep.close()]);
  writeFileSync(file, 'third');
  const { length } = told.of('begun', 'flat');
  await told.count(2, 'begun', 'file');
  t.equal(told.of('begun', 'flat').length, length);
});

t.test('changes that come while a handler is at work are in the next firing', async (t) => {
  const { runtime, told } = await events(t, ['dir'], { workers: 1, maxWorkers: 1 });
  const root = folder(t);
  const source = runtime.sources.path(root, { name: 'dir' });
  const blocked = runtime.sources.emit('dir', { block: 300 });
  await told.count(1, 'begun');
  writeFileSync(path.join(root, 'a'), '');
  await sleep(50); // another turn of the loop
  for (let i = 0; i < 1_200; i++) writeFileSync(path.join(root, `b${i}`), '');
  await blocked;
  const paths = () => told.of('begun').filter(({ kind }) => kind === 'path');
  await told.until(() => paths().length === 2 || paths()[0]?.payload.more > 0);
  await source.close();
  const all = paths().flatMap(({ payload }) => payload.changes);
  const more = paths().reduce((sum, { payload }) => sum + payload.more, 0);
  t.ok(paths().length <= 3);
  t.ok(all.some(({ file }) => file === 'a'));
  t.ok(all.length <= 2_001 && more > 0, `${all.length} and ${more} more`);
});

t.test('a pipe: each firing is one handler, which reads; its end is the source’s', async (t) => {
  const before = descriptors();
  const { runtime, told } = await events(t, ['pipe']);
  const { read, write } = pipe(t);
  const source = runtime.sources.fd(read, { name: 'pipe' });
  closeSync(read);
  writeSync(write, 'one');
  t.match((await told.count(1, 'begun'))[0], {
    kind: 'fd',
    read: 'one',
    payload: { fd: Number, readable: true, writable: false, hangup: false },
  });
  await told.count(1, 'settled');
  writeSync(write, 'two');
  t.equal((await told.count(2, 'begun'))[1]?.read, 'two');
  writeSync(write, 'three');
  closeSync(write);
  await told.until(() => source.closed);
  const text = told.of('begun').map((each) => each.read);
  t.equal(text.join(''), 'onetwothree', 'nothing is left in it, and nothing came twice');
  t.ok(text.length <= 4, `it does not fire for ever: ${text}`);
  await source.close();
  await runtime.close();
  t.equal(descriptors().size, before.size, 'its duplicate is closed');
});

t.test('until its handler has settled a descriptor is not looked at', async (t) => {
  const { runtime, told } = await events(t, ['pipe'], { workers: 1, maxWorkers: 1 });
  const { read, write } = pipe(t);
  const source = runtime.sources.fd(read, { name: 'pipe' });
  const blocked = runtime.sources.emit('pipe', { block: 200 });
  await told.count(1, 'begun');
  writeSync(write, 'x');
  await blocked;
  await told.count(2, 'settled');
  t.equal(source.info().fired, 1);
  await source.close();
  closeSync(read);
  closeSync(write);
});

t.test('a descriptor that nobody handles waits for somebody who does', async (t) => {
  const { runtime, told } = await events(t, ['job']);
  const { read, write } = pipe(t);
  const source = runtime.sources.fd(read, { name: 'later' });
  writeSync(write, 'x');
  await told.until(() => told.failures.length > 0);
  await sleep(100); // it must not spin meanwhile
  t.same(told.codes, ['ERR_GYRE_EVENT_UNHANDLED']);
  t.match(source.info(), { fired: 1, unhandled: 1 });
  await source.close();
  closeSync(read);
  closeSync(write);
});

t.test('a socket, to be written to, and closed by its handler', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  t.teardown(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  const { runtime, told } = await events(t, ['socket'], { env: { CLOSES: '1' } });
  const { fd } = (client as unknown as { _handle: { fd: number } })._handle;
  const source = runtime.sources.fd(fd, { name: 'socket', read: false, write: true });
  t.match((await told.count(1, 'begun'))[0]?.payload, { readable: false, writable: true });
  await told.until(() => source.closed);
  await source.close();
  t.equal(told.of('begun').length, 1);
});

/** Why `script` does not run here, or false. */
function lacking(script: string): string | false {
  return spawnSync('python3', ['-c', script]).status === 0 ? false : `python3 cannot: ${script}`;
}

// A terminal is unlocked and opened by its other end.
const TERMINAL = `
import fcntl, os, struct, sys
fd = int(sys.argv[1])
fcntl.ioctl(fd, 0x40045431, struct.pack('i', 0))
n = struct.unpack('I', fcntl.ioctl(fd, 0x80045430, b'\\0\\0\\0\\0'))[0]
os.write(os.open('/dev/pts/%d' % n, os.O_RDWR | os.O_NOCTTY), b'hello')`;

const noTerminal = lacking('import os; os.openpty()');
t.test('a terminal, which is what a serial line is', { skip: noTerminal }, async (t) => {
  const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NONBLOCK);
  const { runtime, told } = await events(t, ['tty']);
  const source = runtime.sources.fd(master, { name: 'tty' });
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', master];
  const { status, stderr } = spawnSync('python3', ['-c', TERMINAL, '3'], { stdio });
  t.equal(status, 0, String(stderr));
  t.equal((await told.count(1, 'begun'))[0]?.read, 'hello');
  await source.close();
  closeSync(master);
});

// Node cannot make them, so whoever can starts it with them as descriptors.
const MAKING = `
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
event = os.eventfd(0, os.EFD_NONBLOCK)
notify = libc.inotify_init1(os.O_NONBLOCK)
libc.inotify_add_watch(notify, sys.argv[1].encode(), 0x100)
timer = libc.timerfd_create(1, os.O_NONBLOCK)
libc.timerfd_settime(timer, 0, struct.pack('qqqq', 0, 0, 0, 200_000_000), None)
for fd in (event, notify, timer): os.set_inheritable(fd, True)
os.execvp(sys.argv[2], sys.argv[2:] + [str(event), str(notify), str(timer)])`;

import { folder } from '../support/folder.js';
import { descriptors } from '../support/proc.js';
import { Running } from '../support/running.js';

const noEventfd = lacking('import os; os.eventfd');
t.test('an eventfd, a timerfd and inotify', { skip: noEventfd }, async (t) => {
  const watched = folder(t);
  const host = path.join(ROOT, 'dist', 'test', 'sources', 'polling-host.js');
  const command = ['-c', MAKING, watched, process.execPath, host, watched];
  const run = new Running(t, 'python3', command);
  t.same(await run.ended(), { code: 0, signal: null }, run.stderr);
  t.match(JSON.parse(run.stdout), { event: '5', notify: 'made', timer: '1' });
});

t.test('misuse is an error at the call, and leaves nothing behind', async (t) => {
  const { runtime } = await events(t, ['job'], { handleSignals: true });
  const { sources } = runtime;
  const { read, write } = pipe(t);
  const closedFd = openSync('/dev/null', 'r');
  closeSync(closedFd);
  const file = openSync(__filename, 'r');
  sources.timer({ name: 'taken', everyMs: 1_000_000 });
  const any = (value: unknown) => value as never;
  const udp = { port: 0, host: '127.0.0.1' };
  const { address } = sources.datagram({ ...udp, name: 'udp' });
  const before = descriptors().size;
  const listeners = process.listenerCount('SIGUSR2');
  const cases: [string, () => unknown][] = [
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer(any(undefined))],
    ['ERR_GYRE_OPTION_UNKNOWN', () => sources.timer(any({ name: 'x', every: 5 }))],
    ['ERR_GYRE_SOURCE_NAME', () => sources.timer(any({ everyMs: 5 }))],
    ['ERR_GYRE_SOURCE_NAME', () => sources.timer({ name: '', everyMs: 5 })],
    ['ERR_GYRE_SOURCE_NAME', () => sources.timer({ name: 'taken', everyMs: 5 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x' })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 0 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 2 ** 31 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: any('5') })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', atMs: Number.NaN })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 5, jitterMs: 5 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 5, jitterMs: -1 })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.timer({ name: 'x', everyMs: 5, atMs: 5 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 5, retry: -1 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.timer({ name: 'x', everyMs: 5, collaborates: '' })],
    [
      'ERR_GYRE_OPTION_INVALID',
      () => sources.timer({ name: 'x', everyMs: 5, placement: any('near') }),
    ],
    [
      'ERR_GYRE_OPTION_CONFLICT',
      () => sources.path('/', { placement: 'divergent', collaborates: 'k' }),
    ],
    ['ERR_GYRE_OPTION_UNKNOWN', () => sources.emit('x', 1, any({ name: 'y' }))],
    ['ERR_GYRE_SOURCE_NAME', () => sources.emit('')],
    ['ERR_GYRE_EVENT_PAYLOAD', () => sources.emit('x', () => {})],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal(any('SIGNOPE'))],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal(any(12))],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal('SIGKILL')],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal('SIGSTOP')],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal('SIGSEGV')],
    ['ERR_GYRE_SOURCE_SIGNAL', () => sources.signal('SIGURG')],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.signal('SIGTERM')],
    ['ERR_GYRE_OPTION_UNKNOWN', () => sources.signal('SIGUSR2', any({ times: 1 }))],
    ['ERR_GYRE_SOURCE_NAME', () => sources.signal('SIGUSR2', { name: 'taken' })],
    ['ERR_GYRE_SOURCE_PATH', () => sources.path('/nowhere/at/all')],
    ['ERR_GYRE_SOURCE_PATH', () => sources.path('/nowhere/at/all', { recursive: true })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.path('')],
    ['ERR_GYRE_OPTION_INVALID', () => sources.path('a\0b')],
    ['ERR_GYRE_OPTION_INVALID', () => sources.path('/', { recursive: any(1) })],
    ['ERR_GYRE_SOURCE_NAME', () => sources.path('/', { name: 'taken' })],
    ['ERR_GYRE_SOURCE_FD', () => sources.fd(closedFd)],
    ['ERR_GYRE_SOURCE_FD', () => sources.fd(-1)],
    ['ERR_GYRE_SOURCE_FD', () => sources.fd(any('3'))],
    ['ERR_GYRE_SOURCE_FD', () => sources.fd(file)],
    ['ERR_GYRE_SOURCE_NAME', () => sources.fd(read, { name: 'taken' })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.fd(read, { read: false })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.fd(read, { concurrent: any(true) })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.fd(read, { write: any('yes') })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.datagram(any({}))],
    ['ERR_GYRE_OPTION_INVALID', () => sources.datagram({ port: 65_536 })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.datagram({ port: 0, host: 'localhost' })],
    ['ERR_GYRE_OPTION_INVALID', () => sources.datagram({ port: 0, type: any('tcp') })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.datagram({ port: 0, host: '::1', type: 'udp4' })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.datagram({ port: 0, retry: any(true) })],
    ['ERR_GYRE_OPTION_CONFLICT', () => sources.datagram({ port: 0, timeoutMs: any(5) })],
    [
      'ERR_GYRE_OPTION_CONFLICT',
      () => sources.datagram({ port: 0, sockets: 'each', concurrent: false }),
    ],
    ['ERR_GYRE_OPTION_INVALID', () => sources.datagram({ port: 0, inFlightMax: 0 })],
    ['ERR_GYRE_SOURCE_NAME', () => sources.datagram({ ...udp, name: 'taken' })],
    ['EADDRINUSE', () => sources.datagram({ ...udp, port: address.port })],
    ['EADDRINUSE', () => sources.datagram({ ...udp, port: address.port, sockets: 'each' })],
    ['EADDRNOTAVAIL', () => sources.datagram({ port: 0, host: '192.0.2.1' })],
  ];
  for (const [code, call] of cases) t.throws(call, { name: 'GyreError', code }, `${call}`);
  t.same(
    sources.list().map(({ name }) => name),
    ['taken', 'udp'],
  );
  t.equal(descriptors().size, before);
  t.equal(process.listenerCount('SIGUSR2'), listeners);
  await runtime.close();
  t.throws(() => sources.timer({ name: 'x', everyMs: 5 }), { code: 'ERR_GYRE_CLOSED' });
  t.throws(() => sources.datagram(udp), { code: 'ERR_GYRE_CLOSED' });
  for (const fd of [read, write, file]) closeSync(fd);
});
