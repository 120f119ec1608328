/** The examples of what is not a request and its answer over HTTP/1: each with its own kind of client. */
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { io, type Socket } from 'socket.io-client';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { keepAlive } from '../moving/kept-alive.js';
import { get, HOST, send } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { skipWithout, whereIs } from '../support/programs.js';
import { Running } from '../support/running.js';
import { example, Served, until } from './served.js';

const post = (to: http.RequestOptions, body: string) => send({ ...to, method: 'POST' }, body);

t.test('ws.js: a chat, whichever workers its members are connected to', async (t) => {
  const served = await Served.start(t, example('ws.js'));
  const members: { socket: WebSocket; heard: string[] }[] = [];
  await served.untilEachHas(2, async () => {
    const socket = new WebSocket(`ws://${HOST}:${served.port}`);
    t.teardown(() => socket.terminate());
    const heard: string[] = [];
    socket.on('message', (data) => heard.push(String(data)));
    await once(socket, 'open');
    members.push({ socket, heard });
  });
  const said = members.map((_, nth) => `member ${nth} says \u{1f300}`);
  for (const [nth, { socket }] of members.entries()) socket.send(said[nth] as string);
  await until('all hear all', () => members.every(({ heard }) => heard.length >= said.length));
  for (const { heard } of members) t.same(heard.sort(), said, 'each thing once');

  const codes = Promise.all(members.map(({ socket }) => once(socket, 'close')));
  await served.drain(t);
  for (const [code] of await codes) t.equal(code, 1001, 'and at the end they are told');
});

/** A subscriber, with what has come so far. */
class EventStream {
  readonly events: { id: number; data: string }[] = [];
  readonly ended: Promise<unknown>;

  private constructor(response: http.IncomingMessage) {
    let rest = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      const blocks = (rest + chunk).split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) this.#take(block.split('\n'));
    });
    this.ended = once(response, 'end');
  }

  static async open(t: Test, port: number, headers: http.OutgoingHttpHeaders = {}) {
    const request = http.get({ host: HOST, port, path: '/events', agent: false, headers });
    t.teardown(() => request.destroy());
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    t.match(response.headers, { 'content-type': 'text/event-stream' });
    return new EventStream(response);
  }

  #take(lines: readonly string[]): void {
    const of = (field: string) =>
      lines
        .filter((line) => line.startsWith(`${field}: `))
        .map((line) => line.slice(2 + field.length));
    const [id] = of('id');
    if (id !== undefined) this.events.push({ id: Number(id), data: of('data').join('\n') });
  }
}

t.test('sse.js: events for all, and again for whoever missed some', async (t) => {
  const served = await Served.start(t, example('sse.js'));
  const { port } = served;
  const streams: EventStream[] = [];
  await served.untilEachHas(1, async () => {
    streams.push(await EventStream.open(t, port));
  });
  const publish = async (data: string) =>
    Number((await post({ host: HOST, port, path: '/publish' }, data)).body);
  const news = Array.from({ length: 48 }, (_, nth) => `news ${nth}\nin two lines`);
  const sent: { id: number; data: string }[] = [];
  const send = async (data: string) => sent.push({ id: await publish(data), data });
  for (const data of news.slice(0, 8)) await send(data);
  await Promise.all(news.slice(8).map(send)); // these at once, to both workers
  const byId = (a: { id: number }, b: { id: number }) => a.id - b.id;
  t.same(
    sent.sort(byId).map(({ id }) => id),
    news.map((_, nth) => nth + 1),
    'numbered by all workers together',
  );
  await until('all get all', () => streams.every(({ events }) => events.length >= sent.length));
  for (const { events } of streams) t.same(events.sort(byId), sent);

  const again = await EventStream.open(t, port, { 'last-event-id': '45' });
  await until('it gets the rest', () => again.events.length >= 3);
  t.same(again.events.sort(byId), sent.slice(45));
  await served.drain(t);
  await Promise.all([...streams, again].map(({ ended }) => ended));
});

/** A certificate for localhost, and its key, in files that go with the test. */
function certificate(t: Test): { key: string; cert: string } {
  const directory = folder(t);
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(directory, name));
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-days', '1', '-keyout', key as string, '-out', cert as string],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
    ],
    { stdio: 'ignore' },
  );
  return { key: key as string, cert: cert as string };
}

t.test('http2.js: HTTPS and HTTP/2', { skip: skipWithout('openssl') }, async (t) => {
  const { key, cert } = certificate(t);
  const env = { TLS_KEY: key, TLS_CERT: cert };
  const served = await Served.start(t, example('http2.js'), { env });
  const { port } = served;
  const secure = { host: HOST, port, servername: 'localhost', ca: readFileSync(cert) };

  const session = http2.connect(`https://localhost:${port}`, {
    createConnection: () => tls.connect({ ...secure, ALPNProtocols: ['h2'] }),
  });
  const bodies = Array.from({ length: 8 }, (_, nth) => `${nth}`.repeat(20_000));
  const echoed = bodies.map(async (body) => {
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    stream.end(body);
    return text(stream);
  });
  t.same(await Promise.all(echoed), bodies, 'eight streams at a time');
  t.equal(await text(session.request({ ':path': '/' })), 'Hello over HTTP/2.0\n');
  session.close();
  await once(session, 'close');

  const kept = keepAlive(t, secure);
  t.equal(String((await kept.ask()).body), 'Hello over HTTP/1.1\n');
  t.same(
    (await kept.ask('/', Buffer.from(bodies[7] as string))).body,
    Buffer.from(bodies[7] as string),
  );

  await t.test('sessions are resumed in whichever worker', async (t) => {
    const first = tls.connect(secure);
    const [ticket] = (await once(first, 'session')) as [Buffer];
    first.destroy();
    const accepted = async () => (await served.snapshot()).workers.map((each) => each.accepted);
    const before = await accepted();
    const both = async () => {
      const now = await accepted();
      return before.every((count, worker) => (now[worker] ?? 0) > count);
    };
    for (let tries = 0; tries < 4 || (tries < 100 && !(await both())); tries++) {
      const resumed = tls.connect({ ...secure, session: ticket });
      await once(resumed, 'secureConnect');
      if (!resumed.isSessionReused()) t.fail('a whole handshake');
      resumed.destroy();
      await once(resumed, 'close');
    }
    t.ok(await both(), 'both were asked');
  });
  await served.drain(t);
});

/** Resolves when `socket` is connected, and rejects with what the server said against it. */
async function connected(t: Test, socket: Socket): Promise<Socket> {
  t.teardown(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('connect_error', reject);
  });
  return socket;
}

/** They are in a room, and each hears what each says there, and what is binary comes as it was. */
async function chats(t: Test, sockets: readonly Socket[]): Promise<void> {
  const heard = sockets.map((socket) => {
    const list: string[] = [];
    socket.on('said', (words: string, bytes: Buffer) =>
      list.push(`${words} ${bytes.toString('hex')}`),
    );
    return list;
  });
  await Promise.all(sockets.map((socket) => socket.emitWithAck('join', 'here')));
  const said = sockets.map((_, nth) => `words ${nth} 00ff0${nth % 10}`);
  for (const [nth, socket] of sockets.entries()) {
    socket.emit('say', 'here', `words ${nth}`, Buffer.from([0, 255, nth % 10]));
    socket.emit('say', 'elsewhere', 'nobody', Buffer.alloc(0));
  }
  await until('all hear all', () => heard.every(({ length }) => length >= said.length));
  for (const list of heard) t.same(list.sort(), [...said].sort());
}

t.test('socket.io/websocket.js: rooms across workers, and no polling', async (t) => {
  const served = await Served.start(t, example('socket.io', 'websocket.js'));
  const { port } = served;
  const sockets: Socket[] = [];
  await served.untilEachHas(2, async () => {
    const options = { transports: ['websocket'], forceNew: true, reconnection: false };
    sockets.push(await connected(t, io(`http://${HOST}:${port}`, options)));
  });
  await chats(t, sockets);

  const polling = await get({ port, path: '/socket.io/?EIO=4&transport=polling' });
  t.equal(polling.status, 400);
  t.match(JSON.parse(polling.body), { message: 'Transport unknown' }, 'it says why');
  const gone = Promise.all(sockets.map((socket) => once(socket as never, 'disconnect')));
  await served.drain(t);
  await gone;
});

t.test('socket.io/polling.js: a session belongs to one worker', async (t) => {
  const port = freePort();
  const served = await Served.start(t, example('socket.io', 'polling.js'), {
    args: ['--no-move'],
    env: { PORT: String(port) },
  });
  const to = (where: number, query = '') => ({
    ...{ host: HOST, port: where, path: `/socket.io/?EIO=4&transport=polling${query}` },
  });
  const { body } = await get(to(port));
  const { sid } = JSON.parse(body.slice(1)) as { sid: string };
  const send = (where: number, packet: string) => post(to(where, `&sid=${sid}`), packet);
  const elsewhere = await send(port + 1, '40');
  t.equal(elsewhere.status, 400);
  t.match(JSON.parse(elsewhere.body), { message: 'Session ID unknown' }, 'another knows nothing');
  t.match(await send(port, '40'), { status: 200, body: 'ok' }, 'and its own does');
  t.match(await send(port, '1'), { status: 200, body: 'ok' }, 'which ends it');

  await t.test(
    'haproxy.cfg makes clients stay with theirs',
    { skip: skipWithout('haproxy') },
    async (t) => {
      const front = freePort();
      const config = readFileSync(example('socket.io', 'haproxy.cfg'), 'utf8')
        .replace(':3000', `:${front}`)
        .replace(':3001', `:${port}`)
        .replace(':3002', `:${port + 1}`);
      const file = path.join(folder(t), 'haproxy.cfg');
      writeFileSync(file, config);
      new Running(t, whereIs('haproxy') ?? 'haproxy', ['-db', '-f', file]);
      await until('haproxy listens', async () => {
        const probe = net.connect(front, HOST);
        const listens = await once(probe, 'connect').then(
          () => true,
          () => false,
        );
        probe.destroy();
        return listens;
      });
      const sockets = await Promise.all(
        Array.from({ length: 4 }, () => {
          const options = { transports: ['polling'], withCredentials: true, forceNew: true };
          return connected(t, io(`http://${HOST}:${front}`, { ...options, reconnection: false }));
        }),
      );
      await chats(t, sockets);
      const { workers } = await served.snapshot();
      t.ok(
        workers.every(({ connections }) => connections > 0),
        'and both have some',
      );
      for (const socket of sockets) socket.disconnect();
    },
  );
  await served.drain(t);
});

/** A client of Redis's protocol, which knows the answers' bytes beforehand. */
class RedisClient {
  readonly socket: net.Socket;
  #come = Buffer.alloc(0);

  constructor(t: Test, port: number) {
    this.socket = net.connect({ host: HOST, port, noDelay: true });
    this.socket.on('data', (chunk: Buffer) => {
      this.#come = Buffer.concat([this.#come, chunk]);
    });
    t.teardown(() => this.socket.destroy());
  }

  async send(...bytes: Buffer[]): Promise<void> {
    for (const each of bytes) {
      this.socket.write(each);
      await new Promise(setImmediate);
    }
  }

  /** The next `length` bytes. */
  async take(length: number): Promise<Buffer> {
    while (this.#come.length < length) await once(this.socket, 'data');
    const bytes = this.#come.subarray(0, length);
    this.#come = this.#come.subarray(length);
    return bytes;
  }

  /** @throws Error if the answer is another one */
  async expect(answer: string, ...words: (string | Buffer)[]): Promise<void> {
    const request = command(...words);
    const cut = request.length >> 1;
    await this.send(request.subarray(0, cut), request.subarray(cut));
    const come = (await this.take(Buffer.byteLength(answer, 'latin1'))).toString('latin1');
    if (come !== answer) throw new Error(`${JSON.stringify(come)}, not ${JSON.stringify(answer)}`);
  }
}

function command(...words: (string | Buffer)[]): Buffer {
  const parts = words.map((word) => Buffer.from(word as string, 'latin1'));
  const bulks = parts.flatMap((part) => [
    Buffer.from(`$${part.length}\r\n`),
    part,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...bulks]);
}

/** Far more than were ever needed. */
const ROUNDS_MAX = 2_000;

t.test("redis/server.js: all workers' keys, over connections that move", async (t) => {
  const served = await Served.start(t, example('redis', 'server.js'));
  const { port } = served;

  await t.test('while a worker stands still', async (t) => {
    const clients = Array.from({ length: 12 }, () => new RedisClient(t, port));
    let increments = 0;
    const lives = async (client: RedisClient, nth: number) => {
      for (let round = 0; served.moved < 40 || round < 20; round++) {
        if (round > ROUNDS_MAX) throw new Error(`only ${served.moved} moves`);
        if (nth < 2 && round % 2 === 0) await client.expect('+OK\r\n', 'debug', 'SLEEP', '0.015');
        const value = Buffer.from([nth, 13, 10, round & 255, 255, 0]);
        await client.expect('+OK\r\n', 'SET', `key ${nth}`, value);
        await client.expect(`$6\r\n${value.toString('latin1')}\r\n`, 'GET', `key ${nth}`);
        increments++;
        await client.send(command('INCR', 'all'));
        while (String(await client.take(1)) !== '\n');
      }
    };
    await Promise.all(clients.map(lives));
    t.ok(served.moved >= 40, 'connections moved');
    const [client] = clients as [RedisClient];
    const all = String(increments);
    await client.expect(`$${all.length}\r\n${all}\r\n`, 'GET', 'all');
    await client.expect(':2\r\n', 'DEL', 'key 0', 'key 1', 'key none');
    await client.expect('$-1\r\n', 'GET', 'key 1');
    await client.expect('-ERR unknown command\r\n', 'FLUSHALL');
    await client.expect('-ERR wrong number of arguments\r\n', 'GET');
    await client.send(Buffer.from('PING\r\nPI'), Buffer.from('NG\r\n'));
    t.equal(String(await client.take(14)), '+PONG\r\n+PONG\r\n', 'as somebody types it');
    await client.send(Buffer.from('*1\r\n!\r\n'));
    await once(client.socket, 'close');
  });

  const skip = skipWithout('redis-benchmark', 'redis-tools');
  await t.test('redis-benchmark', { skip }, async (t) => {
    const args = ['-h', HOST, '-p', String(port), '-c', '32', '-n', '5000', '--csv'];
    const benchmark = promisify(execFile);
    const { stdout, stderr } = await benchmark('redis-benchmark', [
      ...args,
      '-t',
      'ping,set,get,incr',
    ]);
    t.equal(stderr, '');
    const rows = stdout.trim().split('\n').slice(1);
    t.same(
      rows.map((row) => row.split(',')[0]),
      ['"PING_INLINE"', '"PING_MBULK"', '"SET"', '"GET"', '"INCR"'],
    );
    for (const row of rows) t.match(row, /^"\w+","[1-9]/, row);
    // Without -r all increments are of this one key.
    const client = new RedisClient(t, port);
    await client.expect('$4\r\n5000\r\n', 'GET', 'counter:__rand_int__');
  });
  await served.drain(t);
});
