/**
 * The ledger of listening sockets, on real sockets and without threads: the test plays
 * the workers, and closes what they would close.
 */
import { closeSync, existsSync, fstatSync, openSync, rmSync, writeFileSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { constants } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import {
  close,
  cookieOf,
  duplicate,
  nameOf,
  openTcp,
  openUnix,
  TCP_IPV6ONLY,
  TCP_REUSEPORT,
} from '../../src/native.js';
import type { ListenAddress, ListenRequest, Opened, ToWorker } from '../../src/protocol.js';
import { Listeners } from '../../src/runtime/listeners.js';
import { ROOT } from '../support/app.js';
import { folder } from '../support/folder.js';
import { descriptors } from '../support/proc.js';
import { Running } from '../support/running.js';

const { EADDRINUSE, ECANCELED, EINVAL, EMFILE } = constants.errno;

/** A ledger, and what it told the workers. */
/** Workers from this number on are spares. */
const SPARE = 100;

class Ledger {
  readonly listeners: Listeners;
  readonly sent: { worker: number; message: ToWorker }[] = [];
  readonly granted: { worker: number; address: ListenAddress }[] = [];
  /** Who takes over from whom. */
  readonly replaces = new Map<number, number>();
  awaitsSuccessor = false;
  closes = false;

  constructor(t: Test, balanced = true) {
    this.listeners = new Listeners(balanced, 511, {
      standsBy: (worker) => this.closes || worker >= SPARE,
      replaces: (worker) => this.replaces.get(worker) ?? null,
      awaitsSuccessor: () => this.awaitsSuccessor,
      moves: () => true,
      send: (worker, message) => this.sent.push({ worker, message }),
      granted: (worker, address) => this.granted.push({ worker, address }),
    });
    t.teardown(() => this.listeners.close());
  }

  open(worker: number, listen: ListenRequest): Opened {
    const reply = this.listeners.open(worker, listen);
    if (!reply.ok) throw new Error(`refused: ${reply.errno}`);
    return reply;
  }

  /** As a worker does whose server closes. */
  release(worker: number, { grant, fd }: Opened, extras: readonly number[] = []): void {
    for (const each of [fd, ...extras]) close(each);
    this.listeners.release(worker, grant, [fd, ...extras]);
  }

  /** Messages that came since the last look. */
  news(): { worker: number; message: ToWorker }[] {
    return this.sent.splice(0);
  }

  /** The one socket that has been offered since the last look. */
  adopted(): { worker: number; grant: number; fd: number } {
    const [only, ...others] = this.news();
    if (only?.message.kind !== 'adopt' || others.length > 0) throw new Error('not one offer');
    const { grant, fd } = only.message;
    return { worker: only.worker, grant, fd };
  }
}

function tcp(options: Partial<Extract<ListenRequest, { kind: 'tcp' }>> = {}): ListenRequest {
  return {
    kind: 'tcp',
    address: '127.0.0.1',
    family: 4,
    port: 0,
    flags: 0,
    backlog: 0,
    ...options,
  };
}

function portOf({ address }: Opened): number {
  return address.family === 'unix' ? 0 : address.port;
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** Opens a file under the number `fd`, which is free. */
function reuse(t: Test, fd: number): void {
  const opened: number[] = [];
  t.teardown(() =>
    opened.forEach((each) => {
      closeSync(each);
    }),
  );
  while (opened.at(-1) !== fd) opened.push(openSync(__filename, 'r'));
}

/** What becomes of a connection: 'connected', or the error's code. */
function connect(t: Test, where: net.NetConnectOpts): Promise<{ outcome: string; socket: Socket }> {
  return new Promise((resolve) => {
    const socket = net.connect(where);
    t.teardown(() => socket.destroy());
    socket.on('connect', () => resolve({ outcome: 'connected', socket }));
    socket.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve({ outcome: `${code}`, socket }),
    );
  });
}

async function outcomeOf(t: Test, port: number): Promise<string> {
  return (await connect(t, { port, host: '127.0.0.1' })).outcome;
}

t.test('each worker gets a socket of its own on the one address', (t) => {
  const ledger = new Ledger(t);
  const replies = [0, 1, 2].map((worker) => ledger.open(worker, tcp()));
  t.equal(new Set(replies.map(({ fd }) => cookieOf(fd))).size, 3, 'three sockets');
  t.equal(new Set(replies.map(portOf)).size, 1, 'one port');
  t.same(new Set(replies.map(({ listener }) => listener)).size, 1, 'one listener');
  t.same(ledger.listeners.descriptors(), { main: 3, workers: 3 });
  t.same(ledger.listeners.workersOf(replies[0]?.listener ?? 0), [0, 1, 2]);
  const [first] = replies;
  t.same(ledger.listeners.addresses(), [first?.address]);
  t.same(
    ledger.granted,
    [0, 1, 2].map((worker) => ({ worker, address: first?.address })),
  );
  t.end();
});

t.test('who replaces another accepts from the same socket', (t) => {
  const ledger = new Ledger(t);
  const [old, other] = [0, 1].map((worker) => ledger.open(worker, tcp())) as [Opened, Opened];
  ledger.replaces.set(2, 0);
  const next = ledger.open(2, tcp());
  t.equal(portOf(next), portOf(old), 'the n-th port 0 is the same for each thread');
  t.equal(cookieOf(next.fd), cookieOf(old.fd));
  t.not(cookieOf(next.fd), cookieOf(other.fd));
  t.same(ledger.listeners.descriptors(), { main: 2, workers: 3 }, 'no socket more');
  ledger.release(0, old);
  t.same(ledger.news(), [], 'there is nothing to share out');
  t.same(ledger.listeners.descriptors(), { main: 2, workers: 2 });
  t.end();
});

t.test('sockets stay open while somebody may come who accepts from them', async (t) => {
  const ledger = new Ledger(t);
  const [first, second] = [0, 1].map((worker) => ledger.open(worker, tcp())) as [Opened, Opened];
  const port = portOf(first);
  ledger.awaitsSuccessor = true;
  for (const { fd } of [first, second]) close(fd); // as a thread's end does
  ledger.listeners.abandon(0);
  ledger.news();
  ledger.listeners.abandon(1);
  t.same(ledger.listeners.descriptors(), { main: 2, workers: 0 });
  t.equal(await outcomeOf(t, port), 'connected', 'it waits in a queue');
  const [, adopted] = [ledger.open(2, tcp()), ledger.news()];
  t.match(adopted, [{ worker: 2, message: { kind: 'adopt' } }], 'the first gets both');
  const back = ledger.open(3, tcp());
  t.equal(portOf(back), port);
  t.match(ledger.news(), [{ worker: 2, message: { kind: 'yield' } }], 'until there is another');
  t.same(ledger.listeners.descriptors(), { main: 2, workers: 3 });
  t.end();
});

t.test('and are closed when nobody came', async (t) => {
  const ledger = new Ledger(t);
  const { fd, ...opened } = ledger.open(0, tcp());
  ledger.awaitsSuccessor = true;
  close(fd);
  ledger.listeners.abandon(0);
  ledger.listeners.settle();
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 0 });
  ledger.awaitsSuccessor = false;
  ledger.listeners.settle();
  t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  t.equal(await outcomeOf(t, portOf({ fd, ...opened })), 'ECONNREFUSED');
  t.end();
});

t.test('where the kernel does not balance, all workers share one socket', (t) => {
  const ledger = new Ledger(t, false);
  const replies = [0, 1].map((worker) => ledger.open(worker, tcp()));
  t.equal(new Set(replies.map(({ fd }) => cookieOf(fd))).size, 1);
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 2 });
  ledger.release(0, replies[0] as Opened);
  t.same(ledger.news(), [], 'nothing to share out');
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 1 });
  t.end();
});

t.test('the n-th port 0 of each worker is the same port', (t) => {
  const ledger = new Ledger(t);
  const ports = [0, 0, 1, 1, 2].map((worker) => portOf(ledger.open(worker, tcp())));
  const [first, second] = ports;
  t.not(first, second);
  t.same(ports, [first, second, first, second, first]);
  const elsewhere = portOf(ledger.open(0, tcp({ address: '127.0.0.2' })));
  t.notOk(ports.includes(elsewhere), 'counted for each address');
  t.end();
});

t.test('a worker has an address once, and another must not overlap it', (t) => {
  const ledger = new Ledger(t);
  const port = portOf(ledger.open(0, tcp()));
  const refusals = [
    ledger.listeners.open(0, tcp({ port })),
    ledger.listeners.open(1, tcp({ port, address: '0.0.0.0' })),
    ledger.listeners.open(1, tcp({ port, address: null })),
  ];
  t.match(refusals, [
    { ok: false, errno: -EADDRINUSE, address: '127.0.0.1', family: 4, port },
    { ok: false, errno: -EADDRINUSE, address: '0.0.0.0', family: 4, port },
    { ok: false, errno: -EADDRINUSE, address: '::', family: 6, port },
  ]);
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 1 });
  ledger.open(1, tcp({ port, address: '127.0.0.2' }));
  ledger.open(1, tcp({ port, address: '::', family: 6, flags: TCP_IPV6ONLY }));
  t.end();
});

t.test('no address is every address, in both families', async (t) => {
  const ledger = new Ledger(t);
  const { address } = ledger.open(0, tcp({ address: null }));
  t.match(address, { family: 'IPv6', address: '::' });
  const port = 'port' in address ? address.port : 0;
  t.equal(await outcomeOf(t, port), 'connected');
});

t.test('the last worker that closes closes the port', async (t) => {
  const before = descriptors().size;
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  const port = portOf(first);
  ledger.release(0, first);
  t.equal(await outcomeOf(t, port), 'connected');
  ledger.release(1, second, [ledger.adopted().fd]);
  t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  t.same(ledger.listeners.addresses(), []);
  t.equal(await outcomeOf(t, port), 'ECONNREFUSED');
  t.ok(descriptors().size <= before + 2, 'only the two clients are left');
});

t.test('a socket whose worker closed goes to the worker with fewest', (t) => {
  const ledger = new Ledger(t);
  const [a, b, c, d] = [0, 1, 2, 3].map((worker) => ledger.open(worker, tcp())) as [
    Opened,
    Opened,
    Opened,
    Opened,
  ];
  ledger.release(0, a);
  const first = ledger.adopted();
  t.match(first, { worker: 1, grant: b.grant });
  ledger.release(2, c);
  const second = ledger.adopted();
  t.match(second, { worker: 3, grant: d.grant }, 'not to the one that has two already');
  t.same(ledger.listeners.descriptors(), { main: 4, workers: 4 });
  ledger.release(1, b, [first.fd]);
  t.same(
    ledger.news().map(({ worker, message }) => [worker, message.kind]),
    [
      [3, 'adopt'],
      [3, 'adopt'],
    ],
    'the last has them all',
  );
  t.same(ledger.listeners.descriptors(), { main: 4, workers: 4 });
  t.end();
});

t.test('a worker that listens again gets a socket back, and its keeper lets go', (t) => {
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  const cookie = cookieOf(first.fd);
  ledger.release(0, first);
  const extra = ledger.adopted();
  t.equal(cookieOf(extra.fd), cookie, 'it is the same socket');
  const again = ledger.open(0, tcp());
  t.equal(cookieOf(again.fd), cookie);
  t.equal(portOf(again), portOf(first));
  t.same(ledger.news(), [
    { worker: 1, message: { kind: 'yield', grant: second.grant, fd: extra.fd } },
  ]);
  t.equal(ledger.listeners.descriptors().main, 2, 'no third socket');
  close(extra.fd);
  ledger.listeners.release(1, null, [extra.fd]);
  t.same(ledger.listeners.descriptors(), { main: 2, workers: 2 });
  t.end();
});

t.test('what waits in the queue of a worker that closed is served by its heir', async (t) => {
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  const host = '127.0.0.1';
  const port = portOf(first);
  const clients = await Promise.all(Array.from({ length: 30 }, () => connect(t, { port, host })));
  ledger.release(0, first);
  const servers = [second.fd, ledger.adopted().fd].map((fd) => {
    const server = net.createServer((socket) => socket.end('served')).listen({ fd });
    t.teardown(() => server.close());
    return server;
  });
  const answers = await Promise.all(
    clients.map(async ({ socket }) => {
      let text = '';
      for await (const data of socket) text += data;
      return text;
    }),
  );
  t.same(answers, new Array(30).fill('served'));
  for (const server of servers) server.close();
});

t.test('a socket on its way to a worker that closes is closed by main', async (t) => {
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  ledger.release(0, first);
  const { fd } = ledger.adopted();
  ledger.release(1, second); // before it has read the message
  t.notOk(isOpen(fd));
  t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  t.equal(await outcomeOf(t, portOf(first)), 'ECONNREFUSED');
});

t.test('a descriptor that a dead worker never took is closed', (t) => {
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  const before = descriptors().size;
  ledger.listeners.abandon(0);
  const extra = ledger.adopted();
  t.match(extra, { worker: 1, grant: second.grant }, 'and its socket is shared out');
  t.equal(descriptors().size, before - 1, 'two closed, one made');
  ledger.listeners.abandon(1);
  for (const fd of [first.fd, second.fd, extra.fd])
    t.notOk(isOpen(fd), 'closed, used or on its way');
  t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  t.end();
});

t.test('a number that a dead worker had closed and that is a file now stays open', (t) => {
  const ledger = new Ledger(t);
  const { fd } = ledger.open(0, tcp());
  close(fd);
  reuse(t, fd);
  ledger.listeners.abandon(0);
  t.ok(isOpen(fd));
  t.end();
});

t.test('a number that means another worker’s copy of the same socket stays open', (t) => {
  const directory = folder(t);
  const ledger = new Ledger(t);
  const listen: ListenRequest = { kind: 'unix', path: path.join(directory, 's'), backlog: 0 };
  const first = ledger.open(0, listen);
  close(first.fd); // the thread is ending, and main does not know yet
  const second = ledger.open(1, listen);
  t.equal(second.fd, first.fd, 'the kernel gave the number out again');
  ledger.listeners.abandon(0);
  t.ok(isOpen(second.fd));
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 1 });
  t.end();
});

t.test('a late report of a closed number does not disown the copy that has it now', (t) => {
  const ledger = new Ledger(t);
  const listen: ListenRequest = { kind: 'unix', path: path.join(folder(t), 's'), backlog: 0 };
  ledger.open(1, listen);
  const first = ledger.open(0, tcp());
  close(first.fd);
  const second = ledger.open(0, listen);
  t.equal(second.fd, first.fd, 'the kernel gave the number out again');
  ledger.listeners.release(0, first.grant, [first.fd]);
  t.equal(ledger.listeners.descriptors().workers, 2);
  ledger.listeners.abandon(0);
  t.notOk(isOpen(second.fd), 'so it is closed with its worker');
  t.end();
});

t.test('a late report does not disown a copy on its way to the same server', (t) => {
  const ledger = new Ledger(t);
  const first = ledger.open(0, tcp());
  const second = ledger.open(1, tcp());
  close(second.fd); // worker 1 is closing; before it says so, worker 0 has closed
  ledger.release(0, first);
  const { fd } = ledger.adopted();
  t.ok([first.fd, second.fd].includes(fd), 'under a number that was just closed');
  ledger.listeners.release(1, second.grant, [second.fd]);
  t.notOk(isOpen(fd));
  t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  t.end();
});

t.test('reports of what is not theirs change nothing', (t) => {
  const ledger = new Ledger(t);
  const { grant, fd } = ledger.open(0, tcp());
  ledger.listeners.release(1, grant, [fd]);
  ledger.listeners.release(0, grant + 1, []);
  ledger.listeners.abandon(1);
  t.same(ledger.listeners.descriptors(), { main: 1, workers: 1 });
  t.ok(isOpen(fd));
  t.end();
});

t.test('a port that another process shares with others is EADDRINUSE all the same', async (t) => {
  const native = path.join(ROOT, 'dist', 'src', 'native.js');
  const holder = new Running(t, process.execPath, [
    '-e',
    `const native = require(${JSON.stringify(native)});
     const fd = native.openTcp('127.0.0.1', 0, 4, native.TCP_REUSEPORT, 5);
     console.error('port', native.nameOf(fd).port);
     process.stdin.resume();`,
  ]);
  const port = Number((await holder.says(/port (\d+)/))[1]);
  const ledger = new Ledger(t);
  t.match(ledger.listeners.open(0, tcp({ port })), { ok: false, errno: -EADDRINUSE, port });
  t.match(
    ledger.listeners.open(0, tcp({ port, flags: TCP_REUSEPORT })),
    { ok: true },
    'unless sharing is what the program wants',
  );
});

t.test('Unix sockets', (t) => {
  t.test('are shared by all, and their file goes with the last', async (t) => {
    const file = path.join(folder(t), 's');
    const ledger = new Ledger(t);
    const listen: ListenRequest = { kind: 'unix', path: file, backlog: 0 };
    const replies = [0, 1].map((worker) => ledger.open(worker, listen)) as [Opened, Opened];
    t.equal(new Set(replies.map(({ fd }) => cookieOf(fd))).size, 1);
    t.same(ledger.listeners.addresses(), [{ family: 'unix', path: file }]);
    t.match(ledger.listeners.open(0, listen), { ok: false, errno: -EADDRINUSE });
    ledger.release(0, replies[0]);
    t.ok(existsSync(file));
    t.equal((await connect(t, { path: file })).outcome, 'connected');
    ledger.release(1, replies[1]);
    t.notOk(existsSync(file));
  });

  t.test('leave a file that is not theirs any more', (t) => {
    const file = path.join(folder(t), 's');
    const ledger = new Ledger(t);
    const reply = ledger.open(0, { kind: 'unix', path: file, backlog: 0 });
    rmSync(file);
    writeFileSync(file, 'somebody else’s');
    ledger.release(0, reply);
    t.ok(existsSync(file));
    t.end();
  });

  t.test('do not mind that their file is gone', (t) => {
    const directory = folder(t);
    const ledger = new Ledger(t);
    const reply = ledger.open(0, { kind: 'unix', path: path.join(directory, 's'), backlog: 0 });
    rmSync(directory, { recursive: true });
    ledger.release(0, reply);
    t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
    t.end();
  });
  t.end();
});

t.test('inherited descriptors', (t) => {
  t.test('are shared by all, and closed with the last', (t) => {
    const inherited = openTcp('127.0.0.1', 0, 4, 0, 5);
    const ledger = new Ledger(t);
    const listen: ListenRequest = { kind: 'fd', fd: inherited, backlog: 0 };
    const replies = [0, 1].map((worker) => ledger.open(worker, listen)) as [Opened, Opened];
    t.match(replies[0].address, {
      family: 'IPv4',
      address: '127.0.0.1',
      port: nameOf(inherited).port,
    });
    t.same(
      replies.map(({ fd }) => cookieOf(fd)),
      new Array(2).fill(cookieOf(inherited)),
    );
    ledger.release(0, replies[0]);
    t.ok(isOpen(inherited));
    ledger.release(1, replies[1]);
    t.notOk(isOpen(inherited));
    t.end();
  });

  t.test('of a Unix socket keep their file', (t) => {
    const file = path.join(folder(t), 's');
    const ledger = new Ledger(t);
    const reply = ledger.open(0, { kind: 'fd', fd: openUnix(file, 5), backlog: 0 });
    t.same(reply.address, { family: 'unix', path: file });
    ledger.release(0, reply);
    t.ok(existsSync(file));
    t.end();
  });

  t.test('are closed with the last server, and who starts so late stands by', (t) => {
    const ledger = new Ledger(t);
    const file = path.join(folder(t), 's');
    const request: ListenRequest = { kind: 'fd', fd: openUnix(file, 5), backlog: 0 };
    const first = ledger.open(0, request);
    ledger.closes = true;
    ledger.release(0, first);
    t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
    t.match(ledger.open(1, request), { fd: -1, handleFd: -1 }, 'its program hears of no error');
    t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
    t.end();
  });

  t.test('that are no stream sockets are EINVAL, and stay open', async (t) => {
    const ledger = new Ledger(t);
    const file = openSync(__filename, 'r');
    const closed = duplicate(file);
    close(closed);
    for (const fd of [file, closed]) {
      t.match(ledger.listeners.open(0, { kind: 'fd', fd, backlog: 0 }), {
        ok: false,
        errno: -EINVAL,
      });
    }
    t.ok(isOpen(file));
    closeSync(file);
    t.same(ledger.listeners.descriptors(), { main: 0, workers: 0 });
  });
  t.end();
});

t.test(
  'without descriptors it refuses, keeps what it has, and offers it again later',
  async (t) => {
    const program = path.join(ROOT, 'dist', 'test', 'support', 'few-descriptors.js');
    const limited = ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, program];
    const running = new Running(t, 'sh', limited);
    t.equal((await running.ended()).code, 0, running.stderr);
    t.same(JSON.parse(running.stdout), {
      noSocket: -EMFILE,
      afterNoSocket: { main: 2, workers: 2 },
      noCopy: -EMFILE,
      // The new socket is open, and somebody must accept from it.
      afterNoCopy: { main: 3, workers: 2 },
      afterRetry: { main: 3, workers: 3 },
      whileFull: 1,
      offers: ['adopt by 0', 'adopt by 1', 'adopt by 1'],
    });
  },
);

t.test('close() leaves no descriptor behind, and nothing opens afterwards', async (t) => {
  const before = descriptors();
  const ledger = new Ledger(t);
  const file = path.join(folder(t), 's');
  for (const worker of [0, 1, 2]) {
    ledger.open(worker, tcp());
    ledger.open(worker, tcp());
    ledger.open(worker, { kind: 'unix', path: file, backlog: 0 });
  }
  t.same(ledger.listeners.descriptors(), { main: 7, workers: 9 });
  for (const worker of [0, 1, 2]) ledger.listeners.abandon(worker);
  ledger.listeners.close();
  t.same(descriptors(), before);
  t.notOk(existsSync(file));
  t.match(ledger.listeners.open(0, tcp()), { ok: false, errno: -ECANCELED });
  ledger.listeners.close();
});

t.test('a spare serves what workers listen on, and has no socket', async (t) => {
  const ledger = new Ledger(t);
  const listen: ListenRequest = {
    kind: 'tcp',
    ...{ address: '127.0.0.1', family: 4, port: 0, flags: 0, backlog: 0 },
  };
  const { listeners } = ledger;
  const own = ledger.open(0, listen);
  const before = listeners.descriptors();
  const spare = ledger.open(SPARE, listen);
  t.match(spare, { fd: -1, listener: own.listener, address: own.address, moves: true });
  t.same(listeners.descriptors(), before);
  t.same(listeners.workersOf(own.listener), [0], 'nothing is delivered to it');
  t.equal(
    listeners.open(SPARE, { ...listen, port: (own.address as { port: number }).port }).ok,
    true,
  );
  listeners.release(0, own.grant, [own.fd]);
  close(own.fd);
  t.same(listeners.addresses(), [], 'it does not keep the address in use');

  const again = ledger.open(0, listen);
  t.equal(again.listener, own.listener, 'what it knows the listener by is true when it is back');
  listeners.release(SPARE, spare.grant, []);
  listeners.abandon(SPARE);
  t.equal(listeners.addresses().length, 1);

  const alone = ledger.open(SPARE, { ...listen, port: 1 });
  t.match(alone, { fd: -1, address: { family: 'IPv4', address: '127.0.0.1', port: 1 } });
  t.equal(listeners.addresses().length, 1, 'where no worker listens it does not either');
});
