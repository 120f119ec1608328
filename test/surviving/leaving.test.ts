/**
 * A worker that leaves answers what it has begun, on whatever connection, and is kept by nobody who says nothing.
 */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import type { Runtime, RuntimeOptions, WorkerEnd } from '../../src/index.js';
import { keepAlive } from '../moving/kept-alive.js';
import { app, get, HOST, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { gyre } from '../support/running.js';

/** Far more than anything takes here. */
const DRAIN_MS = 60_000;
/** What nobody keeps is over long before that. */
const SOON_MS = 20_000;

t.setTimeout(200_000); // of all tests in this file together

function leaves(t: Test, env: NodeJS.ProcessEnv, options: Partial<RuntimeOptions> = {}) {
  const one = { workers: 1, spares: 0, drainMs: DRAIN_MS, ...options };
  return start(t, app('leaves.js'), { ...one, env });
}

/** A request, once the server has begun with it. */
async function begin(client: typeof http | typeof https, options: https.RequestOptions) {
  const request = client.get(options);
  const answer = once(request, 'response').then(async ([response]) => {
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += chunk;
    return { status: response.statusCode, headers: response.headers, body };
  });
  answer.catch(() => {}); // seen by whoever waits for it
  await once(request, 'information');
  return { answer };
}

/** Whether `promise` settles within {@link SOON_MS}. */
function soon(promise: Promise<unknown>): Promise<boolean> {
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, sleep(SOON_MS, false, { ref: false })]);
}

const insecure = { rejectUnauthorized: false };

/** Connections that cannot move. */
const STAY: Record<string, (t: Test) => { env: NodeJS.ProcessEnv; query?: string }> = {
  'a Unix socket': (t) => ({ env: { LISTEN: path.join(folder(t), 'socket') } }),
  https: () => ({ env: { KIND: 'https' } }),
  'a listener that stays': () => ({ env: { LISTEN: '{"port":0,"gyre":{"move":false}}' } }),
  'hold()': () => ({ env: {}, query: '&hold' }),
};

for (const [name, make] of Object.entries(STAY)) {
  for (const how of ['reload', 'resize', 'close'] as const) {
    t.test(`${how}: a request in flight over ${name} is answered, and the last one`, async (t) => {
      const { env, query = '' } = make(t);
      const runtime = await leaves(t, env, { workers: 2 });
      const to = env.LISTEN?.startsWith('/')
        ? { socketPath: env.LISTEN }
        : { host: HOST, port: portOf(runtime) };
      const secure = env.KIND === 'https';
      const agent = new (secure ? https : http).Agent({ keepAlive: true });
      t.teardown(() => agent.destroy());
      const options = { ...to, ...insecure, agent, path: `/wait?ms=500${query}` };
      // On both of the two workers, as one of them stays when there is to be one.
      const all = await Promise.all(
        Array.from({ length: 8 }, () => begin(secure ? https : http, options)),
      );
      const change = {
        reload: () => runtime.reload(),
        resize: () => runtime.resize(1),
        close: () => runtime.close(),
      }[how]();
      const answers = await Promise.all(all.map(({ answer }) => answer));
      for (const answer of answers) t.match(answer, { status: 200, body: 'waited' });
      const last = answers.filter(({ headers }) => headers.connection === 'close').length;
      if (how === 'resize') t.ok(last > 0, `${last} of 8`);
      else t.equal(last, 8);
      t.ok(await soon(change));
    });
  }
}

for (const [how, options] of [
  ['close', {}],
  ['reload', { scheduler: { move: false } }],
] as const) {
  t.test(`${how}: an answer that is still being sent is sent to its end`, async (t) => {
    const runtime = await leaves(t, {}, options);
    const to = { host: HOST, port: portOf(runtime) };
    const idle = keepAlive(t, to);
    await idle.ask();
    const reader = net.connect(to);
    t.teardown(() => reader.destroy());
    reader.write('GET /large HTTP/1.1\r\nHost: here\r\n\r\n');
    await once(reader, 'readable'); // and nobody reads on
    const left = once(idle.socket, 'close');
    const change = how === 'close' ? runtime.close() : runtime.reload();
    await left;
    let text = '';
    let bytes = 0;
    for await (const chunk of reader) {
      if (bytes < 1_000) text += String(chunk.subarray(0, 1_000));
      bytes += chunk.length;
    }
    const head = text.indexOf('\r\n\r\n', text.indexOf('200 OK')) + 4;
    t.equal(bytes - head, 20 * 2 ** 20);
    await change;
  });
}

t.test('what is cut off in the end is cut off, over a Unix socket, too', async (t) => {
  const socketPath = path.join(folder(t), 'socket');
  const runtime = await leaves(t, { LISTEN: socketPath });
  const ends: WorkerEnd[] = [];
  const errors: Error[] = [];
  runtime.on('exit', (end) => ends.push(end));
  runtime.on('error', (error) => errors.push(error));
  const cut = Array.from({ length: 2 }, async () => {
    const request = http.get({ socketPath, path: '/endless' });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    return { ended: once(response.resume(), 'end') };
  });
  const answers = await Promise.all(cut);
  const all = Promise.all(answers.map(({ ended }) => t.rejects(ended, { code: 'ECONNRESET' })));
  await runtime.reload({ drainMs: 300 });
  await all;
  t.same(errors, []);
  t.match(ends, [{ reason: 'replaced', error: null }]);
});

t.test('a worker that retires hurries when all are to end', async (t) => {
  const runtime = await leaves(t, {});
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const { answer } = await begin(http, {
    ...{ host: HOST, port: portOf(runtime), agent, path: '/wait?ms=1500' },
  });
  const listening = once(runtime, 'listening');
  const reloaded = runtime.reload();
  await listening; // the next is there, so this one retires
  const closed = runtime.close();
  t.match(await answer, { status: 200, headers: { connection: 'close' } });
  t.ok(await soon(closed));
  await Promise.allSettled([reloaded]);
});

t.test('nobody who says nothing keeps a server', async (t) => {
  for (const how of ['reload', 'close'] as const) {
    const runtime = await leaves(t, { KIND: 'https' });
    const to = { host: HOST, port: portOf(runtime) };
    const shaken = tls.connect({ ...to, ...insecure });
    const silent = net.connect(to);
    for (const socket of [shaken, silent]) {
      socket.on('error', () => {});
      t.teardown(() => socket.destroy());
    }
    await Promise.all([once(shaken, 'secureConnect'), once(silent, 'connect')]);
    t.ok(await soon(how === 'reload' ? runtime.reload() : runtime.close()), how);
    await runtime.close({ drainMs: 0 });
  }
});

t.test('requests that came one behind the other are all answered', async (t) => {
  const runtime = await leaves(t, {});
  const client = net.connect({ host: HOST, port: portOf(runtime) });
  t.teardown(() => client.destroy());
  client.setEncoding('utf8');
  client.write('GET /wait?ms=500 HTTP/1.1\r\nHost: here\r\n\r\n'.repeat(3));
  let said = '';
  client.on('data', (text) => {
    said += text;
  });
  await once(client, 'data');
  const closed = runtime.close();
  await once(client, 'end');
  t.equal(said.match(/HTTP\/1.1 200 OK/g)?.length, 3, said);
  await closed;
});

t.test('a worker that was handed a signal is started again when it dies', async (t) => {
  const dies = async (runtime: Runtime) => {
    const exit = once(runtime, 'exit');
    await t.rejects(get({ port: portOf(runtime), path: '/throw' }));
    const [end] = (await exit) as [WorkerEnd];
    return end;
  };
  for (const signal of ['SIGHUP', 'SIGQUIT']) {
    const runtime = await leaves(t, { SIGNAL: signal }, { handleSignals: true });
    runtime.on('error', () => {});
    process.kill(process.pid, signal);
    await get(portOf(runtime)); // it was handed on by now
    t.match(await dies(runtime), { reason: 'died', restartInMs: Number });
    await runtime.close();
  }
});

t.test('SIGHUP before the program serves reloads it when it does', async (t) => {
  const running = gyre(t, ['run', app('leaves.js'), '--workers', '1', '--spares', '0'], {
    LATE_MS: '500',
  });
  await running.says(/loaded/, 'stdout');
  running.child.kill('SIGHUP');
  await running.says(/listening on/);
  await running.says(/reloaded in/);
  running.child.kill('SIGTERM');
  t.same(await running.ended(), { code: 0, signal: null });
});

t.test('after an inline runtime, servers of the process are as ever', async (t) => {
  const inline = { workers: 'inline', spares: 0 } as const;
  const runtime = await start(t, app('leaves.js'), inline);
  const port = portOf(runtime);
  t.equal((await get(port)).body, 'hello');
  await runtime.close();
  const server = http.createServer((_, response) => response.end('plain'));
  server.listen(0);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const { port: plain } = server.address() as net.AddressInfo;
  t.match(await get({ port: plain, agent }), { headers: { connection: 'keep-alive' } });
});
