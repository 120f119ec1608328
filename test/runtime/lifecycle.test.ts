/**
 * From start to end: workers that die, runtimes that close, entries that never listen,
 * and what is left of it all.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import http from 'node:http';
import net, { type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  createRuntime,
  type GyreError,
  type Runtime,
  type RuntimeOptions,
  type WorkerEnd,
} from '../../src/index.js';
import { app, get, getFromEach, portOf, ROOT, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { Running } from '../support/running.js';

const MORTAL = app('mortal.js');
/** How many times the last test starts and closes a runtime. */
const CYCLES = Number(process.env.GYRE_TEST_CYCLES ?? 20);

/** A named pipe: whoever reads it waits for whoever writes it, and the other way round. */
function namedPipe(t: Test): string {
  const file = path.join(folder(t), 'pipe');
  execFileSync('mkfifo', [file]);
  return file;
}

/** Has a worker stand still, and then do what `path` says once the result is closed. */
async function standStill(t: Test, port: number, route: string): Promise<FileHandle> {
  const pipe = namedPipe(t);
  get({ port, path: `${route}pipe=${encodeURIComponent(pipe)}` }).catch(() => {}); // never answered
  return open(pipe, 'w'); // when the worker has opened it, and waits
}

/** How many connections wait to be accepted on `port`, in all its sockets. */
function queued(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = ['tcp', 'tcp6'].flatMap((name) =>
    readFileSync(`/proc/net/${name}`, 'utf8').split('\n'),
  );
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, where, , state]) => where?.endsWith(local) && state === '0A')
    .reduce((sum, [, , , , queues]) => sum + Number.parseInt(queues?.split(':')[1] ?? '0', 16), 0);
}

/** Connects, and only then asks. `answer` has the whole response, or '' if there was none. */
async function ask(port: number): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  const answer = new Promise<string>((resolve) => {
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('error', () => {}); // 'close' follows, without an answer
    socket.on('close', () => resolve(text));
  });
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  return { socket, answer };
}

/** Asks on new connections, one after the other, until told; returns what went wrong. */
function keepAsking(port: number): { stop(): Promise<{ asked: number; failures: string[] }> } {
  let more = true;
  let asked = 0;
  const failures: string[] = [];
  const asking = (async () => {
    while (more) {
      asked++;
      await get(port).catch(({ code }: NodeJS.ErrnoException) => failures.push(`${code}`));
    }
  })();
  return {
    async stop() {
      more = false;
      await asking;
      return { asked, failures };
    },
  };
}

async function connectCode(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return 'connected';
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).code}`;
  } finally {
    socket.destroy();
  }
}

/** What `createRuntime` rejects with. */
async function rejection(options: RuntimeOptions): Promise<GyreError> {
  try {
    const runtime = await createRuntime(options);
    await runtime.close({ drainMs: 0 });
  } catch (error) {
    return error as GyreError;
  }
  throw new Error('it did not reject');
}

for (const [how, route] of [
  ['process.exit()', '/exit?code=3&'],
  ['an uncaught error', '/throw?'],
] as const) {
  t.test(`a worker that dies by ${how} takes no waiting connection with it`, async (t) => {
    // The governor would have emptied its queue by then.
    const runtime = await start(t, MORTAL, { workers: 2, scheduler: { move: false } });
    runtime.on('error', () => {});
    const port = portOf(runtime);
    const pipe = await standStill(t, port, route);

    const clients = await Promise.all(Array.from({ length: 30 }, () => ask(port)));
    let served = 0;
    const answers = clients.map(async ({ answer }) => {
      const text = await answer;
      if (text !== '') served++;
      return text;
    });
    // The other worker serves its own; no event says how long a queue is.
    while (served + queued(port) < clients.length) await delay(5);
    const waiting = queued(port);
    t.ok(waiting > 0, `${waiting} of 30 wait in the queue of the worker that is to die`);

    const loads = [keepAsking(port), keepAsking(port), keepAsking(port)];
    const exit = once(runtime, 'exit') as Promise<[WorkerEnd]>;
    await pipe.close();
    const [{ restartInMs }] = await exit;
    t.type(restartInMs, 'number', 'another is started');
    for (const text of await Promise.all(answers)) t.match(text, /^HTTP\/1.1 200/);
    for (let count = 0; count < 50; count++) t.equal((await get(port)).status, 200);
    for (const load of loads) {
      const { asked, failures } = await load.stop();
      t.same(failures, [], `${asked} connections before, during and after were all answered`);
    }
    t.equal(runtime.addresses.length, 1);
  });
}

t.test('the end of a worker is an event', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 2 });
  const errors: GyreError[] = [];
  runtime.on('error', (error) => errors.push(error));
  const ended = once(runtime, 'exit') as Promise<[WorkerEnd]>;
  await get({ port: portOf(runtime), path: '/exit?code=7' }).catch(() => {});
  const [{ worker, code, error }] = await ended;
  t.match(worker, { index: Number, state: 'exited' });
  t.equal(code, 7);
  t.equal(error, null);
  t.same(errors, [], 'to exit is no error');
});

t.test('an uncaught error is an event with its worker, and its cause has the stack', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 2 });
  const exit = once(runtime, 'exit') as Promise<[WorkerEnd]>;
  const reported = new Promise<GyreError>((resolve) => {
    runtime.once('error', resolve);
  });
  await get({ port: portOf(runtime), path: '/throw' }).catch(() => {});
  const [{ worker, code, error }] = await exit;
  t.equal(code, 1);
  t.equal(await reported, error);
  t.match(error, { code: 'ERR_GYRE_WORKER_FAILED', worker: worker.index });
  const { stack } = (await reported).cause as Error;
  t.match(stack, /thrown on purpose\n.*mortal\.js:\d+/);
});

t.test('an embedder that listens for no error sees it on stderr, and goes on', async (t) => {
  const { running, port } = await embed(t, { entry: MORTAL, workers: 2 });
  await get({ port, path: '/throw' }).catch(() => {});
  await running.says(/worker [01] .*died.*\nError: thrown on purpose\n.*mortal\.js:\d+/);
  await running.says(/"event":"exit","worker":[01],"code":1/);
  t.equal((await get(port)).status, 200);
});

t.test('without restarts the first death closes the runtime', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 2, restarts: 0 });
  const port = portOf(runtime);
  const errors: GyreError[] = [];
  runtime.on('error', (error) => errors.push(error));
  const closed = new Promise<void>((resolve) => {
    runtime.once('close', resolve);
  });
  await get({ port, path: '/exit?code=7' }).catch(() => {});
  await closed;
  t.match(errors, [{ code: 'ERR_GYRE_RESTARTS', worker: Number }]);
  t.equal(await connectCode(port), 'ECONNREFUSED');
  t.same(runtime.addresses, []);
  await runtime.close();
});

t.test('close() is one thing, however often it is called', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 2 });
  const port = portOf(runtime);
  let closed = 0;
  runtime.on('close', () => closed++);
  const closing = runtime.close();
  t.equal(runtime.close({ drainMs: 0 }), closing);
  await closing;
  t.equal(runtime.close(), closing);
  t.equal(closed, 1);
  t.same(
    runtime.workers.map(({ state }) => state),
    ['exited', 'exited'],
  );
  t.equal(await connectCode(port), 'ECONNREFUSED');
});

t.test('close() refuses a drainMs that is none', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 1 });
  for (const drainMs of [-1, Number.NaN, '1' as unknown as number]) {
    t.throws(() => runtime.close({ drainMs }), { code: 'ERR_GYRE_OPTION_INVALID' });
  }
  t.equal((await get(portOf(runtime))).status, 200, 'and goes on');
});

for (const drainMs of [0, 50]) {
  t.test(`close({ drainMs: ${drainMs} }) cuts off an answer that never ends`, async (t) => {
    const runtime = await start(t, MORTAL, { workers: 2 });
    const request = http.get({ port: portOf(runtime), path: '/never', agent: false });
    request.on('error', () => {}); // the answer has the same
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const cut = once(response, 'error');
    response.resume();
    await runtime.close({ drainMs });
    t.match(await cut, [{ code: 'ECONNRESET' }]);
  });
}

t.test('close({ drainMs: Infinity }) waits for the answer, and for nothing else', async (t) => {
  const runtime = await start(t, MORTAL, { workers: 2 });
  const port = portOf(runtime);
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  await get({ port, agent }); // its connection stays, idle
  const file = namedPipe(t);
  const answer = get({ port, path: `/wait?pipe=${encodeURIComponent(file)}` });
  const pipe = await open(file, 'w');

  let closed = false;
  const closing = runtime.close({ drainMs: Number.POSITIVE_INFINITY }).then(() => {
    closed = true;
  });
  // It stops accepting in its own time.
  while ((await connectCode(port)) === 'connected') await delay(5);
  t.notOk(closed);
  await pipe.close();
  t.match(await answer, { status: 200, body: 'late', headers: { connection: 'close' } });
  await closing;
});

t.test('two runtimes in one process know nothing of each other', async (t) => {
  const first = await start(t, MORTAL, { workers: 2 });
  const second = await start(t, MORTAL, { workers: 2, name: 'other' });
  t.not(portOf(first), portOf(second));
  const end = once(first, 'exit');
  await get({ port: portOf(first), path: '/exit' }).catch(() => {});
  await end;
  t.ok(second.workers.every(({ state }) => state === 'serving'));
  await first.close();
  const ids = second.workers.map(({ threadId }) => threadId);
  await getFromEach(portOf(second), 2, ({ body }) => ids.indexOf(Number(body)));
});

t.test('a port in use rejects with the error of the system, and its worker', async (t) => {
  const first = await start(t, MORTAL, { workers: 2 });
  const PORT = String(portOf(first));
  const error = await rejection({ entry: MORTAL, workers: 2, env: { PORT } });
  t.match(error, { code: 'EADDRINUSE', syscall: 'listen', errno: Number, worker: Number });
  t.match(error.cause, { code: 'EADDRINUSE', port: Number(PORT) });
  t.equal((await get(portOf(first))).status, 200);
});

t.test('a worker that ends without having listened rejects', async (t) => {
  const taken = net.createServer().listen(0);
  t.teardown(() => taken.close());
  const PORT = String((taken.address() as net.AddressInfo).port);
  const error = await rejection({ entry: app('gives-up.js'), workers: 2, env: { PORT } });
  t.match(error, { code: 'ERR_GYRE_WORKER_EXITED', worker: Number });
  t.match(error.cause, { code: 'EADDRINUSE' }, 'with the reason that it may have had');
});

t.test('an entry that never listens is warned of, and left alone', async (t) => {
  const warnings: (Error & { code?: string })[] = [];
  const collect = (warning: Error) => warnings.push(warning);
  process.on('warning', collect);
  t.teardown(() => process.removeListener('warning', collect));
  const runtime = await start(t, app('idle.js'), { workers: 2, startMs: 200 });
  while (warnings.length < 2) await once(process, 'warning');
  t.same(
    warnings.map(({ code }) => code),
    ['GYRE_NOT_LISTENING', 'GYRE_NOT_LISTENING'],
    'one for each worker',
  );
  t.same(runtime.addresses, []);
  t.equal(runtime.workers.filter(({ state }) => state === 'exited').length, 0);
  await runtime.close({ drainMs: 0 });
});

t.test('a worker that listened and died while others still started is not lost', async (t) => {
  const env = { DIRECTORY: path.join(folder(t), 'first'), PIPE: namedPipe(t) };
  const seen = await createRuntime({ entry: app('first-fails.js'), workers: 2, env }).then(
    // The other may listen before the thread of the first is gone.
    async (runtime: Runtime) => {
      t.teardown(() => runtime.close({ drainMs: 0 }));
      return new Promise<GyreError>((resolve) => {
        runtime.once('error', resolve);
      });
    },
    (error: GyreError) => error,
  );
  t.match(seen, { code: 'ERR_GYRE_WORKER_FAILED', cause: { message: 'thrown on purpose' } });
});

/** A program of its own that embeds gyre. */
async function embed(
  t: Test,
  options: RuntimeOptions,
): Promise<{ running: Running; port: number }> {
  const program = path.join(ROOT, 'dist', 'test', 'support', 'embedder.js');
  const running = new Running(t, process.execPath, [program, JSON.stringify(options)]);
  const [, port] = await running.says(/"event":"ready","addresses":\[{.*"port":(\d+)/);
  return { running, port: Number(port) };
}

t.test('signals in an embedder', async (t) => {
  const entry = MORTAL;

  t.test('are its own unless it asks', async (t) => {
    const { running } = await embed(t, { entry, workers: 2 });
    running.child.kill('SIGTERM');
    t.same(await running.ended(), { code: null, signal: 'SIGTERM' });
  });

  t.test('drain with handleSignals', async (t) => {
    const { running, port } = await embed(t, { entry, workers: 2, handleSignals: true });
    const file = namedPipe(t);
    const answer = get({ port, path: `/wait?pipe=${encodeURIComponent(file)}` });
    const pipe = await open(file, 'w');
    running.child.kill('SIGTERM');
    while ((await connectCode(port)) === 'connected') await delay(5);
    await pipe.close();
    t.match(await answer, { status: 200, body: 'late' });
    await running.says(/"event":"close","signals":0/);
    t.same(await running.ended(), { code: 0, signal: null }, 'nothing keeps the process');
  });

  t.test('stop at once when a second one comes', async (t) => {
    const { running, port } = await embed(t, { entry, workers: 2, handleSignals: true });
    const cut = get({ port, path: '/never' }).catch(({ code }) => code);
    const request = http.get({ port, path: '/never', agent: false });
    request.on('error', () => {});
    await once(request, 'response');
    running.child.kill('SIGINT');
    while ((await connectCode(port)) === 'connected') await delay(5);
    running.child.kill('SIGTERM');
    t.same(await running.ended(), { code: 143, signal: null });
    t.equal(await cut, 'ECONNRESET');
  });
});

t.test(`${CYCLES} starts and closes leave nothing behind`, async (t) => {
  const program = path.join(ROOT, 'dist', 'test', 'support', 'cycles.js');
  const running = new Running(t, process.execPath, ['--expose-gc', program, String(CYCLES)]);
  t.equal((await running.ended()).code, 0, running.stderr);
  const { before, after, seconds } = JSON.parse(running.stdout);
  t.comment(`${seconds} s; resident ${before.rssMb} MB before, ${after.rssMb} MB after`);
  const { rssMb: rssBeforeMb, ...rest } = before;
  const { rssMb, ...left } = after;
  t.same(left, rest, 'descriptors, threads, active resources, listeners on process');
  // One leaked isolate is over 4 MB, one leaked thread stack as much. The shared memory of one runtime,
  // 13 MB, malloc now maps and now keeps: up to 32 MB more were seen, after 12 cycles as after 40.
  t.ok(rssMb - rssBeforeMb < 64, 'memory');
});
