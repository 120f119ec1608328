/**
 * What moving is for, and what it must leave alone. Nothing here measures time: a worker
 * stands still until the test lets it go on, and until then others answer for it.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { below, seededRandom } from '../../src/scheduler/random.js';
import { Waiting } from '../../src/workers/waiting.js';
import { app, HOST, portOf, ROOT } from '../support/app.js';
import { folder } from '../support/folder.js';
import { testSeed } from '../support/seed.js';
import { type Facts, Host, total } from './host.js';
import { type KeptAlive, keepAlive } from './kept-alive.js';
import { connect, connectToEach, countsAgree, stall, told } from './stalling.js';
import { Traffic } from './traffic.js';

const CA = readFileSync(path.join(ROOT, 'test', 'fixtures', 'tls', 'localhost.crt'));
const seed = testSeed();

t.comment(`seed ${seed}`);
t.setTimeout(280_000); // of all tests in this file together

/** Long for a rescue, so that none happens by chance while nobody stands still. */
const TICK_MS = 50;

async function start(t: Test, file: string, chaos: boolean, env: NodeJS.ProcessEnv = {}) {
  const scheduler = { chaos, seed, ...(!chaos && { tickMs: TICK_MS }) };
  const host = await Host.start(t, { entry: app(file), workers: 2, spares: 0, scheduler }, { env });
  const facts = await host.facts();
  t.match(facts.move, { available: true });
  return { host, facts };
}

const KINDS = ['handler', 'await', 'timer', 'read', 'collection', 'wait', 'spawn'] as const;

t.test('whatever a worker stands still in, its connections are served elsewhere', async (t) => {
  const { host, facts } = await start(t, 'stalls.js', false);
  const directory = folder(t);
  for (const kind of KINDS) {
    await t.test(kind, async (t) => {
      const file = path.join(directory, kind);
      if (kind === 'read') execFileSync('mkfifo', [file]);
      const before = await host.factsWhen((facts) => total(facts, 'connections') === 0);
      const served = await connectToEach(t, facts, 6);
      const stalled = await stall(served[0] as KeptAlive, kind, file);
      // In the accept queues: of 24, not all in one.
      const fresh = Array.from({ length: 24 }, () => connect(t, facts));
      const others = [...served.slice(1), ...fresh];
      const answers = await Promise.all(others.map(told));
      t.notOk(
        answers.some(({ threadId }) => threadId === stalled.threadId),
        'the other worker answered',
      );
      t.equal(await stalled.isOver(), false, 'before the one that stands still went on');
      const { snapshot } = await host.facts();
      const index = facts.workers.findIndex(({ threadId }) => threadId === stalled.threadId);
      const rescued = (from: Facts['snapshot']) => from.workers[index]?.rescued ?? 0;
      t.ok(rescued(snapshot) > rescued(before.snapshot), 'because it was given them');

      await writeFile(file, 'go on');
      t.equal(await stalled.ended, stalled.threadId, 'then that one answered, too');
      await countsAgree(t, [served[0] as KeptAlive, ...others]);
    });
  }
  await host.close(t);
});

t.test('connections of a worker that never returns are served elsewhere', async (t) => {
  const { host, facts } = await start(t, 'stalls.js', false);
  const [busy, ...others] = (await connectToEach(t, facts, 6)) as [KeptAlive, ...KeptAlive[]];
  const { threadId, ended } = await stall(busy, 'loop', '');
  const answers = await Promise.all(others.map(told));
  t.notOk(answers.some((answer) => answer.threadId === threadId));
  await Promise.all([host.close(t, 0), t.rejects(ended)]);
});

t.test('a worker with maxConnections loses nothing that moves', async (t) => {
  const max = 6;
  const env = { MAX_CONNECTIONS: String(max) };
  const file = path.join(folder(t), 'go-on');

  await t.test('when it is full', async (t) => {
    const { host, facts } = await start(t, 'stalls.js', false, env);
    const all = await connectToEach(t, facts, max);
    const stalled = await stall(all[0] as KeptAlive, 'handler', file);
    const answers = await Promise.all(all.slice(1).map(told));
    t.notOk(
      answers.some(({ threadId }) => threadId === stalled.threadId),
      'it adopts what another server had accepted',
    );
    // Those in its own queue are dropped, those in the other's go back there.
    const fresh = Array.from({ length: 16 }, () => told(connect(t, facts)).catch(() => null));
    await host.factsWhen(({ snapshot }) => snapshot.workers.some(({ rescued }) => rescued > max));
    t.equal(await stalled.isOver(), false);
    await writeFile(file, 'go on');
    const settled = (await Promise.all(fresh)).filter((answer) => answer !== null);
    t.ok(settled.length > 0, 'and what none has accepted goes to one that has room');
    await host.close(t);
  });

  await t.test('under chaos', async (t) => {
    const { host, facts } = await start(t, 'stalls.js', true, env);
    const all: KeptAlive[] = [];
    for (let tries = 0; all.length < 2 * max && tries < 500; tries++) {
      const connection = connect(t, facts);
      if ((await told(connection).catch(() => null)) !== null) all.push(connection);
      else connection.close();
    }
    let now = await host.facts();
    for (let round = 0; total(now, 'received') < 1_000 && round < 1_000; round++) {
      await Promise.all(all.map(told));
      now = await host.facts();
    }
    t.ok(total(now, 'received') >= 1_000, 'connections moved, and each was answered each time');
    await host.close(t);
  });
});

t.test('over a Unix socket every answer is right under chaos', async (t) => {
  const file = path.join(folder(t), 'socket');
  const { host } = await start(t, 'verify.js', true, { LISTEN: file });
  const traffic = new Traffic({ to: { path: file }, seed, lanes: 8, burnMs: 4, pauseMs: 5 });
  await host.factsWhen(() => traffic.report.answers > 500 || traffic.report.wrong.length > 0);
  const { wrong, answers } = await traffic.stop();
  t.same(wrong, []);
  t.ok(answers > 500, `${answers} answers`);
  t.equal((await host.factsWhen((f) => total(f, 'connections') === 0)).errors.length, 0);
  await host.close(t);
});

t.test('a held connection stays, until it is released', async (t) => {
  const { host, facts } = await start(t, 'held.js', true);
  const connections = Array.from({ length: 6 }, () => connect(t, facts));
  const threads = (path = '/') =>
    Promise.all(connections.map(async (each) => String((await each.ask(path)).body)));
  /** How many are elsewhere than at first within so many rounds, at one time or another. */
  const moved = async (rounds: number, path?: string) => {
    const first = await threads(path);
    const left = new Set(connections);
    for (let round = 0; round < rounds && left.size > 0; round++) {
      const now = await threads(path);
      for (const [i, each] of connections.entries()) if (now[i] !== first[i]) left.delete(each);
    }
    return connections.length - left.size;
  };
  t.equal(await moved(100), 0, 'held in the connection event');
  // Where it arrives it is held again, and it may arrive where it was.
  t.equal(await moved(2_000, '/release'), connections.length, 'released');
  const all = connections.length;
  await threads(); // the last of them have been released when they answer again
  const held = await host.factsWhen((facts) => total(facts, 'held') === all);
  t.equal(total(held, 'held'), all, 'and held where they arrived');
  t.equal(await moved(100), 0);
  await host.close(t);
});

/** So many that each of eight connections is served by both workers at some time. */
const MOVES = 10_000;

t.test('no line of a released connection is torn under chaos', async (t) => {
  const { host, facts } = await start(t, 'released.js', true);
  const before = await host.facts();
  const random = seededRandom(seed);
  let over = false;
  let wrong: string | null = null;
  const lines = async (lane: number): Promise<Set<string>> => {
    const socket = net.connect(portOf(facts), HOST);
    socket.setEncoding('latin1').setNoDelay(true);
    await once(socket, 'connect');
    const threads = new Set<string>();
    let sent = 0;
    let got = 0;
    const expected: string[] = [];
    let rest = '';
    socket.on('data', (text: string) => {
      const complete = (rest + text).split('\n');
      rest = complete.pop() as string;
      for (const line of complete) {
        const [text, length, thread] = line.split(' ') as [string, string, string];
        const wanted = expected.shift();
        if (text !== wanted || Number(length) !== wanted.length) {
          wrong ??= `line ${got} of ${lane}: ${line.slice(0, 200)}`;
        }
        threads.add(thread);
        got++;
      }
    });
    while (!over && wrong === null) {
      let text = '';
      for (let count = 1 + below(random, 3); count > 0; count--) {
        const line = `${lane}-${++sent}-${'x'.repeat(below(random, below(random, 5_000) + 1))}`;
        expected.push(line);
        text += `${line}\n`;
      }
      for (let cuts = below(random, 4); cuts > 0 && text.length > 1; cuts--) {
        const at = 1 + below(random, text.length - 1);
        socket.write(text.slice(0, at));
        text = text.slice(at);
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.write(text);
      while (got < sent && wrong === null) await once(socket, 'data');
    }
    socket.destroy();
    return threads;
  };
  const lanes = Promise.all(Array.from({ length: 8 }, (_, lane) => lines(lane)));
  const moves = (facts: Facts) => total(facts, 'received') - total(before, 'received');
  const enough = await host.factsWhen((facts) => wrong !== null || moves(facts) >= MOVES);
  over = true;
  const threads = await lanes;
  t.equal(wrong, null);
  t.ok(moves(enough) >= MOVES, `${moves(enough)} moves`);
  t.ok(
    threads.every(({ size }) => size === 2),
    'every connection was in both workers',
  );
  await host.close(t);
});

t.test('connections that cannot move work under chaos', async (t) => {
  await t.test('TLS', async (t) => {
    const { host, facts } = await start(t, 'https.js', true);
    const body = Buffer.alloc(50_000, 'x');
    const lanes = Array.from({ length: 6 }, async () => {
      const to = { host: HOST, port: portOf(facts), ca: CA, servername: 'localhost' };
      const connection = keepAlive(t, to);
      const threads = new Set<unknown>();
      for (let i = 0; i < 40; i++) {
        const answer = await connection.ask('/', body);
        if (!answer.body.equals(body)) throw new Error('the body is not what was sent');
        threads.add(answer.headers['x-thread']);
      }
      return threads.size;
    });
    t.same(new Set(await Promise.all(lanes)), new Set([1]), 'each stayed');
    await host.close(t, 0);
  });

  for (const { file, scheme } of [
    { file: 'http2.mjs', scheme: 'https' },
    { file: 'h2c.js', scheme: 'http' },
  ]) {
    await t.test(`HTTP/2 of ${file}`, async (t) => {
      const { host, facts } = await start(t, file, true);
      const body = Buffer.alloc(50_000, 'x');
      const lanes = Array.from({ length: 4 }, async () => {
        const session = http2.connect(`${scheme}://localhost:${portOf(facts)}`, { ca: CA });
        t.teardown(() => session.destroy());
        const threads = new Set<unknown>();
        for (let i = 0; i < 30; i++) {
          const stream = session.request({ ':method': 'POST', ':path': '/' });
          stream.on('response', (headers) => threads.add(headers['x-thread']));
          stream.end(body);
          if (!(await buffer(stream)).equals(body)) throw new Error('the body is another');
        }
        // Before the server cuts it off, which would be an error of the session.
        session.destroy();
        return threads.size;
      });
      t.same(new Set(await Promise.all(lanes)), new Set([1]), 'each stayed');
      await host.close(t, 0);
    });
  }

  await t.test('WebSockets', async (t) => {
    const { host, facts } = await start(t, 'ws.js', true);
    const lanes = Array.from({ length: 6 }, async () => {
      const socket = new WebSocket(`ws://${HOST}:${portOf(facts)}`);
      t.teardown(() => socket.terminate());
      await once(socket, 'message'); // the greeting
      for (let i = 0; i < 200; i++) {
        socket.send(`message ${i}`);
        const [data] = (await once(socket, 'message')) as [Buffer];
        if (String(data) !== `message ${i}`) throw new Error(`${data} is not message ${i}`);
      }
    });
    await Promise.all(lanes);
    t.pass('every message came back');
    await host.close(t, 0);
  });
});

/** What comes until the connection ends. */
async function everything(socket: net.Socket): Promise<string> {
  return String(await buffer(socket));
}

t.test('time-outs are those of the server after a move, too', async (t) => {
  const { host, facts } = await start(t, 'impatient.js', true);
  const port = portOf(facts);
  const connection = connect(t, facts);
  await connection.ask();
  const { snapshot } = await host.facts();
  const later = await host.factsWhen(
    (facts) => facts.snapshot.takenAtMs > snapshot.takenAtMs + 2_000,
  );
  t.ok(total(later, 'received') > 10, 'it moved, idle for longer than headersTimeout');
  t.equal((await connection.ask()).status, 200, 'and was not answered 408');

  /** A connection that has had an answer, and has moved since. */
  const moved = async () => {
    const socket = net.connect(port, HOST);
    t.teardown(() => socket.destroy());
    let got = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      got += text;
    });
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    while (!/\r\n\r\n\d+$/.test(got)) await once(socket, 'data');
    const received = total(await host.facts(), 'received');
    await host.factsWhen((facts) => total(facts, 'received') > received + 10);
    return socket;
  };
  const headers = await moved();
  headers.write('GET / HTTP/1.1\r\nHo');
  t.match(await everything(headers), /^HTTP\/1\.1 408 /, 'headersTimeout');
  const request = await moved();
  request.write('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf');
  t.match(await everything(request), /^HTTP\/1\.1 408 /, 'requestTimeout');
  await host.close(t);
});

t.test('a connection that was adopted and stays idle', async (t) => {
  const serve = async (options: http.ServerOptions) => {
    const server = http.createServer(
      { headersTimeout: 50, requestTimeout: 100, connectionsCheckingInterval: 10, ...options },
      (_request, response) => response.end('ok'),
    );
    const waiting = new Waiting();
    server.on('connection', (socket) => waiting.begin(socket));
    server.listen(0, HOST);
    await once(server, 'listening');
    t.teardown(() => server.close());
    const client = net.connect((server.address() as net.AddressInfo).port, HOST);
    t.teardown(() => client.destroy());
    await once(server, 'connection');
    return { server, client };
  };
  await t.test('is closed without a word after keepAliveTimeout', async (t) => {
    const { client } = await serve({ keepAliveTimeout: 200 });
    t.equal(await everything(client), '');
  });
  await t.test('is idle for a server that closes', async (t) => {
    const { server, client } = await serve({ keepAliveTimeout: 60_000 });
    const closed = once(server, 'close');
    server.close();
    t.equal(await everything(client), '');
    await closed;
  });
});

t.test('an application whose timers stand still does not stop the moving', async (t) => {
  const { host, facts } = await start(t, 'fake-timers.js', true);
  const connections = Array.from({ length: 6 }, () => connect(t, facts));
  const threads = new Set<string>();
  let now = facts;
  for (let round = 0; total(now, 'received') < 500 && round < 1_000; round++) {
    const answers = await Promise.all(connections.map((each) => each.ask()));
    for (const { body } of answers) threads.add(String(body));
    now = await host.facts();
  }
  t.ok(total(now, 'received') >= 500);
  t.equal(threads.size, 2);
  await host.close(t, 0);
});
