/**
 * The examples of HTTP servers: while one request after another makes a worker stand still, every byte of
 * what is asked over other connections is right, and none of these is lost although they move.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { keepAlive } from '../moving/kept-alive.js';
import { getFromEach, HOST, ROOT } from '../support/app.js';
import { example, Served } from './served.js';

/** Enough to have each connection moved more than once, on the average. */
const MOVES = 40;
const CONNECTIONS = 12;
/** Long enough for the governor to see, which looks every ms, and short for CI. */
const STALL_MS = 15;
/** Far more than were ever needed. */
const ANSWERS_MAX = 50_000;

async function echoesWhileStalled(t: Test, served: Served): Promise<void> {
  const connections = Array.from({ length: CONNECTIONS }, () =>
    keepAlive(t, { host: HOST, port: served.port }),
  );
  let answers = 0;
  const lives = async (connection: (typeof connections)[number], nth: number) => {
    for (let round = 0; served.moved < MOVES || round < 10; round++) {
      if (++answers > ANSWERS_MAX) throw new Error(`${served.moved} moves in ${answers} answers`);
      // Two stand still, so that either worker does.
      if (nth < 2 && round % 2 === 0) {
        const { status, body } = await connection.ask(`/slow?ms=${STALL_MS}`);
        if (status !== 200 || String(body) !== 'That was slow\n') throw new Error(String(body));
        continue;
      }
      const sent = randomBytes(1 + ((nth * 7919 + round * 104_729) % 40_000));
      const { status, body } = await connection.ask('/echo', sent);
      if (status !== 200 || !body.equals(sent)) throw new Error(`${status}: another body`);
    }
  };
  await Promise.all(connections.map(lives));
  t.ok(served.moved >= MOVES, 'connections moved, and each answer was right to the byte');
  const closed = Promise.all(connections.map(({ socket }) => once(socket, 'close')));
  await served.drain(t);
  await closed;
}

const FRAMEWORKS: Readonly<Record<string, string>> = {
  Express: 'express.js',
  Fastify: 'fastify.mjs',
  Koa: 'koa.js',
  Hono: 'hono.mjs',
  NestJS: 'nest/dist/main.mjs',
};

t.test('node:http', async (t) => {
  const served = await Served.start(t, example('hello.js'));
  const threads = await getFromEach(served.port, 2, ({ body }) => {
    const [, thread, pid] = /^Hello from thread (\d+) of process (\d+)\n$/.exec(body) ?? [];
    t.equal(Number(pid), served.run.child.pid);
    return Number(thread);
  });
  t.equal(threads.size, 2, 'two threads of one process');
  await served.drain(t);
});

t.test('NestJS: is compiled', async (t) => {
  const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  await t.resolves(promisify(execFile)(process.execPath, [tsc, '-p', example('nest')]));
});

for (const [name, file] of Object.entries(FRAMEWORKS)) {
  t.test(name, async (t) => {
    const served = await Served.start(t, example(file));
    const { status, body } = await keepAlive(t, { host: HOST, port: served.port }).ask('/');
    t.same({ status, body: String(body) }, { status: 200, body: 'Hello\n' });
    await echoesWhileStalled(t, served);
  });
}
