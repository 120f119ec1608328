/**
 * `node app.js` and `gyre run app.js` side by side, as real processes: whatever the
 * program can see of itself, its process, its children and its terminal is compared, and
 * what cannot be the same in a thread is pinned down.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { affinity } from '../../src/native.js';
import { app, CLI, get, getFromEach, HOST, portOf, ROOT, start } from '../support/app.js';
import { gyre, Running } from '../support/running.js';

const NODE = process.execPath;
const FACTS = app('facts');
const CPUS = affinity();

interface How {
  /** Current directory of the program. */
  cwd?: string;
  args?: readonly string[];
  /** Node's own options. */
  flags?: readonly string[];
  env?: NodeJS.ProcessEnv;
}

interface Pair {
  readonly node: Running;
  readonly gyre: Running;
}

/** The same program under node, and under gyre with one worker. */
function both(t: Test, entry: string, how: How = {}): Pair {
  const { cwd = FACTS, args = [], flags = [], env } = how;
  const node = ['-C', cwd, NODE, ...flags];
  const run = [CLI, 'run', entry, '--workers', '1', '--', ...args];
  return {
    node: new Running(t, 'env', [...node, entry, ...args], env),
    gyre: new Running(t, 'env', [...node, ...run], env),
  };
}

async function factsOf(running: Running): Promise<Record<string, unknown>> {
  const [, facts] = await running.says(/^FACTS (.*)$/m);
  running.child.kill('SIGKILL');
  return JSON.parse(String(facts));
}

/** What the program sees under node. Under gyre it must see the same. */
async function sameFacts(t: Test, entry: string, how: How = {}): Promise<Record<string, unknown>> {
  const pair = both(t, entry, { ...how, env: { ...how.env, TELL: '1' } });
  const [node, gyre] = await Promise.all([factsOf(pair.node), factsOf(pair.gyre)]);
  t.strictSame(gyre, node, entry);
  return node;
}

/** Resolves with the first match of `pattern` in stdout; rejects if it ends without. */
async function prints(running: Running, pattern: RegExp): Promise<RegExpExecArray> {
  const ended = running.ended();
  for (let over = false; ; ) {
    const match = pattern.exec(running.stdout);
    if (match !== null) return match;
    if (over) throw new Error(`it ended and never printed ${pattern}:\n${running.stdout}`);
    const more = once(running.child.stdout as NodeJS.EventEmitter, 'data').then(() => false);
    over = await Promise.race([ended.then(() => true), more]);
  }
}

/** The port that the program says it listens on. Under gyre every worker listens then. */
async function serves(running: Running, isGyre: boolean): Promise<number> {
  if (isGyre) await running.says(/^gyre: .* listening on /m);
  const [, port] = await running.says(/^PORT (\d+)$/m);
  return Number(port);
}

/** A request that the server has but not the body of, and an idle connection. */
async function occupy(port: number) {
  const request = http.request({
    ...{ host: HOST, port, method: 'POST', agent: false },
    headers: { expect: '100-continue' },
  });
  const response = once(request, 'response') as Promise<[http.IncomingMessage]>;
  request.flushHeaders();
  await once(request, 'continue');
  const agent = new http.Agent({ keepAlive: true });
  await get({ port, agent });
  const [idle] = Object.values(agent.freeSockets).flat() as Socket[];
  return {
    idleClosed: once(idle as Socket, 'close'),
    /** Sends the body and resolves with the answer. */
    async finish(): Promise<string> {
      request.end('the body');
      const [answer] = await response;
      return text(answer);
    },
    /** The code of the error that the request fails with, if it does. */
    failure: response.then(
      () => 'none',
      ({ code }: NodeJS.ErrnoException) => code,
    ),
  };
}

t.test('a main module sees itself and its process as it does under node', async (t) => {
  const args = ['a', '--flag', '--workers=3', '--', ''];
  await t.test('CommonJS', async (t) => {
    const facts = await sameFacts(t, 'commonjs.js', { args });
    t.match(
      facts,
      {
        argv: [NODE, path.join(FACTS, 'commonjs.js'), ...args],
        cwd: FACTS,
        relative: readFileSync(path.join(FACTS, 'relative.txt'), 'utf8'),
        ...{ isMain: true, id: '.', isMainThread: true, workerData: null },
      },
      'and that is what one expects',
    );
    await sameFacts(t, 'named.cjs');
    await sameFacts(t, 'commonjs');
    await sameFacts(t, 'bare');
    await sameFacts(t, 'directory');
    await sameFacts(t, '.', { cwd: path.join(FACTS, 'directory') });
  });
  await t.test('ES module', async (t) => {
    const facts = await sameFacts(t, 'module.mjs', { args });
    const file = path.join(FACTS, 'module.mjs');
    t.match(
      facts,
      {
        argv: [NODE, file, ...args],
        meta: { url: pathToFileURL(file).href, dirname: FACTS, filename: file },
        awaited: 'at the top level',
        requireMain: 'undefined',
        imported: { isMainThread: true, workerData: null },
      },
      'and that is what one expects',
    );
    await sameFacts(t, 'package/server.js');
    await sameFacts(t, 'package/server');
  });
  await t.test('from another directory, a strange one, and through a link', async (t) => {
    const facts = await sameFacts(t, 'facts/commonjs.js', { cwd: path.dirname(FACTS) });
    t.equal(facts.relative, 'throws ENOENT', 'relative paths start where the program was started');
    const directory = path.join(t.testdir(), 'odd name %20 #é?');
    cpSync(FACTS, directory, { recursive: true });
    symlinkSync(path.join(FACTS, 'module.mjs'), path.join(directory, 'link.mjs'));
    await sameFacts(t, 'module.mjs', { cwd: directory });
    await sameFacts(t, 'commonjs.js', { cwd: directory });
    await sameFacts(t, path.join(directory, 'link.mjs'), { cwd: '/' });
  });
});

t.test("node's own options and preloads apply in a worker as under node", async (t) => {
  const cjs = path.join(FACTS, 'preload.cjs');
  const mjs = pathToFileURL(path.join(FACTS, 'preload.mjs')).href;
  const flags = ['--require', cjs, '--import', mjs, '--stack-trace-limit=33'];
  const expected = { preloads: ['required', 'imported'], stackTraceLimit: 33 };
  t.match(await sameFacts(t, 'commonjs.js', { flags }), { ...expected, execArgv: flags });
  t.match(await sameFacts(t, 'module.mjs', { flags }), { ...expected, execArgv: flags });
  const env = { NODE_OPTIONS: `--require "${cjs}" --import "${mjs}" --stack-trace-limit=33` };
  t.match(await sameFacts(t, 'commonjs.js', { env }), { ...expected, execArgv: [], env });
  t.match(await sameFacts(t, 'module.mjs', { env }), { ...expected, execArgv: [], env });
});

t.test('the entry may be a file: URL', async (t) => {
  const file = path.join(FACTS, 'module.mjs');
  const url = pathToFileURL(file);
  for (const entry of [url, url.href]) {
    const runtime = await start(t, '', { entry, workers: 1, args: ['x'] });
    const { body } = await get(portOf(runtime));
    const { meta, argv } = JSON.parse(body);
    t.match({ meta, argv }, { meta: { url: url.href }, argv: [NODE, file, 'x'] });
  }
});

t.test("the option env adds to the workers' environment and removes from it", async (t) => {
  const { PATH, ...others } = process.env;
  t.type(PATH, 'string');
  const env = { ADDED: 'here', PATH: undefined };
  const runtime = await start(t, path.join(FACTS, 'commonjs.js'), { workers: 1, env });
  const { body } = await get(portOf(runtime));
  t.strictSame(JSON.parse(body).env, { ...others, ADDED: 'here' });
  t.notOk('ADDED' in process.env, "main's environment is its own");
});

const ONE_CPU = CPUS.length < 2 && 'one CPU: a pin cannot be told from the whole mask';

t.test(
  'children and threads of the program get all CPUs of the process',
  { skip: ONE_CPU },
  async (t) => {
    const pair = both(t, app('masks.js'), { env: { TELL: '1' } });
    const [node, gyre] = await Promise.all([factsOf(pair.node), factsOf(pair.gyre)]);
    t.strictSame(gyre.masks, node.masks, 'as under node');
    t.equal((node.masks as Record<string, unknown>).parallelism, CPUS.length);
    t.match(gyre, { own: /^\d+$/, ownStays: true }, 'though its own thread is bound to one');
  },
);

t.test('what a worker writes to stdout arrives byte by byte, in a file', async (t) => {
  const directory = t.testdir();
  const written = async (isGyre: boolean) => {
    const file = path.join(directory, isGyre ? 'gyre' : 'node');
    const args = isGyre ? [CLI, 'run', app('bytes.js'), '--workers', '1'] : [app('bytes.js')];
    const shell = ['-c', 'file=$1; shift; exec "$@" > "$file"', 'sh', file, NODE, ...args];
    const running = new Running(t, 'sh', shell);
    await get(await serves(running, isGyre));
    t.equal((await running.ended()).code, 0);
    return readFileSync(file);
  };
  const [node, gyre] = await Promise.all([written(false), written(true)]);
  t.ok(node.length > 1_000_000);
  t.ok(gyre.equals(node));
});

t.test('two workers write whole lines to a pipe, and lose none when they exit', async (t) => {
  const count = 200;
  const running = gyre(t, ['run', app('lines.js'), '--workers', '2'], { LINES: String(count) });
  const port = await serves(running, true);
  await get(port); // one of them writes on and exits with code 7
  await get(port); // then the other one
  t.equal((await running.ended()).code, 7, "the workers' exit code is the process's");

  const lines = running.stdout.split('\n');
  t.equal(lines.pop(), '', 'the last line is whole');
  const next = new Map<string, number>();
  const broken = lines.filter((line) => {
    const [thread = '', number, length, filler = ''] = line.split(' ');
    const expected = next.get(thread) ?? 0;
    next.set(thread, expected + 1);
    const whole = Number(length) === filler.length && filler === 'x'.repeat(filler.length);
    return !(Number(number) === expected && whole);
  });
  t.same(broken, [], 'every line is whole and in its place');
  t.same([...next.values()], [2 * count, 2 * count], 'of both workers');
});

t.test('stdout and stderr keep their order, even if the worker never returns', async (t) => {
  const lines = async (isGyre: boolean) => {
    const args = isGyre ? [CLI, 'run', app('stuck.js'), '--workers', '1'] : [app('stuck.js')];
    const running = new Running(t, 'sh', ['-c', 'exec "$@" 2>&1', 'sh', NODE, ...args]);
    if (isGyre) await prints(running, /^gyre: .* listening on /m);
    const [, port] = await prints(running, /^PORT (\d+)$/m);
    const request = http.get({ host: HOST, port: Number(port) }).on('error', () => {});
    await prints(running, /^the last words$/m);
    request.destroy();
    return running.stdout.split('\n').filter((line) => /^(line|the) /.test(line));
  };
  const [node, gyre] = await Promise.all([lines(false), lines(true)]);
  t.equal(node.length, 21);
  t.same(gyre, node);
});

const NO_SCRIPT =
  spawnSync('script', ['--version']).status !== 0 && 'no script(1) to make a terminal with';

t.test('a worker has the terminal that the process has', { skip: NO_SCRIPT }, async (t) => {
  const onTerminal = async (isGyre: boolean) => {
    const args = isGyre ? [CLI, 'run', app('terminal.js'), '--workers', '1'] : [app('terminal.js')];
    const command = [NODE, ...args].map((word) => `'${word}'`).join(' ');
    const running = new Running(
      t,
      'script',
      ['-qec', `stty cols 93 rows 31; exec ${command}`, '/dev/null'],
      { TERM: 'xterm-256color', SHELL: '/bin/sh' },
    );
    if (isGyre) await prints(running, /gyre: .* listening on /);
    const [, port] = await prints(running, /^PORT (\d+)\r$/m);
    await get(Number(port));
    t.equal((await running.ended()).code, 0);
    return running.stdout.replace(/gyre: .*\r\n/g, '').replace(/^PORT .*$/m, '');
  };
  const [node, gyre] = await Promise.all([onTerminal(false), onTerminal(true)]);
  const facts = JSON.parse(String(/FACTS (.*)\r/.exec(node)?.[1]));
  const seen = { isTTY: true, columns: 93, rows: 31, size: [93, 31], isatty: true };
  t.match(facts, { stdout: seen, stderr: seen });
  t.equal(gyre, node, 'every character is the same');
});

t.test('gyre/worker says who a worker is, by require and by import', async (t) => {
  const count = 2;
  const entries = ['self.cjs', 'self.mjs'];
  for (const entry of entries) {
    const runtime = await start(t, app(entry), { workers: count });
    const indexOf = (threadId: number) =>
      runtime.workers.findIndex((worker) => worker.threadId === threadId);
    const answers = await getFromEach(portOf(runtime), count, ({ body }) =>
      indexOf(JSON.parse(body).threadId),
    );
    for (const [index, { body }] of answers) {
      const self = { index, cpu: runtime.workers[index]?.cpu, count, spare: false };
      const seen = JSON.parse(body);
      t.strictSame(seen.imported, self);
      t.equal(seen.frozen, true);
      if (entry === 'self.mjs') continue;
      t.strictSame(seen.required, self);
      t.match(
        seen.ofOwnThread,
        { required: null, imported: null },
        "null on the application's own thread",
      );
    }
  }
  const here = createRequire(path.join(ROOT, 'package.json'));
  t.equal(here('gyre/worker').worker, null, 'null on the main thread');
  const { worker } = await import('../../src/worker.js');
  t.equal(worker, null);
});

/** Whether process `pid` handles `signal`: a bit in a mask of the kernel's. */
function handles(pid: number, signal: NodeJS.Signals): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const caught = BigInt(`0x${/^SigCgt:\s*(\w+)$/m.exec(status)?.[1]}`);
  return ((caught >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
}

/** Bounded: there is no event for it. */
async function ceasesToHandle(running: Running, signal: NodeJS.Signals): Promise<void> {
  const pid = running.child.pid as number;
  for (let tries = 0; tries < 1_000 && handles(pid, signal); tries++) await sleep(10);
}

t.test('signals reach every worker that listens, and only as long as it does', async (t) => {
  const node = new Running(t, NODE, [app('signals.js')]);
  const both = gyre(t, ['run', app('signals.js'), '--workers', '2']);
  const [, port] = await Promise.all([serves(node, false), serves(both, true)]);

  const told = async (running: Running, signal: NodeJS.Signals, times: number) => {
    const before = running.stderr.length;
    running.child.kill(signal);
    const reports = () => [...running.stderr.slice(before).matchAll(/^GOT (.*)$/gm)];
    while (reports().length < times) await once(running.child.stderr as Socket, 'data');
    return reports().map(([, report]) => JSON.parse(String(report)));
  };
  for (const signal of ['SIGHUP', 'SIGUSR2', 'SIGHUP', 'SIGWINCH'] as const) {
    const [alone] = await told(node, signal, 1);
    const reports = await told(both, signal, 2);
    t.same(alone.told, [signal, constants.signals[signal]]);
    for (const report of reports) t.same({ ...report, threadId: 0 }, alone, 'as under node');
    t.equal(new Set(reports.map(({ threadId }) => threadId)).size, 2, 'each worker once');
  }
  await ceasesToHandle(both, 'SIGWINCH');
  t.notOk(handles(both.child.pid as number, 'SIGWINCH'), 'once() was once');

  const threadIds: number[] = [];
  const indexOf = ({ body }: { body: string }) => {
    const { threadId } = JSON.parse(body);
    if (!threadIds.includes(threadId)) threadIds.push(threadId);
    return threadIds.indexOf(threadId);
  };
  await getFromEach({ port, path: '/off/SIGUSR2' }, 2, indexOf);
  await ceasesToHandle(both, 'SIGUSR2');
  t.equal((await told(both, 'SIGHUP', 2)).length, 2, 'the other signal is still listened for');
  both.child.kill('SIGUSR2');
  t.same(await both.ended(), { code: null, signal: 'SIGUSR2' }, 'the default action applies');
});

t.test("SIGTERM runs the application's own graceful shutdown", async (t) => {
  const end = async (running: Running, isGyre: boolean) => {
    const { finish, idleClosed } = await occupy(await serves(running, isGyre));
    running.child.kill('SIGTERM');
    await idleClosed;
    const answer = await finish();
    const { code, signal } = await running.ended();
    const said = running.stderr.match(/^(GRACEFUL|CLOSED).*$/gm);
    return { answer, code, signal, said };
  };
  const pair = both(t, app('graceful.js'));
  const [node, gyre] = await Promise.all([end(pair.node, false), end(pair.gyre, true)]);
  t.same(node, {
    ...{ answer: 'answered', code: 5, signal: null },
    said: ['GRACEFUL SIGTERM 15', 'CLOSED'],
  });
  t.same(gyre, node);
});

t.test('SIGTERM drains an application that does not listen for it', async (t) => {
  const running = gyre(t, ['run', app('upload.js'), '--workers', '1']);
  const { finish, idleClosed } = await occupy(await serves(running, true));
  running.child.kill('SIGTERM');
  await idleClosed;
  t.equal(await finish(), 'answered');
  t.same(await running.ended(), { code: 0, signal: null });
});

t.test('a second SIGTERM ends the process at once, with code 143', async (t) => {
  const running = gyre(t, ['run', app('upload.js'), '--workers', '1']);
  const { failure, idleClosed } = await occupy(await serves(running, true));
  running.child.kill('SIGTERM');
  await idleClosed; // two at the same moment would be one
  running.child.kill('SIGTERM');
  t.same(await running.ended(), { code: 143, signal: null });
  t.equal(await failure, 'ECONNRESET', 'the request in flight was never answered');
});

t.test('what cannot be the same in a thread is what docs/limits.md lists', async (t) => {
  const pair = both(t, app('limits.js'), { env: { TELL: '1', TZ: 'UTC' } });
  for (const { child } of [pair.node, pair.gyre]) child.stdin?.end('typed');
  const [node, gyre] = await Promise.all([factsOf(pair.node), factsOf(pair.gyre)]);
  const same = { umaskRead: 'number', childSeesEnv: 'yes', ipc: 'undefined' };
  t.match(node, same);
  t.match(gyre, same);

  const refused = [
    ...['chdir', 'umaskSet', 'setuid', 'setgid', 'seteuid', 'setegid', 'setgroups'],
    'initgroups',
  ];
  for (const name of refused) {
    t.not(node[name], 'ERR_WORKER_UNSUPPORTED_OPERATION', `${name} is for processes`);
    t.equal(gyre[name], 'ERR_WORKER_UNSUPPORTED_OPERATION', `${name} throws in a thread`);
  }
  t.match(node, {
    ...{ abort: 'abort', debugProcess: 'function', traceEvents: 'done' },
    ...{ title: 'renamed', timeZone: 9, stdin: 'typed', stdinFd: '0' },
    ...{ threadId: 0, resourceLimits: 0, stdout: 'Socket' },
  });
  t.match(gyre, {
    ...{ abort: 'unavailableInWorker', debugProcess: 'undefined' },
    ...{ traceEvents: 'ERR_TRACE_EVENTS_UNAVAILABLE' },
    ...{ title: NODE.slice(0, 7), timeZone: 0, stdin: '', stdinFd: 'undefined' },
    ...{ threadId: Number, resourceLimits: 4, stdout: 'WritableWorkerStdio' },
  });
});
