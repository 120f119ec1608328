/**
 * The admin endpoint: who may ask, what is refused and how, and what is left when it has closed.
 */
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import t from 'tap';
import { createRuntime, type GyreError, type RuntimeOptions } from '../../src/index.js';
import { app, get, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { descriptors } from '../support/proc.js';
import { Running } from '../support/running.js';
import { versioned } from '../support/versioned.js';
import { ask, EventStream, sendRaw, statusOf, whereOf } from './asking.js';

const SERVER = app('http.js');
const TOKEN = 'a-token-of-the-test';
const LOCAL = '127.0.0.1:0';
/** Where this machine cannot be asked for them, nobody is. */
const ALL = '0.0.0.0:0';

function codeIn(body: string): string {
  return (JSON.parse(body) as { error: { code: string } }).error.code;
}

/** Local addresses of listening sockets with `port`, as the kernel writes them. */
function boundTo(port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && state === '0A')
    .map(([, local]) => local?.split(':')[0] ?? '');
}

async function rejection(options: Partial<RuntimeOptions>): Promise<Partial<GyreError>> {
  try {
    const runtime = await createRuntime({ entry: SERVER, workers: 1, ...options });
    await runtime.close({ drainMs: 0 });
    return {};
  } catch (error) {
    return error as GyreError;
  }
}

t.test('it is off unless it is asked for, and then on loopback', async (t) => {
  const none = await start(t, SERVER, { workers: 1 });
  t.same(none.admin, { endpoint: null, agentCheck: null });
  const runtime = await start(t, SERVER, { workers: 1, admin: '0' });
  const { endpoint } = runtime.admin;
  t.match(endpoint, { family: 'IPv4', address: '127.0.0.1' });
  const { port } = endpoint as { port: number };
  t.same(boundTo(port), ['0100007F'], 'nowhere else');
  t.equal((await ask(whereOf(endpoint), '/healthz')).body, 'ok\n');
});

t.test('probes, a wrong path, a wrong method', async (t) => {
  const runtime = await start(t, SERVER, { workers: 1, admin: LOCAL });
  const where = whereOf(runtime.admin.endpoint);
  const ready = await ask(where, '/readyz');
  t.match(ready, { status: 200, body: 'ready\n', headers: { 'cache-control': 'no-store' } });
  t.equal((await ask(where, '/readyz?verbose=1')).status, 200, 'a query changes nothing');
  t.equal((await ask(where, 'http://localhost/healthz')).status, 200, 'nor does a proxy');
  const head = await ask(where, '/readyz', { method: 'HEAD' });
  t.match(head, { status: 200, body: '', headers: { 'content-length': '6' } });
  for (const target of [
    '/page',
    '/metrics/',
    '/METRICS',
    '//metrics',
    '/snapshot/../metrics',
    '/%',
  ]) {
    const answer = await ask(where, target);
    t.equal(answer.status, 404, target);
    t.equal(codeIn(answer.body), 'NOT_FOUND');
  }
  for (const [method, target, allow] of [
    ['POST', '/metrics', 'GET, HEAD'],
    ['DELETE', '/healthz', 'GET, HEAD'],
    ['OPTIONS', '/snapshot', 'GET, HEAD'],
    ['GET', '/reload', 'POST'],
    ['PUT', '/reload', 'POST'],
    ['HEAD', '/events', 'GET, HEAD'],
  ] as const) {
    const answer = await ask(where, target, { method });
    t.match(answer, { status: 405, headers: { allow } }, `${method} ${target}`);
    if (method !== 'HEAD') t.equal(codeIn(answer.body), 'METHOD_NOT_ALLOWED');
  }
});

t.test('with a token, nobody without it', async (t) => {
  const admin = { listen: LOCAL, token: TOKEN };
  const runtime = await start(t, SERVER, { workers: 1, admin });
  const where = whereOf(runtime.admin.endpoint);
  const wrong = [
    ...[undefined, '', 'Bearer', 'Bearer ', `Basic ${TOKEN}`, TOKEN, `Bearer ${TOKEN}x`],
    ...[`Bearer ${TOKEN.slice(0, -1)}`, `Bearer ${TOKEN} ${TOKEN}`, `Bearer ${'x'.repeat(4_000)}`],
  ];
  for (const authorization of wrong) {
    const headers = authorization === undefined ? {} : { authorization };
    for (const [method, target] of [
      ['GET', '/metrics'],
      ['GET', '/snapshot'],
      ['GET', '/events'],
      ['GET', '/nothing'],
      ['GET', '/floor-plan'],
      ['POST', '/reload'],
      ['POST', '/profile'],
      ['POST', '/heap'],
    ] as const) {
      const { status, body, headers: answered } = await ask(where, target, { method, headers });
      t.equal(status, 401, `${method} ${target}, ${authorization?.slice(0, 40)}`);
      t.equal(codeIn(body), 'UNAUTHORIZED');
      t.match(answered, { 'www-authenticate': 'Bearer realm="gyre"' });
    }
  }
  for (const target of ['/healthz', '/readyz', '/', '/page.js']) {
    t.equal((await ask(where, target)).status, 200, `${target} needs none`);
  }
  const headers = { authorization: `bearer  ${TOKEN}` };
  t.equal((await ask(where, '/snapshot', { headers })).status, 200);
  t.equal((await ask(where, '/nothing', { headers })).status, 404);
  const threads = runtime.workers.map(({ threadId }) => threadId);
  t.equal((await ask(where, '/reload', { method: 'POST', headers })).status, 200);
  t.notSame(
    runtime.workers.map(({ threadId }) => threadId),
    threads,
    'and only now was it reloaded',
  );
});

t.test('other machines may read if they are let, and no more without a token', async (t) => {
  t.match(await rejection({ admin: ALL }), { code: 'ERR_GYRE_OPTION_CONFLICT' });
  const open = await start(t, SERVER, { workers: 1, admin: { listen: ALL, public: true } });
  const where = { ...whereOf(open.admin.endpoint), host: '127.0.0.1' };
  const elsewhere = { headers: { host: 'app.example.org:9464' } };
  t.equal((await ask(where, '/metrics', elsewhere)).status, 200);
  for (const target of ['/reload', '/profile', '/heap']) {
    const refused = await ask(where, target, { method: 'POST' });
    t.same([refused.status, codeIn(refused.body)], [403, 'FORBIDDEN'], target);
  }
  const admin = { listen: ALL, token: TOKEN };
  const closed = await start(t, SERVER, { workers: 1, admin });
  const there = { ...whereOf(closed.admin.endpoint), host: '127.0.0.1' };
  t.equal((await ask(there, '/metrics', elsewhere)).status, 401);
  const headers = { ...elsewhere.headers, authorization: `Bearer ${TOKEN}` };
  t.equal((await ask(there, '/reload', { method: 'POST', headers })).status, 200);
});

t.test('no page in a browser of this machine may use it', async (t) => {
  const runtime = await start(t, SERVER, { workers: 1, admin: LOCAL });
  const where = whereOf(runtime.admin.endpoint);
  for (const host of ['example.org', 'localhost.example.org:9464', '10.0.0.1', '[::2]:80', 'x@y']) {
    const { status } = await ask(where, '/metrics', { headers: { host } });
    t.equal(status, 403, `it thinks that it asks ${JSON.stringify(host)}`);
  }
  for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1:9464', '127.1.2.3', '[::1]:80']) {
    t.equal((await ask(where, '/metrics', { headers: { host } })).status, 200, host);
  }
  const { port } = where as { port: number };
  const host = `127.0.0.1:${port}`;
  for (const headers of [
    ...['null', 'http://example.org', `https://${host}`, `http://localhost:${port}`].map(
      (origin) => ({ origin, host }),
    ),
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ] as http.OutgoingHttpHeaders[]) {
    const { status } = await ask(where, '/reload', { method: 'POST', headers });
    t.equal(status, 403, JSON.stringify(headers));
  }
  const own = { origin: `http://${host}`, host, 'sec-fetch-site': 'same-origin' };
  t.equal((await ask(where, '/reload', { method: 'POST', headers: own })).status, 200);
});

t.test('huge and malformed requests get an error and disturb nothing', async (t) => {
  const runtime = await start(t, SERVER, { workers: 2, admin: LOCAL });
  const where = whereOf(runtime.admin.endpoint);
  const stream = await EventStream.open(where);
  t.teardown(() => stream.close());
  const line = (...headers: string[]) =>
    ['GET /metrics HTTP/1.1', 'Host: localhost', ...headers, '', ''].join('\r\n');
  const raw: [what: string, bytes: string, status: RegExp][] = [
    ['no HTTP', '\0\x01\x02\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['TLS', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', /^HTTP\/1\.1 400 /],
    ['HTTP/0.9, which names no host', 'GET /metrics\r\n\r\n', /^HTTP\/1\.1 403 /],
    ['no host', 'GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['a broken header', line('a b: c'), /^HTTP\/1\.1 400 /],
    ['two lengths', line('Content-Length: 1', 'Content-Length: 2'), /^HTTP\/1\.1 400 /],
    ['both framings', line('Content-Length: 5', 'Transfer-Encoding: chunked'), /^HTTP\/1\.1 400 /],
    ['long headers', line(`X: ${'x'.repeat(9_000)}`), /^HTTP\/1\.1 431 /],
    ['a long path', `GET /${'x'.repeat(9_000)} HTTP/1.1\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ['a tunnel', 'CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n', /^$/],
  ];
  for (const [what, bytes, status] of raw) t.match(await sendRaw(where, bytes), status, what);

  const post = (body: string) => ask(where, '/reload', { method: 'POST', body });
  const long = await post('x'.repeat(5_000));
  t.match(long, { status: 413, headers: { connection: 'close' } });
  t.equal(codeIn(long.body), 'PAYLOAD_TOO_LARGE');
  const announced =
    'POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n';
  t.match(
    await sendRaw(where, announced),
    /^HTTP\/1\.1 413 /,
    'what is announced is not waited for',
  );
  const chunked = `POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const chunk = `2000\r\n${'x'.repeat(0x2000)}\r\n`;
  t.match(await sendRaw(where, chunked, chunk), /^HTTP\/1\.1 413 /, 'nor is a body without an end');
  for (const body of ['{', '[]', 'null', '7', '"x"', '{"entry":"/etc/passwd"}', '\0']) {
    const answer = await post(body);
    t.same([answer.status, codeIn(answer.body)], [400, 'BAD_REQUEST'], body);
  }
  const invalid = await post('{"drainMs":-1}');
  t.same([invalid.status, codeIn(invalid.body)], [400, 'ERR_GYRE_OPTION_INVALID']);

  t.same(
    stream.events.map(({ event }) => event),
    ['state'],
    'nothing has happened to the workers',
  );
  t.equal((await get(portOf(runtime))).status, 200);
  t.equal((await ask(where, '/readyz')).status, 200);
});

t.test('who holds streams keeps nobody out of all else', async (t) => {
  const runtime = await start(t, SERVER, { workers: 1, admin: LOCAL });
  const where = whereOf(runtime.admin.endpoint);
  const streams = await Promise.all(Array.from({ length: 16 }, () => EventStream.open(where)));
  t.teardown(() => {
    for (const stream of streams) stream.close();
  });
  t.match(await ask(where, '/events'), { status: 503 }, 'there are so many streams and no more');
  t.equal((await ask(where, '/metrics')).status, 200, 'all else is answered');
  streams[0]?.close();
  let again = await EventStream.open(where);
  while (again.response.statusCode !== 200) again = await EventStream.open(where);
  t.teardown(() => again.close());
  t.ok(await again.has('state'));
});

t.test('a Unix socket is its user’s alone, and its file goes with it', async (t) => {
  const file = path.join(folder(t), 'admin');
  const runtime = await start(t, SERVER, { workers: 1, admin: `unix:${file}` });
  t.same(runtime.admin.endpoint, { family: 'unix', path: file });
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal((await ask({ socketPath: file }, '/readyz')).status, 200);
  const host = { headers: { host: 'example.org' } };
  t.equal((await ask({ socketPath: file }, '/metrics', host)).status, 200, 'no browser gets here');

  const taken = await rejection({ admin: `unix:${file}` });
  t.match(taken, { name: 'GyreError', code: 'EADDRINUSE', syscall: 'listen' });
  t.equal((await ask({ socketPath: file }, '/readyz')).status, 200, 'the first one goes on');
  await runtime.close();
  t.notOk(existsSync(file));

  const shared = await start(t, SERVER, {
    workers: 1,
    admin: { listen: `unix:${file}`, mode: 0o660 },
  });
  t.equal(statSync(file).mode & 0o777, 0o660);
  await shared.close();

  writeFileSync(file, 'no socket');
  t.match(await rejection({ admin: `unix:${file}` }), { code: 'EADDRINUSE' });
  t.equal(readFileSync(file, 'utf8'), 'no socket', 'what is somebody else’s stays');
});

t.test('what a killed process left is replaced', async (t) => {
  const file = path.join(folder(t), 'admin');
  const script = `require('node:net').createServer().listen(${JSON.stringify(file)}, () => console.error('up'))`;
  const child = new Running(t, process.execPath, ['-e', script]);
  await child.says(/up/);
  child.child.kill('SIGKILL');
  await child.ended();
  t.ok(existsSync(file), 'there is a socket without anybody');
  await start(t, SERVER, { workers: 1, admin: `unix:${file}` });
  t.equal((await ask({ socketPath: file }, '/readyz')).status, 200);
});

t.test('where it cannot listen nothing starts', async (t) => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as net.AddressInfo;
  const before = descriptors();
  for (const options of [{ admin: `${port}` }, { agentCheck: `${port}` }]) {
    const error = await rejection(options);
    t.match(error, { name: 'GyreError', code: 'EADDRINUSE', syscall: 'listen', errno: Number });
  }
  const missing = path.join(folder(t), 'no', 'admin');
  t.match(await rejection({ admin: `unix:${missing}` }), { code: 'ENOENT' });
  const long = path.join(folder(t), 'x'.repeat(100));
  t.match(await rejection({ admin: `unix:${long}` }), { code: 'EINVAL' });
  t.same([...descriptors().keys()], [...before.keys()], 'and nothing is left');
});

t.test('reload by request, and what is refused meanwhile', async (t) => {
  const { env, write } = versioned(t);
  const runtime = await start(t, app('survivor.js'), {
    ...{ workers: 1, admin: LOCAL, drainMs: 5_000, env },
  });
  const where = whereOf(runtime.admin.endpoint);
  const port = portOf(runtime);
  const waiting = get({ port, path: '/wait?ms=300' });
  await runtime.snapshot();
  const reload = (body = '') => ask(where, '/reload', { method: 'POST', body });
  const [first, second] = [reload('{"drainMs":5000}'), reload()];
  const answers = await Promise.all([first, second]);
  t.same(answers.map(({ status }) => status).sort(), [200, 409], 'one at a time');
  const done = answers.find(({ status }) => status === 200);
  t.ok(JSON.parse(done?.body ?? '').reloadedInSeconds > 0);
  t.equal((await waiting).status, 200, 'what was in flight was answered');

  write('broken');
  const broken = await reload();
  t.same([broken.status, codeIn(broken.body)], [500, 'ERR_GYRE_RELOAD']);
  t.match(broken.body, /broken on purpose/);
  t.equal((await get(port)).status, 200, 'the old program goes on');
});

t.test('while the runtime closes it says so, and then it is gone', async (t) => {
  // Threads and their loops, once: libuv keeps some descriptors from then on.
  await (await createRuntime({ entry: SERVER, workers: 1, admin: LOCAL })).close();
  const before = [...descriptors().keys()];
  const runtime = await start(t, app('survivor.js'), {
    ...{ workers: 1, admin: LOCAL, agentCheck: '127.0.0.1:0', closing: 'serve', drainMs: 5_000 },
  });
  const where = whereOf(runtime.admin.endpoint);
  const stream = await EventStream.open(where);
  const port = portOf(runtime);
  const waiting = get({ port, path: '/wait?ms=400' });
  while ((await statusOf(runtime)).workers[0]?.connections === 0);
  const closed = runtime.close();
  t.match(await ask(where, '/readyz'), { status: 503, body: 'closing\n' });
  t.equal((await ask(where, '/healthz')).status, 200);
  t.match(await ask(where, '/reload', { method: 'POST' }), {
    status: 503,
    body: /ERR_GYRE_CLOSED/,
  });
  t.equal((await statusOf(runtime)).state, 'closing');
  t.equal((await waiting).status, 200);
  await closed;
  await stream.ended;
  t.equal(stream.events.at(-1)?.event, 'close');
  t.same(runtime.admin, { endpoint: null, agentCheck: null });
  await t.rejects(ask(where, '/healthz'), { code: 'ECONNREFUSED' });
  t.same([...descriptors().keys()], before, 'no descriptor is left');
});

t.test('what a client holds open does not hold up the end', async (t) => {
  const runtime = await start(t, SERVER, { workers: 1, admin: LOCAL });
  const where = whereOf(runtime.admin.endpoint);
  const { port } = where as { port: number };
  const half = net.connect(port, '127.0.0.1');
  half.write('GET /metrics HTTP/1.1\r\n');
  const stuck = net.connect(port, '127.0.0.1');
  stuck.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await Promise.all([once(half, 'connect'), once(stuck, 'connect')]);
  stuck.pause(); // it never reads
  for (const socket of [half, stuck]) socket.on('error', () => {});
  await ask(where, '/healthz');
  const began = performance.now();
  await runtime.close();
  t.ok(performance.now() - began < 5_000);
  half.destroy();
  stuck.destroy();
});

t.test('everything that happens to a worker is told as it happens', async (t) => {
  const runtime = await start(t, app('survivor.js'), {
    ...{ workers: 2, spares: 0, admin: LOCAL, hangMs: 300, scheduler: { move: false } },
  });
  const where = whereOf(runtime.admin.endpoint);
  runtime.on('error', () => {}); // or it is written to stderr
  const stream = await EventStream.open(where);
  t.teardown(() => stream.close());
  t.equal(stream.response.headers['content-type'], 'text/event-stream');
  const { data } = await stream.has('state');
  t.match(data, { state: 'serving', ready: true, workers: [{ index: 0 }, { index: 1 }] });
  const port = portOf(runtime);
  await t.rejects(get({ port, path: '/throw' }));
  const exit = await stream.has('exit');
  t.match(exit.data, { code: 1, reason: 'died', worker: { index: Number } });
  t.match(exit.data.error, { code: 'ERR_GYRE_WORKER_FAILED', message: /thrown on purpose/ });
  await stream.has('worker', ({ id }) => id > exit.id);
  await stream.has('listening', ({ id }) => id > exit.id);
  const looping = t.rejects(get({ port, path: '/loop' }));
  t.match((await stream.has('hang')).data, { stuckMs: Number, stack: [/neverReturn/] });
  await looping;
  t.equal((await ask(where, '/reload', { method: 'POST' })).status, 200);
  await stream.has('reload');
  const ids = stream.events.map(({ id }) => id);
  t.same(
    ids,
    [...ids].sort((a, b) => a - b),
    'in order',
  );
});
