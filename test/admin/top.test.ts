/**
 * `gyre top`: as an object, as text, and in a terminal.
 */
import http from 'node:http';
import type net from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import { frameOf } from '../../src/admin/frame.js';
import type { Rates } from '../../src/admin/rates.js';
import { app, CLI, get, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { skipWithout } from '../support/programs.js';
import { gyre, Running } from '../support/running.js';

const ESC = '\x1b';

const noTerminal = skipWithout('script', 'util-linux');

/** Keeps asking until told. */
function load(port: number) {
  const agent = new http.Agent({ keepAlive: true });
  let more = true;
  const done = (async () => {
    while (more) await get({ port, agent });
    agent.destroy();
  })();
  return {
    stop() {
      more = false;
      return done;
    },
  };
}

async function ended(process: Running): Promise<number | null> {
  return (await process.ended()).code;
}

t.test('once, as an object and as text', async (t) => {
  const file = path.join(folder(t), 'admin');
  const token = 'a-token-of-the-test';
  const runtime = await start(t, app('http.js'), {
    ...{ workers: 2, name: 'shop', admin: { listen: `unix:${file}`, token, requestTimes: true } },
  });
  const asking = load(portOf(runtime));
  const env = { GYRE_ADMIN_TOKEN: token };
  const args = ['top', `unix:${file}`, '--once', '--interval', '0.5'];
  const [json, text] = [gyre(t, [...args, '--json'], env), gyre(t, args, env)];
  t.equal(await ended(json), 0, json.stderr);
  t.equal(await ended(text), 0, text.stderr);
  const rates = JSON.parse(json.stdout) as Rates;
  t.match(rates, { schema: 1, name: 'shop', state: 'serving', ready: true, pid: process.pid });
  t.ok(rates.intervalSeconds >= 0.5 && rates.intervalSeconds < 5);
  t.ok(rates.requestsPerSecond > 10, `${rates.requestsPerSecond}`);
  t.ok((rates.p99Seconds ?? -1) > 0);
  t.equal(rates.connections, 1);
  t.equal(rates.workers.length, 2);
  for (const { load, cpuShare, runDelayShare } of rates.workers) {
    for (const share of [load, cpuShare, runDelayShare])
      t.ok(share !== null && share >= 0 && share <= 1);
  }
  t.match(rates.listeners, [{ queue: Number, queueLimit: Number, droppedPerSecond: 0 }]);
  t.match(text.stdout, /^shop {2}serving {2}pid \d+/);
  t.match(text.stdout, /^WORKER +CPU STATE +LOAD.*RESTARTS$/m);
  t.match(text.stdout, /^ +0 +\S+ serving +\[\|* *\] \d+%/m);
  t.notOk(text.stdout.includes(ESC), 'no colours in a pipe');
  await asking.stop();
});

t.test('where there is no answer it says why', async (t) => {
  const web = http
    .createServer((_request, response) => response.end('hello'))
    .listen(0, '127.0.0.1');
  t.teardown(() => web.close());
  await new Promise((resolve) => web.once('listening', resolve));
  const { port: other } = web.address() as net.AddressInfo;
  const admin = { listen: '127.0.0.1:0', token: 'a-token-of-the-test' };
  const runtime = await start(t, app('http.js'), { workers: 1, admin });
  const { port: locked } = runtime.admin.endpoint as { port: number };
  const free = freePort();
  const cases: [args: string[], code: number, says: RegExp, env?: NodeJS.ProcessEnv][] = [
    [[`${free}`], 1, /ECONNREFUSED.*\n.*--admin/],
    [[`unix:${path.join(folder(t), 'none')}`], 1, /ENOENT.*\n.*--admin/],
    [[`${other}`], 1, /no admin endpoint of gyre/],
    [[`${locked}`], 1, /GYRE_ADMIN_TOKEN/],
    [[`${locked}`], 1, /GYRE_ADMIN_TOKEN/, { GYRE_ADMIN_TOKEN: 'another-of-that-length' }],
    [[], 1, /ECONNREFUSED/, { GYRE_ADMIN: `${free}` }],
    [['somewhere'], 2, /HOST:PORT/],
    [[`${locked}`, '--interval', '0'], 2, /0\.1 to 3600/],
    [['--nothing'], 2, /unknown option/],
  ];
  const runs = cases.map(async ([args, code, says, env]) => {
    const run = gyre(t, ['top', '--once', ...args], env);
    t.equal(await ended(run), code, `${args}: ${run.stderr}`);
    t.match(run.stderr, says);
    t.equal(run.stdout, '');
  });
  await Promise.all(runs);
});

const WORKER = {
  ...{ index: 0, spare: false, state: 'serving' as const, cpu: 0, load: 0.5, cpuShare: 0.4 },
  ...{ runDelayShare: 0.1, connections: 12, outstanding: 0, requestsPerSecond: 12_345.6 },
  ...{ p99Seconds: 0.0123, givenPerSecond: 1.25, receivedPerSecond: 0, rescuedPerSecond: 3 },
  ...{ heapUsedBytes: 2 ** 24, heapLimitBytes: 2 ** 32, stuckSeconds: 0, restarts: 1 },
};
const RATES: Rates = {
  ...{ schema: 1, takenAtMs: 0, intervalSeconds: 1, name: 'shop\x1b[2J', version: '1.2.3' },
  ...{ node: 'v20.0.0', pid: 7, uptimeSeconds: 3_725, state: 'serving', ready: true },
  ...{ connections: 12, requestsPerSecond: 12_345.6, p50Seconds: null, p99Seconds: 0.0123 },
  ...{ movesPerSecond: 4, residentBytes: 2 ** 27, listeners: [], workers: [WORKER], blamed: [] },
  ...{ moves: [], requestTimes: null, levels: [] },
};

t.test('a picture fits its screen, whatever that is', async (t) => {
  const workers = Array.from({ length: 300 }, (_, index) => ({ ...WORKER, index }));
  for (const columns of [1, 20, 40, 80, 133, 500]) {
    for (const rows of [1, 5, 24, 1_000]) {
      const lines = frameOf({ ...RATES, workers }, { columns, rows, colors: false });
      t.ok(lines.length <= rows, `${columns} x ${rows}`);
      // One column is always there.
      t.ok(lines.every((line) => line.length <= Math.max(columns, 6)));
    }
  }
  const [title = '', summary = ''] = frameOf(RATES, { columns: 200, rows: 50, colors: false });
  t.equal(
    title,
    'shop?[2J  serving  pid 7  up 1 h 2 min  gyre 1.2.3  node v20.0.0',
    'nothing in it moves the cursor',
  );
  t.equal(summary, '12.3k requests/s  p50 - ms  p99 12.3 ms  12 connections  4 moves/s  128 MB');
  const more = frameOf({ ...RATES, workers }, { columns: 80, rows: 10, colors: false });
  t.match(more.at(-1), /^\.\.\. and 29\d more$/);
  const blamed = ['a', 'b', 'c', 'd'].map((where, i) => ({
    where: `${where}\x1b[2J`,
    count: 9 - i,
  }));
  const stalls = frameOf({ ...RATES, blamed }, { columns: 80, rows: 24, colors: false });
  t.same(stalls.slice(-4), [
    '',
    ...['stood still in a?[2J  x 9', 'stood still in b?[2J  x 8', 'stood still in c?[2J  x 7'],
  ]);
  const stuck = { ...WORKER, stuckSeconds: 2.5 };
  const colored = frameOf(
    { ...RATES, ready: false, workers: [stuck] },
    { columns: 80, rows: 9, colors: true },
  );
  t.ok(colored.join('\n').includes(`${ESC}[31m!2.5 s`), 'who stands still is red');
  t.match(colored[0], /not ready/);
});

t.test('below the workers: durations, moves and the machine', (t) => {
  const spare = { ...WORKER, index: 2, spare: true, cpu: null };
  const rates: Rates = {
    ...RATES,
    workers: [WORKER, { ...WORKER, index: 1, cpu: 4, load: null }, spare],
    requestTimes: {
      sumSeconds: 1,
      boundsSeconds: [0.000512, 0.001024, 0.002048, 0.004096, 16.777216],
      counts: [600, 300, 50, 40, 9, 1],
    },
    moves: [
      { from: 0, to: 2, ring: null, givenPerSecond: 0, rescuedPerSecond: 7 },
      { from: 1, to: 0, ring: 1, givenPerSecond: 2.5, rescuedPerSecond: 0 },
    ],
    levels: [
      { kinds: ['thread'], groups: [[0], [1], [4], [5]] },
      {
        kinds: ['core', 'L2'],
        groups: [
          [0, 4],
          [1, 5],
        ],
      },
      { kinds: ['package'], groups: [[0, 1, 4, 5]] },
    ],
  };
  const whole = frameOf(rates, { columns: 100, rows: 30, colors: false });
  t.same(whole.slice(-4), [
    '',
    'requests  < 1 ms 90.0%   < 4 ms 9.0%   more 1.0%',
    'moves     0 > 2 S  7/s (rescued 7)   1 > 0  2.5/s',
    'machine   package [core [0:50% 4:-] core [1:- 5:-]]',
  ]);
  const small = frameOf(rates, { columns: 100, rows: whole.length - 2, colors: false });
  t.match(small.at(-1), /^requests/);
  t.match(frameOf(rates, { columns: 100, rows: 7, colors: false }).at(-1), /^ +2 S/);
  t.end();
});

/** `gyre top` in a terminal of 90 x 12. */
function inTerminal(t: Test, args: readonly string[]) {
  const command = ['stty cols 90 rows 12; exec', process.execPath, CLI, 'top', ...args].join(' ');
  const env = { TERM: 'xterm', SHELL: '/bin/sh' };
  const run = new Running(t, 'script', ['-qfec', command, '/dev/null'], env);
  const shows = async (pattern: RegExp) => {
    for (let tries = 0; tries < 1_000 && !pattern.test(run.stdout); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    t.match(run.stdout, pattern);
  };
  return { run, shows };
}

t.test('in a terminal, until a key ends it', { skip: noTerminal }, async (t) => {
  const admin = '127.0.0.1:0';
  const runtime = await start(t, app('http.js'), { workers: 2, admin });
  const { port } = runtime.admin.endpoint as { port: number };
  const { run, shows } = inTerminal(t, [`${port}`, '--interval', '0.2']);
  await shows(/\[\?1049h.*gyre {2}serving.*WORKER.*serving/s);
  await runtime.close();
  await shows(/ECONNREFUSED/);
  const again = await start(t, app('http.js'), { workers: 2, admin: `${port}` });
  const before = run.stdout.length;
  for (let tries = 0; tries < 1_000; tries++) {
    if (/WORKER/.test(run.stdout.slice(before))) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.match(run.stdout.slice(before), /WORKER/, 'it goes on when the server is there again');
  run.child.stdin?.write('q');
  t.same(await run.ended(), { code: 0, signal: null });
  t.ok(run.stdout.includes(`${ESC}[?25h${ESC}[?1049l`), 'the terminal is as it was');
  await again.close();
});
