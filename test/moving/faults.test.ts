/**
 * What happens when the system refuses: system calls of the governor fail or come late
 * while byte-exact traffic runs and connections are moved at random. A move that fails
 * leaves the connection where it was, so nobody but the counters may notice.
 */
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import t, { type Test } from 'tap';
import { app } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host, type HostOptions, limitFor, total } from './host.js';
import { Injection, reasonAgainst, threadOf } from './injection.js';
import { Traffic, type TrafficOptions } from './traffic.js';

const seed = testSeed();
const GOVERNOR = /-gov$/;
const WORKER = /-w0$/;

t.comment(`seed ${seed}`);
t.setTimeout(280_000); // of all tests in this file together

function start(t: Test, options: HostOptions = {}): Promise<Host> {
  const scheduler = { chaos: true, seed };
  return Host.start(t, { entry: app('verify.js'), workers: 2, spares: 0, scheduler }, options);
}

function traffic({ addresses }: Facts, options: Partial<TrafficOptions>): Traffic {
  const to = { host: '127.0.0.1', port: (addresses[0] as { port: number }).port };
  return new Traffic({ to, seed, lanes: 16, burnMs: 4, pauseMs: 10, ...options });
}

function idle(facts: Facts): boolean {
  return total(facts, 'connections') === 0;
}

interface Fault {
  readonly name: string;
  readonly thread: RegExp;
  /** For strace; see {@link Injection.start}. */
  readonly injects: readonly string[];
  /** What of the board shows that it happened. */
  readonly counted: 'failures' | 'refused' | 'mismatches' | null;
  readonly traffic?: Partial<TrafficOptions>;
  /** Nothing moves while it lasts. */
  readonly stops?: boolean;
}

/** Connections that come and go, so that some wait in accept queues. */
const CHURN = { lanes: 32, requestsMax: 2, pauseMs: 0, burnMs: 8 };

const FAULTS: readonly Fault[] = [
  {
    name: 'no descriptor for the duplicate',
    thread: GOVERNOR,
    injects: ['fcntl:error=EMFILE:when=1+2'],
    counted: 'failures',
  },
  {
    name: 'no descriptor in the whole system',
    thread: GOVERNOR,
    injects: ['fcntl:error=ENFILE'],
    counted: 'failures',
    stops: true,
  },
  {
    // Taken out, put in; and every fourth call fails, which is now the one and now the other.
    name: 'an epoll set that cannot be changed',
    thread: GOVERNOR,
    injects: ['epoll_ctl:error=ENOMEM:when=3+4'],
    counted: 'failures',
  },
  {
    name: 'an old number that cannot be replaced',
    thread: GOVERNOR,
    injects: ['dup3:error=EBUSY:when=1+2'],
    counted: 'failures',
  },
  {
    name: 'an accept queue that gives nothing away',
    thread: GOVERNOR,
    injects: ['accept4:error=EMFILE:when=1+2'],
    counted: 'failures',
    traffic: CHURN,
  },
  {
    name: 'a thread that cannot be signalled',
    thread: GOVERNOR,
    injects: ['rt_tgsigqueueinfo:error=EAGAIN:when=1+2'],
    counted: 'refused',
  },
  {
    name: 'a kernel that does not say how much was consumed',
    thread: GOVERNOR,
    injects: ['getsockopt:error=ENOBUFS:when=1+3', 'ioctl:error=EINVAL:when=2+3'],
    counted: 'mismatches',
  },
  {
    name: 'an epoll set that cannot be looked into',
    thread: GOVERNOR,
    injects: ['epoll_wait:error=EINTR:when=1+2'],
    counted: null,
  },
  {
    // Longer than the governor waits for it. Not errors: a wake never has one, and the
    // locks of V8 and libc count on that.
    name: 'a thread that pauses late and goes on late',
    thread: WORKER,
    injects: ['futex:delay_enter=12000:when=1+2'],
    counted: 'refused',
  },
  {
    name: 'a governor that is late, and interrupted',
    thread: GOVERNOR,
    injects: ['futex:delay_exit=1000:signal=SIGURG:when=1+3'],
    counted: null,
  },
];

/** Descriptors that are free when every lane has one: those that moving leaves, and a few. */
const SPARE = 32 + 4;

/** Injections that one fault must have had, moves under it, and moves when it is over. */
const INJECTED = 50;
const MOVES = 300;

const skip = reasonAgainst() ?? false;

t.test('a failed system call costs one move and nothing else', { skip }, async (t) => {
  const directory = folder(t);
  const host = await start(t);
  const first = await host.facts();
  t.match(first.move, { available: true });
  // What a worker opens for its first connections stays, so each must have had some.
  const firstLoad = traffic(first, { lanes: 8 });
  await host.factsWhen(({ snapshot }) => snapshot.workers.every(({ received }) => received > 20));
  await firstLoad.stop();
  const before = await host.settled(idle);

  for (const { name, thread, injects, counted, stops = false, ...more } of FAULTS) {
    await t.test(name, async (t) => {
      const load = traffic(first, more.traffic ?? {});
      const moves = (facts: Facts) => total(facts, 'received');
      const count = (facts: Facts) => (counted === null ? 0 : total(facts, counted));
      const calm = await host.factsWhen((facts) => moves(facts) >= moves(first) + MOVES);
      const file = path.join(directory, 'trace');
      const injection = await Injection.start(t, [threadOf(host.pid, thread)], injects, file);
      const begun = await host.facts();
      const after = await host.factsWhen(
        (facts) =>
          load.report.wrong.length > 0 ||
          ((stops || moves(facts) >= moves(begun) + MOVES) &&
            (counted === null || count(facts) >= count(begun) + INJECTED)),
        400,
      );
      const injected = await injection.stop();
      t.comment(
        `${injected} injected, ${moves(after) - moves(begun)} moves, ` +
          `${count(after) - count(begun)} ${counted}; ${count(begun) - count(calm)} before`,
      );
      t.ok(injected >= INJECTED, 'the calls were tampered with');
      if (counted !== null) t.ok(count(after) >= count(begun) + INJECTED, 'and it was counted');
      const later = await host.factsWhen((facts) => moves(facts) >= moves(after) + MOVES);
      t.ok(moves(later) >= moves(after) + MOVES, 'then everything moves again');
      const { wrong, answers } = await load.stop();
      t.same(wrong, [], `${answers} answers were right`);
      const end = await host.factsWhen(
        (facts) => idle(facts) && isDeepStrictEqual(facts.descriptors, before.descriptors),
      );
      t.equal(total(end, 'connections'), 0, 'no connection is left');
      t.same(end.descriptors, before.descriptors, 'no descriptor is left');
    });
  }
  await host.close(t);
});

t.test('where descriptors are short nobody has fewer because of moving', async (t) => {
  const lanes = 24;
  const probe = await start(t);
  const limit = limitFor(await probe.facts(), lanes + SPARE);
  await probe.close(t);

  const host = await start(t, { under: ['prlimit', `--nofile=${limit}:${limit}`] });
  const first = await host.facts();
  const load = traffic(first, { lanes, burnMs: 8 });
  const after = await host.factsWhen(
    (facts) =>
      load.report.wrong.length > 0 ||
      (total(facts, 'failures') >= INJECTED && total(facts, 'received') >= MOVES),
    400,
  );
  const { wrong, answers } = await load.stop();
  t.comment(`${total(after, 'failures')} failures, ${total(after, 'received')} moves, of ${limit}`);
  t.same(wrong, [], `${answers} answers were right`);
  t.ok(total(after, 'failures') >= INJECTED, 'descriptors ran out');
  const end = await host.factsWhen(idle);
  t.equal(total(end, 'connections'), 0, 'no connection is left');
  await host.close(t);
});
