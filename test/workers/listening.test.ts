/**
 * What a program can see of `listen()` is the same in any number of workers as under
 * plain node. Each scenario of fixtures/apps/listen.js runs under all of them and its
 * reports are compared.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net, { type Socket } from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { createRuntime, type GyreError, type RuntimeOptions } from '../../src/index.js';
import { close, openTcp, openUnix } from '../../src/native.js';
import { app, CLI, get, getFromEach, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { backlogs } from '../support/proc.js';
import { gyre, Running } from '../support/running.js';

/** Runs a command as a user who may do little. */
const NOBODY = ['setpriv', '--reuid=65534', '--clear-groups', '--'];
const LISTEN = app('listen.js');
const { scenarios } = require(LISTEN) as { scenarios: string[] };

/** Plain node, the command, or a runtime in this process. */
type Where = 'node' | { command: number | 'inline' } | { runtime: number };

interface Setting {
  /** What the program inherits as descriptors 3, 4, … Ours are closed. */
  inherited?: (number | 'pipe')[];
  env?: NodeJS.ProcessEnv;
  /** A command that runs the program's. */
  prefix?: string[];
  port?: number;
}

const [MAJOR, MINOR] = process.versions.node.split('.').map(Number) as [number, number];
const HAS_REUSE_PORT = MAJOR > 23 || (MAJOR === 23 && MINOR >= 1) || (MAJOR === 22 && MINOR >= 12);

function temporary(t: Test): string {
  const directory = folder(t);
  chmodSync(directory, 0o777);
  return directory;
}

/** Keeps the copies of a program in step and collects what they report. */
class Control {
  readonly path: string;
  /** By scenario, one report for each copy. */
  readonly reports = new Map<string, string[][]>();
  readonly #copies: number;
  readonly #server: net.Server;
  #waiting: Socket[] = [];

  constructor(t: Test, copies: number) {
    this.path = path.join(temporary(t), 'control');
    this.#copies = copies;
    this.#server = net.createServer((socket) => {
      socket.on('error', () => {}); // the program died, and its end says why
      readline.createInterface({ input: socket }).on('line', (line) => this.#on(socket, line));
    });
    t.teardown(() => this.#server.close());
  }

  async listen(): Promise<void> {
    this.#server.listen({ path: this.path, writableAll: true });
    await once(this.#server, 'listening');
  }

  #on(socket: Socket, line: string): void {
    if (line !== '') {
      const { name, report } = JSON.parse(line) as { name: string; report: string[] };
      this.reports.set(name, [...(this.reports.get(name) ?? []), report]);
    }
    this.#waiting.push(socket);
    if (this.#waiting.length < this.#copies) return;
    for (const each of this.#waiting) each.write('\n');
    this.#waiting = [];
  }
}

function copiesIn(where: Where): number {
  if (where === 'node') return 1;
  const count = 'command' in where ? where.command : where.runtime;
  return count === 'inline' ? 1 : count;
}

/** Runs scenarios to their end. */
async function reportsOf(
  t: Test,
  names: readonly string[],
  where: Where,
  setting: Setting = {},
): Promise<Map<string, string[][]>> {
  const { inherited = [], prefix = [], env = {} } = setting;
  const directory = temporary(t);
  const workers = copiesIn(where);
  const control = new Control(t, workers);
  await control.listen();
  const list = names.map((name) => {
    const own = mkdtempSync(path.join(directory, 'scenario-'));
    chmodSync(own, 0o777);
    // A Unix socket whose program died.
    close(openUnix(path.join(own, 'dead'), 1));
    return { name, directory: own, port: setting.port ?? freePort() };
  });
  const args = [control.path, JSON.stringify(list)];
  if (where !== 'node' && 'runtime' in where) {
    await runToEnd({
      entry: LISTEN,
      args,
      workers,
      spares: 0,
      pin: 'off',
      startMs: Number.POSITIVE_INFINITY,
    });
    return control.reports;
  }
  const program =
    where === 'node' ? [] : [CLI, 'run', '--workers', `${where.command}`, '--spares', '0', '--'];
  const [command = '', ...rest] = [...prefix, process.execPath, ...program, LISTEN, ...args];
  const running = new Running(t, command, rest, env, inherited);
  for (const fd of inherited) if (fd !== 'pipe') close(fd);
  const { code } = await running.ended();
  if (control.reports.size < names.length) {
    throw new Error(`it ended with code ${code}: ${running.stderr}`);
  }
  return control.reports;
}

/** Resolves when every worker has ended. */
async function runToEnd(options: RuntimeOptions): Promise<void> {
  try {
    const runtime = await createRuntime(options);
    await once(runtime, 'close');
  } catch (error) {
    // It ended by itself and had listened on nothing at the end, as many scenarios do.
    if ((error as GyreError).code !== 'ERR_GYRE_WORKER_EXITED') throw error;
  }
}

function says(report: readonly string[] | undefined, text: string): boolean {
  return report?.some((line) => line.includes(text)) ?? false;
}

function equalReports(
  t: Test,
  reports: readonly string[][] | undefined,
  expected: readonly string[],
  where: Where,
): void {
  const workers = copiesIn(where);
  t.equal(reports?.length, workers, 'every worker reports');
  for (const report of reports ?? []) t.same(report, expected, `the same: ${inspect(where)}`);
}

/** Runs one scenario under node, and elsewhere, and compares. Returns node's report. */
async function compare(
  t: Test,
  name: string,
  wheres: readonly Where[],
  setting: () => Setting = () => ({}),
): Promise<string[]> {
  const expected = (await reportsOf(t, [name], 'node', setting())).get(name)?.[0] ?? [];
  t.ok(expected.length > 0, 'node reports');
  for (const where of wheres) {
    const reports = await reportsOf(t, [name], where, setting());
    equalReports(t, reports.get(name), expected, where);
  }
  return expected;
}

t.test('a worker, one of two, or inline, sees what a program under node sees of', async (t) => {
  const wheres: Where[] = ['node', { runtime: 1 }, { runtime: 2 }, { command: 'inline' }];
  const [node, ...others] = await Promise.all(wheres.map((each) => reportsOf(t, scenarios, each)));
  for (const name of scenarios) {
    t.test(name, async (t) => {
      const expected = node?.get(name)?.[0] ?? [];
      t.ok(expected.length > 0, 'node reports');
      for (const [index, reports] of others.entries()) {
        equalReports(t, reports.get(name), expected, wheres[index + 1] as Where);
      }
    });
  }
});

for (const name of ['unref() before listen()', 'unref() after listen()']) {
  t.test(`a worker ends by itself, as node does, after ${name}`, (t) =>
    compare(t, name, [{ runtime: 1 }, { runtime: 2 }]),
  );
}

t.test('a Unix path that is too long is refused', async (t) => {
  const name = 'a Unix path that is too long';
  // Up to Node 22 it is cut instead, and the server listens on some other path.
  const cuts = MAJOR <= 22;
  const node = (await reportsOf(t, [name], 'node')).get(name)?.[0] ?? [];
  t.equal(
    node.some((line) => line.includes('"EINVAL"')),
    !cuts,
    'by node',
  );
  for (const workers of [1, 2]) {
    const reports = (await reportsOf(t, [name], { runtime: workers })).get(name);
    if (!cuts) equalReports(t, reports, node, { runtime: workers });
    t.ok(
      reports?.every((report) => report.some((line) => line.includes('"EINVAL"'))),
      'by gyre',
    );
  }
});

t.test('exclusive: true gives an address to one worker, and EADDRINUSE to the other', async (t) => {
  for (const name of ['an exclusive port', 'an exclusive Unix path']) {
    const free = await compare(t, name, [{ runtime: 1 }]);
    let both: string[][] = [];
    let gotIt: string[][] = [];
    // SO_REUSEADDR lets both bind, and Linux refuses two that then listen at the same moment both: each
    // says that it listens before it looks whether another does.
    for (let tries = 0; gotIt.length === 0 && tries < 5; tries++) {
      both = (await reportsOf(t, [name], { runtime: 2 })).get(name) ?? [];
      gotIt = both.filter((report) => says(report, '["server listening"'));
    }
    t.equal(gotIt.length, 1, name);
    t.same(gotIt[0], free);
    const [other] = both.filter((report) => report !== gotIt[0]);
    t.ok(says(other, '"EADDRINUSE"'));
    if (name === 'an exclusive Unix path') continue;
    const taken = await reportsOf(t, [name], 'node', { port: await takenPort(t) });
    t.same(other, taken.get(name)?.[0], 'as node has it when another program has the port');
  }
});

async function takenPort(t: Test): Promise<number> {
  const port = freePort();
  const server = net.createServer().listen(port);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return port;
}

t.test('a port that another program has is EADDRINUSE', async (t) => {
  const port = await takenPort(t);
  for (const name of ['a port that is taken', 'a port that is taken on one address']) {
    const report = await compare(t, name, [{ runtime: 1 }, { runtime: 2 }], () => ({ port }));
    t.ok(says(report, '"EADDRINUSE"'));
  }
});

t.test('reusePort listens as node does', (t) =>
  compare(t, 'a reused port', [{ runtime: 1 }, { runtime: 2 }]),
);

t.test(
  'two processes share a port with reusePort, and only with it',
  { skip: HAS_REUSE_PORT ? false : 'this line of node has no reusePort' },
  async (t) => {
    const env = { PORT: String(freePort()), REUSE_PORT: '1' };
    const first = gyre(t, ['run', app('reuse-port.js'), '--workers', '2', '--json'], env);
    await first.says(/"event":"listening"/);
    const second = gyre(t, ['run', app('reuse-port.js'), '--workers', '2', '--json'], env);
    await second.says(/"event":"listening"/);
    const pids = [first.child.pid, second.child.pid];
    const answers = await getFromEach(Number(env.PORT), 2, ({ body }) =>
      pids.indexOf(Number(body)),
    );
    t.same([...answers.keys()].sort(), [0, 1], 'both answer');
    const third = gyre(t, ['run', app('reuse-port.js'), '--json'], { ...env, REUSE_PORT: '' });
    t.equal((await third.ended()).code, 1);
    t.match(third.stderr, /"code":"EADDRINUSE"/);
  },
);

t.test('inherited descriptors listen as under node', async (t) => {
  t.test('of a TCP socket', (t) =>
    compare(t, 'an inherited TCP descriptor', [{ command: 1 }, { command: 2 }], () => ({
      inherited: [openTcp('127.0.0.1', 0, 4, 0, 511)],
    })),
  );
  t.test('of a Unix socket', async (t) => {
    const directory = temporary(t);
    let count = 0;
    await compare(t, 'an inherited Unix descriptor', [{ command: 1 }, { command: 2 }], () => {
      const file = path.join(directory, `inherited${count++}`);
      return { inherited: [openUnix(file, 511)], env: { INHERITED: file } };
    });
  });
  t.test('of a socket that is connected', (t) =>
    compare(t, 'an inherited socket that is connected', [{ command: 1 }, { command: 2 }], () => ({
      inherited: ['pipe'],
    })),
  );
});

t.test('a privileged port is EACCES', async (t) => {
  const unprivileged = Number(
    readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'),
  );
  if (unprivileged <= 80) return t.pass('EACCES', { skip: 'port 80 is not privileged here' });
  const prefix = process.getuid?.() === 0 ? NOBODY : [];
  const [command = '', ...rest] = [...prefix, process.execPath, CLI, '--version'];
  if (spawnSync(command, rest).status !== 0)
    return t.pass('EACCES', { skip: 'nobody may read this checkout' });
  for (const name of ['a privileged port', 'a privileged port on one address']) {
    const report = await compare(t, name, [{ command: 1 }, { command: 2 }], () => ({ prefix }));
    t.ok(says(report, '"EACCES"'));
  }
  return t;
});

t.test('maxConnections, drop and getConnections count the connections of a worker', (t) =>
  compare(t, 'maxConnections', [{ runtime: 1 }, { command: 'inline' }]),
);

t.test('the n-th port 0 is one port in all workers', async (t) => {
  const runtime = await start(t, app('two-ports.js'), { workers: 2 });
  const ports = runtime.addresses.map((address) => (address.family === 'unix' ? 0 : address.port));
  t.equal(new Set(ports).size, 2, 'two ports');
  const ids = runtime.workers.map(({ threadId }) => threadId);
  for (const [nth, name] of ['first', 'second'].entries()) {
    const port = ports[nth] as number;
    const answers = await getFromEach(port, 2, ({ body }) =>
      ids.indexOf(JSON.parse(body).threadId),
    );
    for (const { body } of answers.values()) t.match(JSON.parse(body), { name, port });
  }
});

t.test('a server that listens on the handle of another is no further address', async (t) => {
  const runtime = await start(t, app('one-handle.js'), { workers: 2 });
  t.equal(runtime.addresses.length, 1);
  t.equal((await get(portOf(runtime))).status, 200);
});

t.test('the option backlog is for a listen() that names none', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: 2, backlog: 77 });
  const lengths = backlogs(portOf(runtime));
  if (lengths === null) return t.pass('backlog', { skip: 'ss is not here' });
  return t.same(lengths, [77, 77]);
});

/** A connection that stays open, and which thread has it. */
class Kept {
  readonly socket: Socket;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  thread = '';

  private constructor(t: Test, socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {}); // 'close' follows
    this.#agent.createConnection = () => socket;
    t.teardown(() => this.#agent.destroy());
  }

  static async open(t: Test, port: number): Promise<Kept> {
    const socket = net.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const kept = new Kept(t, socket);
    kept.thread = await kept.ask('/');
    return kept;
  }

  async ask(path: string): Promise<string> {
    return (await get({ path, agent: this.#agent })).body;
  }
}

/** Rejects if nobody has closed it for ten seconds. */
async function closed(socket: Socket): Promise<void> {
  if (!socket.destroyed) await once(socket, 'close', { signal: AbortSignal.timeout(10_000) });
}

t.test('a connection without a handle is closed, also when its thread ends then', async (t) => {
  t.test('one that was just accepted', async (t) => {
    const runtime = await start(t, app('no-handle.js'), { workers: 1 });
    const before = await Kept.open(t, portOf(runtime));
    await before.ask('/break');
    const next = net
      .connect(portOf(runtime), '127.0.0.1')
      .on('error', () => {})
      .resume();
    t.teardown(() => next.destroy());
    await t.resolves(closed(next));
  });

  t.test('one that another worker gave', async (t) => {
    const runtime = await start(t, app('no-handle.js'), {
      ...{ workers: 2, spares: 0 },
      // Nothing moves but what a worker gives away at its end.
      scheduler: { roundMs: Number.POSITIVE_INFINITY, tickMs: 1_000 },
    });
    const byThread = new Map<string, Kept[]>();
    const enough = () =>
      byThread.size === 2 && [...byThread.values()].some(({ length }) => length > 1);
    for (let tries = 0; !enough() && tries < 100; tries++) {
      const kept = await Kept.open(t, portOf(runtime));
      byThread.set(kept.thread, [...(byThread.get(kept.thread) ?? []), kept]);
    }
    const [givers, [other]] = [...byThread.values()].sort((a, b) => b.length - a.length) as [
      [Kept, Kept, ...Kept[]],
      [Kept],
    ];
    const [last, idle, ...more] = givers;
    await other.ask('/break');
    for (const { socket } of more) socket.destroy();
    await last.ask('/'); // what was destroyed has ended there, too
    await t.rejects(last.ask('/exit'));
    await t.resolves(closed(idle.socket));
  });
});
