/**
 * Servers as people write them, by two workers, with real clients: nothing in
 * test/fixtures/apps knows of gyre. test/fixtures/tls holds a self-signed certificate
 * for localhost, made for these tests and valid for a hundred years.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2, { type ClientHttp2Session } from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { buffer, json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import type { Runtime } from '../src/index.js';
import { app, get, HOST, portOf, ROOT, start } from './support/app.js';
import { descriptors, threads } from './support/proc.js';

const CA = readFileSync(path.join(ROOT, 'test', 'fixtures', 'tls', 'localhost.crt'));
const BODY = randomBytes(1024 * 1024);

/** The bounded wait for what has no event. The caller checks what came of it. */
async function eventually(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1_000 && !holds(); tries++) await sleep(10);
}

/** The threads and descriptors of this process, one a line. */
function possessions(): string {
  const tids = threads().map(({ tid, name }) => `thread ${tid} ${name}`);
  const fds = [...descriptors()].map(([fd, target]) => `fd ${fd} ${target}`);
  return [...tids, ...fds].sort().join('\n');
}

/** `ask` names the thread that answered; asks, bounded, until each worker has. */
async function answersFromEach(
  t: Test,
  runtime: Runtime,
  ask: () => Promise<number>,
): Promise<void> {
  const expected = new Set(runtime.workers.map(({ threadId }) => threadId));
  const seen = new Set<number>();
  for (let tries = 0; seen.size < expected.size && tries < 100; tries++) seen.add(await ask());
  t.same(seen, expected, 'both threads answered');
}

/** Once the clients have gone the scoreboard must know. */
async function everyoneGone(t: Test, runtime: Runtime): Promise<void> {
  const rows = () => runtime.snapshot().workers;
  await eventually(() => rows().every(({ connections }) => connections === 0));
  for (const { accepted, received, connections } of rows()) {
    // Those that came while it still warmed up may have been accepted for another.
    t.ok(accepted + received > 0, 'the worker had connections');
    t.equal(connections, 0, 'and none is left');
  }
}

interface Unfinished {
  /** Resolves when the server has closed what was idle. */
  readonly idleClosed: Promise<unknown>;
  /** Finishes what was in flight when `close()` was called, and checks it. */
  finish(): Promise<void>;
}

/**
 * `close()` with something idle and something in flight. There is no time limit that
 * could cut either off, so it resolves only if all was really drained.
 */
async function drains(t: Test, runtime: Runtime, before: string, clients: Unfinished) {
  let resolved = false;
  const closing = runtime.close({ drainMs: Number.POSITIVE_INFINITY }).then(() => {
    resolved = true;
  });
  await clients.idleClosed;
  await eventually(() => runtime.addresses.length === 0);
  t.same(runtime.addresses, [], 'nobody listens any more');
  t.notOk(resolved, 'close() waits for what is in flight');
  await clients.finish();
  await closing;
  t.ok(
    runtime.workers.every(({ state }) => state === 'exited'),
    'close() resolved',
  );
  await eventually(() => possessions() === before);
  t.equal(possessions(), before, 'threads and descriptors are as before');
}

/** A request that is answered, and its body. */
function ask(
  client: typeof http | typeof https,
  options: https.RequestOptions,
  body?: Buffer,
): Promise<{ headers: http.IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const request = client.request(options, (response) => {
      buffer(response).then((body) => resolve({ headers: response.headers, body }), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

// What stays when the first runtime and the first connection of a process have gone: the
// threads of its pool, and the descriptor that libuv keeps for when there are no others.
t.before(async () => {
  const runtime = await start(t, app('http.js'), { workers: 2 });
  await get(portOf(runtime));
  await runtime.close();
});

const HTTP_APPS = [
  { name: 'Express', file: 'express.js', client: http },
  { name: 'Fastify', file: 'fastify.mjs', client: http },
  { name: 'Koa', file: 'koa.mjs', client: http },
  { name: 'https', file: 'https.js', client: https },
] as const;

for (const { name, file, client } of HTTP_APPS) {
  t.test(`${name}: two workers serve it and drain it`, async (t) => {
    const before = possessions();
    const runtime = await start(t, app(file), { workers: 2 });
    const to = { host: HOST, port: portOf(runtime), ca: CA, agent: false as const };
    const threadIds = runtime.workers.map(({ threadId }) => String(threadId));

    await answersFromEach(t, runtime, async () => {
      const { body } = await ask(client, to);
      return JSON.parse(body.toString()).threadId;
    });
    const post = { ...to, method: 'POST', path: '/echo' };
    const { headers, body } = await ask(client, post, BODY);
    t.ok(body.equals(BODY), 'a body of 1 MB came back as it was');
    t.ok(threadIds.includes(String(headers['x-thread'])));
    await everyoneGone(t, runtime);

    // In flight: the server has the request (it says `100 Continue`) but not its body.
    const request = client.request({ ...post, headers: { expect: '100-continue' } });
    const response = once(request, 'response') as Promise<[http.IncomingMessage]>;
    request.flushHeaders();
    await once(request, 'continue');

    const agent = new client.Agent({ keepAlive: true });
    await ask(client, { ...to, agent });
    const [idle] = Object.values(agent.freeSockets).flat();
    t.ok(idle, 'the server keeps the other connection alive');

    await drains(t, runtime, before, {
      idleClosed: once(idle as net.Socket, 'close'),
      async finish() {
        request.end(BODY);
        const [answer] = await response;
        t.equal(answer.headers.connection, 'close', 'the last answer on its connection says so');
        t.ok((await buffer(answer)).equals(BODY), 'the request in flight was answered');
      },
    });
    agent.destroy();
  });
}

const HTTP2_APPS = [
  { name: 'http2 over TLS', file: 'http2.mjs', scheme: 'https' },
  { name: 'http2 without TLS', file: 'h2c.js', scheme: 'http' },
] as const;

for (const { name, file, scheme } of HTTP2_APPS) {
  t.test(`${name}: two workers serve it and drain it`, async (t) => {
    const before = possessions();
    const runtime = await start(t, app(file), { workers: 2 });
    const port = portOf(runtime);
    const connect = () => http2.connect(`${scheme}://${HOST}:${port}`, { ca: CA });
    const closed = async (session: ClientHttp2Session) => {
      session.close();
      await once(session, 'close');
    };

    await answersFromEach(t, runtime, async () => {
      const session = connect();
      const { threadId } = (await json(session.request({ ':path': '/' }))) as { threadId: number };
      await closed(session);
      return threadId;
    });

    const session = connect();
    const streams = await Promise.all(
      Array.from({ length: 8 }, async (_, nth) => {
        const stream = session.request({ ':method': 'POST', ':path': '/echo' });
        const response = once(stream, 'response') as Promise<[http2.IncomingHttpHeaders]>;
        const sent = BODY.subarray(nth * 1000);
        stream.end(sent);
        const [same, [headers]] = [(await buffer(stream)).equals(sent), await response];
        return { same, thread: headers['x-thread'] };
      }),
    );
    t.ok(
      streams.every(({ same }) => same),
      'the bodies of eight streams at a time came back as they were',
    );
    t.equal(new Set(streams.map(({ thread }) => thread)).size, 1, 'one session, one thread');
    await closed(session);
    await everyoneGone(t, runtime);

    // In flight: the server has the headers but not the end of the body.
    const busy = connect();
    const stream = busy.request({
      ...{ ':method': 'POST', ':path': '/echo', expect: '100-continue' },
    });
    stream.write(BODY.subarray(0, 1000));
    await once(stream, 'response');
    const idle = connect();
    await buffer(idle.request({ ':path': '/' }));

    await drains(t, runtime, before, {
      idleClosed: once(idle, 'close'),
      async finish() {
        stream.end(BODY.subarray(1000));
        t.ok((await buffer(stream)).equals(BODY), 'the stream in flight was answered');
        if (!busy.destroyed) await once(busy, 'close');
      },
    });
  });
}

t.test('ws: two workers serve it and drain it', async (t) => {
  const before = possessions();
  const runtime = await start(t, app('ws.js'), { workers: 2 });
  const port = portOf(runtime);
  const connect = async () => {
    const socket = new WebSocket(`ws://${HOST}:${port}`);
    const [greeting] = await once(socket, 'message');
    return { socket, threadId: JSON.parse(String(greeting)).threadId as number };
  };
  const exchange = async (socket: WebSocket, message: string | Buffer) => {
    socket.send(message);
    const [data, binary] = (await once(socket, 'message')) as [Buffer, boolean];
    return binary ? data : data.toString();
  };
  const closed = async (socket: WebSocket) => {
    socket.close(1000, 'done');
    const [code] = await once(socket, 'close');
    return code as number;
  };

  await answersFromEach(t, runtime, async () => {
    const { socket, threadId } = await connect();
    t.equal(await exchange(socket, 'hello'), 'hello');
    t.equal(await closed(socket), 1000);
    return threadId;
  });
  const { socket } = await connect();
  for (const message of ['', 'text', '\u{1f300}', BODY, Buffer.alloc(0)]) {
    t.same(await exchange(socket, message), message, 'a message came back as it was');
  }
  await closed(socket);
  await everyoneGone(t, runtime);

  const talking = await connect();
  const agent = new http.Agent({ keepAlive: true });
  await ask(http, { host: HOST, port, agent });
  const [idle] = Object.values(agent.freeSockets).flat();
  await drains(t, runtime, before, {
    idleClosed: once(idle as net.Socket, 'close'),
    async finish() {
      t.equal(await exchange(talking.socket, 'still there?'), 'still there?');
      t.equal(await closed(talking.socket), 1000, 'the conversation ended when its client did');
    },
  });
  agent.destroy();
});

t.test('a raw TCP server: two workers serve it and drain it', async (t) => {
  const before = possessions();
  const runtime = await start(t, app('echo.mjs'), { workers: 2 });
  const port = portOf(runtime);
  const connect = async () => {
    const socket = net.connect(port, HOST);
    const [greeting] = (await once(socket, 'data')) as [Buffer];
    return { socket, threadId: Number(greeting.toString()) };
  };

  await answersFromEach(t, runtime, async () => {
    const { socket, threadId } = await connect();
    socket.end('over and out');
    t.equal((await buffer(socket)).toString(), 'over and out');
    return threadId;
  });
  const { socket } = await connect();
  socket.end(BODY);
  t.ok((await buffer(socket)).equals(BODY), '1 MB came back as it was');
  await everyoneGone(t, runtime);

  const half = await connect();
  const answer = buffer(half.socket);
  half.socket.write(BODY.subarray(0, 1000));
  await drains(t, runtime, before, {
    idleClosed: Promise.resolve(), // only its client can say that such a connection is idle
    async finish() {
      half.socket.end(BODY.subarray(1000));
      t.ok((await answer).equals(BODY), 'what was in flight came back');
    },
  });
});
