/**
 * System calls of workers and of the main thread that fail, or come late, under steady traffic
 * (those of the governor: test/moving/faults.test.ts). What the kernel may answer at any time
 * must cost time only. Not injected: errors that mean that a connection is lost, and those
 * that libuv takes for a bug and aborts the process at, as any of epoll_ctl(2) in a worker.
 */
import path from 'node:path';
import t from 'tap';
import { Host, total } from '../moving/host.js';
import { Injection, reasonAgainst, threadOf } from '../moving/injection.js';
import { app, HOST, portOf } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { comesBackTo, footprintOf } from './footprint.js';
import { scaled, timeLimit } from './scale.js';
import { Newcomers, Steady, warmUp } from './steady.js';

const seed = testSeed();

const LANES = 32;
const PER_SECOND = 400;
/** How many answers there must be under each fault. */
const ANSWERS = scaled(400, 10_000);

const WORKERS = (pid: number) => [threadOf(pid, /-w0$/), threadOf(pid, /-w1$/)];
const MAIN = (pid: number) => [pid];

interface Fault {
  readonly name: string;
  readonly threads: (pid: number) => number[];
  /** For strace; see {@link Injection.start}. */
  readonly injects: readonly string[];
}

const FAULTS: readonly Fault[] = [
  {
    name: 'accept4: interrupted, or the client has gone',
    threads: WORKERS,
    injects: ['accept4:error=ECONNABORTED:when=1+3'],
  },
  {
    name: 'a sleep that is interrupted',
    threads: WORKERS,
    injects: ['epoll_pwait:error=EINTR:when=1+2'],
  },
  {
    name: 'nothing to read after all',
    threads: WORKERS,
    injects: ['read:error=EAGAIN:when=1+3'],
  },
  {
    name: 'a read that is interrupted',
    threads: WORKERS,
    injects: ['read:error=EINTR:when=1+2'],
  },
  {
    name: 'no room to write',
    threads: WORKERS,
    injects: ['writev,sendmsg:error=EAGAIN:when=1+2'],
  },
  {
    name: 'a write that is interrupted',
    threads: WORKERS,
    injects: ['write,writev,sendmsg:error=EINTR:when=1+2'],
  },
  {
    name: 'workers that wake late, and go on late',
    threads: WORKERS,
    injects: ['futex:delay_enter=5000:when=1+3', 'epoll_pwait:delay_exit=2000:when=1+5'],
  },
  {
    name: 'a main thread that is late',
    threads: MAIN,
    injects: ['futex:delay_enter=5000', 'epoll_pwait:delay_exit=20000:when=1+2'],
  },
];

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(900_000));

const skip = reasonAgainst() ?? false;

t.test('a system call that fails costs nobody more than time', { skip }, async (t) => {
  const host = await Host.start(t, { entry: app('verify.js'), workers: 2, spares: 0 });
  const to = { host: HOST, port: portOf(await host.facts()) };
  await warmUp(to, seed);
  for (const { name, threads, injects } of FAULTS) {
    await t.test(name, async (t) => {
      const before = await footprintOf(host);
      const load = await Steady.start({
        ...{ to, seed, connections: LANES, perSecond: PER_SECOND, delayMs: 5 },
      });
      t.teardown(() => load.end());
      const newcomers = new Newcomers({ to, seed }, 4, 5);
      const injection = await Injection.start(
        t,
        threads(host.pid),
        injects,
        path.join(folder(t), 'trace'),
      );
      const latencies = load.measure();
      const answersBefore = load.answers;
      await load.until(() => load.answers >= answersBefore + ANSWERS);
      for (let i = 0; i < 4; i++) await host.facts(); // or main might sleep through all of it
      await load.stop();
      await newcomers.stop();
      await host.factsWhen((facts) => total(facts, 'connections') === 0);
      // strace lets go of a thread wherever that is. Of a call that is being tampered with just then comes ENOSYS.
      const injected = await injection.stop();
      const { p50, p99, max } = latencies.percentiles();
      t.comment(`${injected} injected; ms: p50 ${p50}, p99 ${p99}, max ${max}`);
      t.ok(injected > 0, 'the calls were tampered with');
      t.same(
        [load.wrong, newcomers.wrong, load.losses, newcomers.losses],
        [[], [], [], []],
        'no answer was wrong, or lost',
      );
      t.same([load.refused, newcomers.refused], [[], []], 'nobody was refused');
      await comesBackTo(t, host, before);
    });
  }
  await host.close(t);
});
