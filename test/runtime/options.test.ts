/**
 * Options, and everything else that can be wrong with a start: each a GyreError with its
 * code, the options' own before anything has started.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { createRuntime, GyreError, type RuntimeOptions } from '../../src/index.js';
import { affinity, close, nameOf, openTcp, TCP_REUSEPORT } from '../../src/native.js';
import { JOB_POOL_DEFAULTS } from '../../src/runtime/job-options.js';
import { DEFAULTS, SCHEDULER_DEFAULTS } from '../../src/runtime/options.js';
import { listenerAt, resolveOptions } from '../../src/runtime/resolved-options.js';
import { app, get, portOf, ROOT, start } from '../support/app.js';
import { descriptors, threads } from '../support/proc.js';
import { Running } from '../support/running.js';

const CPUS = affinity();
const SERVER = app('http.js');
/** Names no file, so that whatever gets past the check of the options starts nothing. */
const NOWHERE = path.join(ROOT, 'nowhere.js');
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The code of the GyreError that `createRuntime` throws at the call. */
function codeThrown(options: unknown): string {
  try {
    createRuntime(options as RuntimeOptions).catch(() => {});
  } catch (error) {
    return error instanceof GyreError ? error.code : `not a GyreError: ${error}`;
  }
  return 'it does not throw';
}

/** The GyreError that it rejects with; the test fails if it starts. */
async function rejection(t: Test, options: RuntimeOptions): Promise<Partial<GyreError>> {
  try {
    await start(t, options.entry as string, options);
  } catch (error) {
    if (error instanceof GyreError) return error;
    t.fail(`not a GyreError: ${error}`);
    return {};
  }
  t.fail('it started');
  return {};
}

/** What runs a command without root's powers, or why that cannot be tried here. */
function withoutPrivileges(): { skip: string | false; command: string[] } {
  const command = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
  const file = '/proc/sys/net/ipv4/ip_unprivileged_port_start';
  if (existsSync(file) && Number(readFileSync(file, 'utf8')) <= 80) {
    return { skip: 'any user may listen on port 80 here', command };
  }
  if (process.getuid?.() !== 0) return { skip: false, command: [] };
  const [name, ...args] = [...command, 'true'];
  const able = spawnSync(name as string, args).status === 0;
  return { skip: able ? false : 'root cannot give up its powers here', command };
}

/** `script` in a process of its own; the lines that it wrote, as JSON. */
async function linesOf(t: Test, command: readonly string[], script: string): Promise<unknown[]> {
  const index = JSON.stringify(path.join(ROOT, 'dist', 'src', 'index.js'));
  const source = `
    const { createRuntime } = require(${index});
    const say = (line) => console.log(JSON.stringify(line));
    const tell = ({ name, code, syscall, cause }) =>
      say({ name, code, syscall, cause: cause?.code ?? null });
    ${script}`;
  const [first, ...rest] = [...command, process.execPath, '-e', source];
  const child = new Running(t, first as string, rest);
  const end = await child.ended();
  t.same(end, { code: 0, signal: null }, `the process lives on\n${child.stderr.slice(0, 2000)}`);
  const lines = child.stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line));
}

const NOT_NUMBERS = [null, '2', true, [2], {}, 2n, Symbol('two'), () => 2, Number.NaN];
const NOT_LISTS = [null, 'text', 1, {}, new Set(['a'])];
const NOT_OBJECTS = [null, 'text', 1, true, [], new Map(), new Date(), () => {}];
/** No JSON, and nothing that String() takes. */
const UNPRINTABLE = Object.assign(Object.create(null), { big: 1n });

const LIMIT_VALUES = {
  right: [
    ...[undefined, 1, TIMER_MS_MAX, Infinity, {}, { total: 1, perWorker: Infinity }],
    ...[{ total: undefined }, { perWorker: 1 }],
  ],
  wrong: [
    ...[null, '2', true, [2], 2n, Symbol('two'), () => 2, Number.NaN],
    ...[0, -1, 1.5, -Infinity, TIMER_MS_MAX + 1],
    ...[...NOT_NUMBERS, 0, 1.5].flatMap((count) => [{ total: count }, { perWorker: count }]),
  ],
};

/** Values of each option that are right, and those that are wrong by type or range. */
const VALUES: Record<keyof RuntimeOptions, { right: unknown[]; wrong: unknown[] }> = {
  entry: {
    right: ['a.js', '/a.js', './a', 'file:///a.js', pathToFileURL('/a b.js')],
    wrong: [
      ...[undefined, null, '', 1, {}, [], true, 'a\0.js'],
      ...[new URL('https://localhost/a.js'), 'file://elsewhere/a.js', 'file:///a%2fb.js'],
      ...['file:///a%00b.js', UNPRINTABLE],
    ],
  },
  workers: {
    right: [undefined, 'auto', 'inline', 1, 2, 512],
    wrong: [...NOT_NUMBERS, 0, -1, 1.5, 513, Infinity, -Infinity, '', 'all', UNPRINTABLE],
  },
  spares: {
    right: [undefined, 'auto', 0, 1, 1022],
    wrong: [...NOT_NUMBERS, -1, 1.5, 1023, Infinity, '', 'all', UNPRINTABLE],
  },
  pin: {
    right: [undefined, 'soft', 'hard', 'off', [0], [1, 0], [8191]],
    wrong: [
      ...[null, true, false, '', 'firm', 0, {}, new Set([0])],
      ...[[], [0, 0], [-1], [0.5], [8192], [Number.NaN], [Infinity], ['0'], [null], new Array(2)],
    ],
  },
  placement: {
    right: [undefined, 'divergent', 'collaborative'],
    wrong: [null, '', 'near', true, 1, ['divergent']],
  },
  args: {
    right: [undefined, [], ['a', ''], ['--', '-x']],
    wrong: [...NOT_LISTS, [1], ['a', null], [undefined], new Array(2)],
  },
  env: {
    right: [undefined, {}, { A: '1', B: '' }, { A: undefined }, process.env],
    wrong: [...NOT_OBJECTS, { A: 1 }, { A: null }, { A: ['1'] }, { A: true }],
  },
  name: {
    right: [undefined, 'a', 'x'.repeat(64)],
    wrong: [null, '', 'x'.repeat(65), 1, {}, ['a']],
  },
  resourceLimits: {
    right: [
      ...[undefined, {}, { stackSizeMb: undefined }, { maxOldGenerationSizeMb: 1e9 }],
      { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 },
      ...[
        { codeRangeSizeMb: 0, stackSizeMb: 1 },
        { codeRangeSizeMb: 8, stackSizeMb: 4096 },
      ],
    ],
    wrong: [
      ...NOT_OBJECTS,
      ...['maxOldGenerationSizeMb', 'maxYoungGenerationSizeMb', 'stackSizeMb'].flatMap((key) =>
        [...NOT_NUMBERS, 0, -1, 0.5, Infinity].map((limit) => ({ [key]: limit })),
      ),
      ...[...NOT_NUMBERS, -1, 0.5, 7, 2049, Infinity].map((mb) => ({ codeRangeSizeMb: mb })),
      ...[{ maxOldGenerationSizeMb: 15 }, { stackSizeMb: 4097 }],
    ],
  },
  backlog: {
    right: [undefined, 1, 65_535],
    wrong: [...NOT_NUMBERS, 0, -1, 1.5, 65_536, Infinity],
  },
  require: {
    right: [undefined, [], ['native', 'pin', 'reusePort', 'counters', 'move']],
    wrong: [...NOT_LISTS, ['fly'], ['pin', 1], ['toString'], new Array(2)],
  },
  handleSignals: {
    right: [undefined, true, false],
    wrong: [null, 0, 1, '', 'true', {}],
  },
  drainMs: {
    right: [undefined, 0, 0.5, TIMER_MS_MAX, Infinity],
    wrong: [...NOT_NUMBERS, -1, -Infinity, TIMER_MS_MAX + 1],
  },
  startMs: {
    right: [undefined, 1, TIMER_MS_MAX, Infinity],
    wrong: [...NOT_NUMBERS, 0, 0.5, -1, -Infinity, TIMER_MS_MAX + 1],
  },
  maxWorkers: {
    right: [undefined, 1, 512],
    wrong: [...NOT_NUMBERS, 0, -1, 1.5, 513, Infinity],
  },
  restarts: {
    right: [undefined, 0, 1_000_000, Infinity],
    wrong: [...NOT_NUMBERS, -1, 1.5, 1_000_001, -Infinity],
  },
  restartsWithinMs: {
    right: [undefined, 1, TIMER_MS_MAX],
    wrong: [...NOT_NUMBERS, 0, -1, 1.5, TIMER_MS_MAX + 1, Infinity],
  },
  hangMs: {
    right: [undefined, 0, 100, TIMER_MS_MAX],
    wrong: [...NOT_NUMBERS, -1, 1, 99, 100.5, TIMER_MS_MAX + 1, Infinity],
  },
  recycleAtHeapRatio: {
    right: [undefined, 0, 0.1, 0.99],
    wrong: [...NOT_NUMBERS, -1, 0.05, 1, Infinity],
  },
  closing: {
    right: [undefined, 'refuse', 'serve'],
    wrong: [null, true, '', 'wait', 1],
  },
  blame: {
    right: [undefined, true, false],
    wrong: [null, 0, 1, '', 'true', {}],
  },
  maxConnections: LIMIT_VALUES,
  maxOutstanding: LIMIT_VALUES,
  overload: {
    right: [undefined, 'wait', 'refuse'],
    wrong: [null, true, '', 'drop', 1],
  },
  listeners: {
    right: [
      ...[
        undefined,
        {},
        { 80: {} },
        { ':80': { move: false } },
        { '127.0.0.1:80': { move: true } },
      ],
      ...[{ '[::1]:80': {} }, { '[fe80::1%eth0]:80': {} }, { ':65535': { move: undefined } }],
    ],
    wrong: [
      ...NOT_OBJECTS,
      ...[{ '': {} }, { host: {} }, { 'host:80': {} }, { ':65536': {} }, { '::1:80': {} }],
      ...[null, 1, [], new Map()].map((options) => ({ 80: options })),
      ...[null, 1, 'true'].map((move) => ({ 80: { move } })),
    ],
  },
  admin: {
    right: [
      ...[undefined, '9464', ':9464', '127.0.0.1:0', '127.9.9.9:65535', 'localhost:80', '[::1]:80'],
      ...['unix:/run/a', 'unix:a', '[::ffff:127.0.0.1]:1'].map((listen) => ({ listen })),
      ...['x'.repeat(16), '!'.repeat(512)].map((token) => ({ listen: '0.0.0.0:80', token })),
      ...[0, 0o600, 0o777, undefined].map((mode) => ({ listen: 'unix:a', mode })),
      ...['0.0.0.0:80', '[::]:80'].map((listen) => ({ listen, public: true })),
      ...[true, false].map((applicationMetrics) => ({ listen: '80', applicationMetrics })),
      ...[true, false].map((requestTimes) => ({ listen: '80', requestTimes })),
    ],
    wrong: [
      ...[null, true, 80, [], new Map(), {}, { listen: undefined }, { listen: 80 }],
      ...['', ':', 'unix:', 'unix:a\0b', '65536', '-1', 'host:80', 'example.org:80', '1.2.3:80'],
      ...['::1:80', '[::1', '127.0.0.1:', '127.0.0.1:1x', 'http://127.0.0.1:80', ' 80'],
      ...[null, 1, '', 'x'.repeat(15), 'x'.repeat(513), `${'x'.repeat(15)} x`, 'ä'.repeat(16)].map(
        (token) => ({ listen: '80', token }),
      ),
      ...[null, '0600', -1, 1.5, 0o1000].map((mode) => ({ listen: 'unix:a', mode })),
      ...[null, 1, 'true'].map((value) => ({ listen: '80', public: value })),
      ...[null, 1, 'true'].map((value) => ({ listen: '80', applicationMetrics: value })),
      ...[null, 1, 'true'].map((value) => ({ listen: '80', requestTimes: value })),
    ],
  },
  agentCheck: {
    right: [undefined, '9465', ':9465', '0.0.0.0:9465', '[::]:0', 'localhost:1'],
    wrong: [null, true, 80, {}, [], '', 'unix:/run/a', 'host:80', '65536', '1.2.3:80', '[::1]'],
  },
  jobs: {
    right: [
      undefined,
      {},
      { a: 'a.js', b: '/b.mjs' },
      { a: pathToFileURL('/a b.js') },
      { a: 'file:///a.js#b' },
    ],
    wrong: [
      ...NOT_OBJECTS,
      ...[{ a: 1 }, { a: null }, { a: '' }, { a: 'a\0.js' }, { '': 'a.js' }, { 'file:a': 'a.js' }],
      ...[{ a: new URL('https://localhost/a.js') }, { a: 'file:///a%00b.js' }, { a: UNPRINTABLE }],
    ],
  },
  jobPool: {
    right: [
      ...[undefined, {}, { threads: 'auto' }, { threads: 1 }, { threads: 512 }, { queueMax: 0 }],
      ...[{ queueMax: 1_000_000 }, { idleMs: 0 }, { idleMs: Infinity }, { niceIncrement: 19 }],
    ],
    wrong: [
      ...NOT_OBJECTS,
      ...[{ threads: 0 }, { threads: 513 }, { threads: '2' }, { threads: null }, { queueMax: -1 }],
      ...[{ queueMax: Infinity }, { idleMs: -1 }, { idleMs: 2 ** 31 }, { niceIncrement: 20 }],
      ...[{ niceIncrement: -1 }, { niceIncrement: 0.5 }],
    ],
  },
  scheduler: {
    right: [
      ...[
        undefined,
        {},
        { move: true, tickMs: 1000, batchMax: 256, seed: 0, chaos: true, trace: true },
      ],
      ...[0, 0.5, 1000, Infinity].map((roundMs) => ({ roundMs })),
    ],
    wrong: [
      ...NOT_OBJECTS,
      ...[null, 1, 'true'].flatMap((value) => [
        ...[{ move: value }, { chaos: value }, { trace: value }],
      ]),
      ...[...NOT_NUMBERS, -1, 1000.5, -Infinity].map((roundMs) => ({ roundMs })),
      ...[...NOT_NUMBERS, 0, -1, 1.5, 1001, Infinity].map((tickMs) => ({ tickMs })),
      ...[...NOT_NUMBERS, 0, -1, 1.5, 257, Infinity].map((batchMax) => ({ batchMax })),
      ...[...NOT_NUMBERS, -1, 1.5, 2 ** 32, Infinity].map((seed) => ({ seed })),
    ],
  },
};

t.test('every option is refused at the call, when nothing has started', async (t) => {
  // Not how often each has woken up.
  const open = () => ({ threads: threads().map(({ tid }) => tid), descriptors: descriptors() });
  const before = open();
  for (const [name, { wrong }] of Object.entries(VALUES)) {
    const codes = wrong.map((value) => codeThrown({ entry: NOWHERE, [name]: value }));
    t.same(
      wrong.filter((_, index) => codes[index] !== 'ERR_GYRE_OPTION_INVALID'),
      [],
      `wrong values of ${name}`,
    );
  }
  for (const whole of [undefined, ...NOT_OBJECTS, UNPRINTABLE]) {
    t.match(codeThrown(whole), /^ERR_GYRE_OPTION_(INVALID|UNKNOWN)$/, 'all of it is wrong');
  }
  for (const unknown of [
    { entry: NOWHERE, worker: 2 },
    { entry: NOWHERE, Workers: 2 },
    { entry: NOWHERE, '': undefined },
    { entry: NOWHERE, resourceLimits: { maxHeap: 16 } },
    { entry: NOWHERE, scheduler: { tick: 1 } },
    { entry: NOWHERE, admin: { listen: '80', tokens: '' } },
    { entry: NOWHERE, maxConnections: { all: 1 } },
  ]) {
    t.equal(codeThrown(unknown), 'ERR_GYRE_OPTION_UNKNOWN');
  }
  for (const pair of [
    { workers: 'inline', pin: 'hard' },
    { workers: 'inline', pin: [0] },
    { workers: 'inline', resourceLimits: { stackSizeMb: 4 } },
    { workers: 'inline', env: {} },
    { workers: 'inline', admin: '80' },
    { workers: 'inline', agentCheck: '80' },
    ...['0.0.0.0:80', '[::]:80', '10.0.0.1:80', '[fe80::1%lo]:80', '[::ffff:10.0.0.1]:80'].map(
      (admin) => ({ admin }), // others can reach it, and nobody said that they may
    ),
    { admin: { listen: '0.0.0.0:80', public: false } },
    { admin: { listen: '127.0.0.1:80', public: true } },
    { admin: { listen: 'unix:a', public: true } },
    { admin: { listen: '127.0.0.1:80', mode: 0o600 } },
    { workers: 'inline', blame: true },
    { scheduler: { move: false }, blame: true },
    { workers: 'inline', maxConnections: 1 },
    { workers: 'inline', maxOutstanding: { perWorker: 1 }, overload: 'wait' },
  ]) {
    t.equal(codeThrown({ entry: NOWHERE, ...pair }), 'ERR_GYRE_OPTION_CONFLICT');
  }
  t.equal(codeThrown({ entry: NOWHERE, workers: 2, pin: [0] }), 'ERR_GYRE_CPUS');
  t.same(open(), before, 'no thread, no descriptor');
});

t.test('what is right is taken as it is, what is omitted gets its default', async (t) => {
  for (const [name, { right }] of Object.entries(VALUES)) {
    for (const value of right) {
      const options = { entry: NOWHERE, [name]: value };
      t.doesNotThrow(() => resolveOptions(options), `${name}: ${String(value)}`);
    }
  }
  const { scheduler, ...rest } = resolveOptions({ entry: 'a.js' });
  t.same(rest, {
    ...DEFAULTS,
    ...{ entry: path.resolve('a.js'), args: [], env: {}, require: [], resourceLimits: undefined },
    listeners: new Map(),
    maxWorkers: null,
    maxConnections: { total: Infinity, perWorker: Infinity },
    maxOutstanding: { total: Infinity, perWorker: Infinity },
    jobs: {},
    jobPool: JOB_POOL_DEFAULTS,
    ...{ admin: null, agentCheck: null },
  });
  t.same(resolveOptions({ entry: 'a.js', admin: '[::1]:80' }).admin, {
    ...{ address: { kind: 'tcp', host: '::1', port: 80 }, token: null },
    ...{ mode: 0o600, exposed: false, applicationMetrics: true, requestTimes: false },
  });
  t.same(resolveOptions({ entry: 'a.js', admin: 'unix:a' }).admin?.address, {
    ...{ kind: 'unix', path: path.resolve('a') },
  });
  const { seed, ...others } = scheduler;
  t.same(others, SCHEDULER_DEFAULTS);
  t.ok(Number.isInteger(seed));
  const url = pathToFileURL('/a b.js');
  t.equal(resolveOptions({ entry: url }).entry, '/a b.js');
  t.equal(resolveOptions({ entry: String(url) }).entry, '/a b.js');
  const given = { args: ['a'], pin: [0], env: { A: '1' } };
  const resolved = resolveOptions({ entry: 'a.js', ...given });
  given.args.push('b');
  given.pin.push(1);
  given.env.A = '2';
  t.same([resolved.args, resolved.pin, resolved.env], [['a'], [0], { A: '1' }], 'a copy');
});

t.test('what is said of an address is found by it, or by its port', async (t) => {
  const { listeners } = resolveOptions({
    entry: 'a.js',
    listeners: { 80: { move: false }, '127.0.0.1:0443': { move: false }, '[::1]:80': {} },
  });
  const tcp = (family: 'IPv4' | 'IPv6', address: string, port: number) =>
    listenerAt(listeners, { family, address, port })?.move;
  t.equal(tcp('IPv4', '10.0.0.1', 80), false, 'by its port');
  t.equal(tcp('IPv6', '::', 80), false);
  t.equal(tcp('IPv6', '::1', 80), true, 'what is said of the address itself comes first');
  t.equal(tcp('IPv4', '127.0.0.1', 443), false);
  t.equal(tcp('IPv4', '10.0.0.1', 443), undefined);
  t.equal(listenerAt(listeners, { family: 'unix', path: '/80' }), undefined);
});

t.test('whatever it is given: frozen and valid options, or a GyreError', async (t) => {
  const anything = fc.anything({
    ...{ withBigInt: true, withBoxedValues: true, withDate: true, withMap: true, withSet: true },
    ...{ withNullPrototype: true, withObjectString: true, withSparseArray: true },
    withTypedArray: true,
  });
  const number = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0, -0, 1, 1.5, Infinity));
  // Half right, a quarter nearly right, a quarter anything: so both outcomes are common.
  const likely = (name: keyof RuntimeOptions) =>
    fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom(...VALUES[name].right) },
      { weight: 2, arbitrary: fc.constantFrom(...VALUES[name].wrong) },
      { weight: 1, arbitrary: fc.oneof(number, fc.string(), fc.array(number), anything) },
    );
  const names = Object.keys(VALUES) as (keyof RuntimeOptions)[];
  const likelyOptions = fc.record(Object.fromEntries(names.map((name) => [name, likely(name)])), {
    requiredKeys: ['entry'],
  });
  const codes = [
    ...['ERR_GYRE_OPTION_UNKNOWN', 'ERR_GYRE_OPTION_INVALID', 'ERR_GYRE_OPTION_CONFLICT'],
    'ERR_GYRE_CPUS',
  ];
  const outcomes = { valid: 0, refused: 0 };
  const check = (options: unknown) => {
    let resolved: ReturnType<typeof resolveOptions>;
    try {
      resolved = resolveOptions(options);
    } catch (error) {
      outcomes.refused++;
      return error instanceof GyreError && codes.includes(error.code);
    }
    outcomes.valid++;
    const { entry, workers, pin, args, env, name, backlog, drainMs, startMs } = resolved;
    const parts = [resolved, pin, args, env, resolved.require, resolved.scheduler];
    return (
      [...parts, resolved.resourceLimits].every((part) => Object.isFrozen(part)) &&
      path.isAbsolute(entry) &&
      (typeof workers === 'string' || (workers >= 1 && workers <= 1024)) &&
      args.every((arg) => typeof arg === 'string') &&
      Object.values(env).every((item) => item === undefined || typeof item === 'string') &&
      name.length > 0 &&
      backlog >= 1 &&
      drainMs >= 0 &&
      startMs >= 1
    );
  };
  fc.assert(fc.property(likelyOptions, check), { numRuns: 1_000 });
  fc.assert(fc.property(anything, check), { numRuns: 500 });
  t.ok(outcomes.valid > 50 && outcomes.refused > 50, JSON.stringify(outcomes));
});

t.test('an entry that is not there, or is no program, is named before any thread', async (t) => {
  const dir = t.testdir({ empty: {}, whole: { 'index.js': readFileSync(SERVER) } });
  const before = threads().filter(({ name }) => /-w\d+$/.test(name));
  const started: unknown[] = [];
  for (const entry of ['nowhere.js', path.join(dir, 'empty'), path.join(SERVER, 'x'), dir]) {
    const error = await rejection(t, { entry });
    t.equal(error.code, 'ERR_GYRE_ENTRY_MISSING', entry);
    t.ok(error.cause instanceof Error);
    started.push(...threads().filter(({ name }) => /-w\d+$/.test(name)));
  }
  t.same(started, before);
  const runtime = await start(t, path.join(dir, 'whole'), { workers: 1 });
  t.equal((await get(portOf(runtime))).status, 200, 'a directory with an index is a program');
  const bare = await start(t, SERVER.replace(/\.js$/, ''), { workers: 1 });
  t.equal((await get(portOf(bare))).status, 200, 'the extension may be missing');
});

const { skip, command } = withoutPrivileges();

t.test('an unreadable entry, a privileged port: no privileges, no start', { skip }, async (t) => {
  const locked = path.join(t.testdir({ 'locked.js': '' }), 'locked.js');
  chmodSync(locked, 0);
  const script = `
    createRuntime({ entry: ${JSON.stringify(locked)} })
      .catch(tell)
      .then(() => createRuntime({ entry: ${JSON.stringify(SERVER)}, env: { PORT: '80' } }))
      .catch(tell);`;
  const [unreadable, privileged] = await linesOf(t, command, script);
  t.match(unreadable, { name: 'GyreError', code: 'ERR_GYRE_ENTRY_MISSING', cause: 'EACCES' });
  t.match(privileged, { name: 'GyreError', code: 'EACCES', syscall: 'listen' });
});

t.test('an entry that fails fails the start, however it does that', async (t) => {
  // Threads and their loops, once: libuv keeps some descriptors from then on.
  await rejection(t, { entry: app('fails.js'), args: ['ends'], workers: 2 });
  // Not files: node on its own loses one that it reads in a thread which ends meanwhile.
  const sockets = () => [...descriptors()].filter(([, what]) => !what.startsWith('/'));
  const before = sockets();
  const cases: [entry: string, args: string[], code: string, cause: unknown][] = [
    ['fails.js', ['throws an error'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.js', ['throws a text'], 'ERR_GYRE_WORKER_FAILED', 'thrown'],
    ['fails.js', ['throws null'], 'ERR_GYRE_WORKER_FAILED', null],
    ['fails.js', ['throws undefined'], 'ERR_GYRE_WORKER_FAILED', Error],
    ['fails.js', ['throws later'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.js', ['throws undefined later'], 'ERR_GYRE_WORKER_FAILED', Error],
    ['fails.js', ['rejects a promise'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.js', ['requires what is missing'], 'ERR_GYRE_WORKER_FAILED', Error],
    ['fails.js', ['exits with 3'], 'ERR_GYRE_WORKER_EXITED', undefined],
    ['fails.js', ['ends'], 'ERR_GYRE_WORKER_EXITED', undefined],
    ['fails.mjs', ['throws an error'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.mjs', ['throws a text'], 'ERR_GYRE_WORKER_FAILED', 'thrown'],
    ['fails.mjs', ['throws undefined'], 'ERR_GYRE_WORKER_FAILED', Error],
    ['fails.mjs', ['rejects at the top level'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.mjs', ['throws after an await'], 'ERR_GYRE_WORKER_FAILED', TypeError],
    ['fails.mjs', ['never gets to its end'], 'ERR_GYRE_WORKER_EXITED', undefined],
    ['fails.mjs', ['imports what is missing'], 'ERR_GYRE_WORKER_FAILED', Error],
    ['fails.mjs', ['ends'], 'ERR_GYRE_WORKER_EXITED', undefined],
  ];
  for (const [entry, args, code, cause] of cases) {
    const error = await rejection(t, { entry: app(entry), args, workers: 2 });
    t.equal(error.code, code, `${entry} ${args}`);
    t.ok(error.worker === 0 || error.worker === 1, 'it says which worker');
    if (typeof cause === 'function') t.type(error.cause, cause);
    else t.equal(error.cause, cause);
  }
  const dir = t.testdir({ 'syntax.cjs': 'let x = ;', 'syntax.mjs': 'let x = ;' });
  for (const file of ['syntax.cjs', 'syntax.mjs']) {
    const error = await rejection(t, { entry: path.join(dir, file), workers: 2 });
    t.equal(error.code, 'ERR_GYRE_WORKER_FAILED');
    t.type(error.cause, SyntaxError);
    if (file.endsWith('.cjs')) t.match((error.cause as Error).stack, file, 'it says where');
  }
  t.same(
    threads().filter(({ name }) => /-w\d+$/.test(name)),
    [],
    'no worker is left',
  );
  t.same(sockets(), before, 'and none of their descriptors');
});

t.test('a port in use is EADDRINUSE, even if it is shared by SO_REUSEPORT', async (t) => {
  const taken = net.createServer().listen(0);
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as net.AddressInfo;
  const shared = openTcp('::', 0, 6, TCP_REUSEPORT, 1);
  t.teardown(() => close(shared));
  for (const each of [port, nameOf(shared).port]) {
    const env = { PORT: String(each) };
    for (const workers of [1, 2] as const) {
      const error = await rejection(t, { entry: SERVER, env, workers });
      t.match(error, { code: 'EADDRINUSE', syscall: 'listen', worker: Number });
      t.ok(Number(error.errno) < 0);
      t.match(error.cause, { code: 'EADDRINUSE', port: each });
    }
  }
});

t.test('a Unix path in a missing directory is EACCES, as node has it', async (t) => {
  const source = "require('node:http').createServer().listen('no-such-directory/socket')";
  const entry = path.join(t.testdir({ 'unix.js': source }), 'unix.js');
  const error = await rejection(t, { entry, workers: 2 });
  t.match(error, { code: 'EACCES', syscall: 'listen' });
});

t.test('an entry that never listens is warned about and not waited for', async (t) => {
  const entry = path.join(t.testdir({ 'idle.js': 'setInterval(() => {}, 1000)' }), 'idle.js');
  const warned = once(process, 'warning');
  const runtime = await start(t, entry, { workers: 1, startMs: 1 });
  const [warning] = await warned;
  t.match(warning, { name: 'GyreWarning', code: 'GYRE_NOT_LISTENING' });
  t.same(runtime.addresses, []);
  t.equal(runtime.workers[0]?.state, 'starting');
  await runtime.close({ drainMs: 0 }); // before its entry is removed
});

t.test('CPUs that are not there are ERR_GYRE_CPUS', async (t) => {
  const outside = Math.max(...CPUS) + 1;
  const wrong: Partial<RuntimeOptions>[] = [
    { workers: CPUS.length + 1, pin: 'hard' },
    { pin: [outside] },
    { pin: [...CPUS, outside] },
    { workers: 1, pin: [...CPUS, 8191] },
  ];
  for (const options of wrong) {
    const { code } = await rejection(t, { entry: SERVER, ...options });
    t.equal(code, 'ERR_GYRE_CPUS', JSON.stringify(options));
  }
  const last = CPUS.at(-1) as number;
  const runtime = await start(t, SERVER, { pin: [last] });
  t.same(
    runtime.workers.map(({ cpu }) => cpu),
    [last],
    'a list means as many workers',
  );
});

t.test('every limit that is accepted starts, one by one and together', async (t) => {
  const least = {
    maxOldGenerationSizeMb: 16,
    maxYoungGenerationSizeMb: 1,
    codeRangeSizeMb: 8,
    stackSizeMb: 1,
  };
  const most = {
    maxOldGenerationSizeMb: Number.MAX_VALUE,
    maxYoungGenerationSizeMb: Number.MAX_VALUE,
    codeRangeSizeMb: 2_048,
    stackSizeMb: 4_096,
  };
  const single = [least, most].flatMap((limits) =>
    Object.entries(limits).map(([key, value]) => ({ [key]: value })),
  );
  const tried = [...single, least, most, { codeRangeSizeMb: 0 }];
  // In a process of its own: what V8 does not like may end the process.
  const script = `
    (async () => {
      for (const resourceLimits of JSON.parse(${JSON.stringify(JSON.stringify(tried))})) {
        const options = { entry: ${JSON.stringify(SERVER)}, workers: 2, resourceLimits };
        const runtime = await createRuntime(options);
        say([resourceLimits, runtime.workers.map(({ state }) => state)]);
        await runtime.close();
      }
    })().catch(tell);`;
  t.same(
    await linesOf(t, [], script),
    tried.map((limits) => [limits, ['serving', 'serving']]),
  );
});

const noLimits = spawnSync('prlimit', ['--version']).status !== 0 && 'there is no prlimit(1)';

t.test('limits with which a thread cannot start reject', { skip: noLimits }, async (t) => {
  // Address space for the first worker's stack of 4 GB, but not for a second one.
  const script = `
    const { readFileSync } = require('node:fs');
    const [, kb] = /VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'));
    const bytes = Number(kb) * 1024 + 6 * 2 ** 30;
    require('node:child_process').execFileSync('prlimit', ['--pid', process.pid, '--as=' + bytes]);
    createRuntime({
      entry: ${JSON.stringify(SERVER)},
      workers: 2,
      resourceLimits: { stackSizeMb: 4096 },
    }).then(() => say('started'), tell);`;
  const [error] = await linesOf(t, [], script);
  t.match(error, { code: 'ERR_GYRE_WORKER_FAILED', cause: 'ERR_WORKER_INIT_FAILED' });
});
