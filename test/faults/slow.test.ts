/**
 * Clients that take their time, or that only seem to be there, beside steady traffic: Debian's
 * slowhttptest with headers, bodies and reads that trickle; floods of connections that say nothing,
 * or are reset at once; and clients that end their half and wait. Others are served meanwhile, memory is
 * bounded, and afterwards everything is as it was. What V8 and malloc keep for the next time is no leak: at full
 * size the slow clients come twice, and the second time must not need more than the first.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { Host } from '../moving/host.js';
import { app, HOST, portOf } from '../support/app.js';
import { memoryMbOf } from '../support/proc.js';
import { skipWithout } from '../support/programs.js';
import { testSeed } from '../support/seed.js';
import { comesBackTo, footprintOf, GROWTH_MB } from './footprint.js';
import { scaled, timeLimit } from './scale.js';
import { Newcomers, Steady, warmUp } from './steady.js';

const seed = testSeed();

const LANES = 16;
const PER_SECOND = 200;
/** Slow connections at a time, and for how long, in s. */
const SLOW = scaled(600, 10_000);
const SECONDS = scaled(3, 60);
const TIMES = scaled(1, 2);
/** Connections of a flood, one wave after the other. */
const WAVE = 250;
const WAVES = scaled(8, 400);
/**
 * What a slow connection may cost the server, in KB: node's objects for it, and what an answer of
 * 64 KB takes while its client does not read it.
 */
const EACH_KB = 160;
/** What the process may take more while they are there, and keep for the next time, in MB. */
const KEPT_MB = 64 + (SLOW * EACH_KB) / 1024;

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(900_000));

async function stage(t: Test) {
  const host = await Host.start(t, { entry: app('verify.js'), workers: 2, spares: 0 });
  const to = { host: HOST, port: portOf(await host.facts()) };
  await warmUp(to, seed);
  return { host, to, before: await footprintOf(host) };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/**
 * Calls `trouble` so many times, and checks that nobody else has noticed, and that nothing is left
 * of it but what was left the first time.
 */
async function bears(
  t: Test,
  { host, to, before }: Stage,
  trouble: () => Promise<void>,
  times = 1,
): Promise<void> {
  let { memoryMb } = before;
  let growthMb = times > 1 ? KEPT_MB : 64 + SLOW / 100;
  for (let time = 0; time < times; time++) {
    const load = await Steady.start({ to, seed, connections: LANES, perSecond: PER_SECOND });
    const newcomers = new Newcomers({ to, seed }, 2, 20);
    const latencies = load.measure();
    let mostMb = 0;
    const watch = setInterval(() => {
      mostMb = Math.max(mostMb, memoryMbOf(host.pid));
    }, 50);
    try {
      await trouble();
    } finally {
      clearInterval(watch);
    }
    await load.stop();
    await newcomers.stop();
    const { p50, p99, max } = latencies.percentiles();
    t.comment(`${load.answers} answers meanwhile; ms: p50 ${p50}, p99 ${p99}, max ${max}`);
    t.ok(load.unharmed && newcomers.unharmed, 'nobody else was lost, refused or answered wrongly');
    t.comment(`at most ${(mostMb - before.memoryMb).toFixed(0)} MB more`);
    t.ok(mostMb - before.memoryMb < KEPT_MB, 'memory was bounded');
    await comesBackTo(t, host, { ...before, memoryMb }, growthMb);
    // Garbage may have been collected by then, or not yet.
    memoryMb = mostMb;
    growthMb = GROWTH_MB;
  }
  await host.close(t);
}

const MODES: readonly { readonly name: string; readonly args: readonly string[] }[] = [
  { name: 'slow headers (slowloris)', args: ['-H', '-i', '1', '-x', '8'] },
  { name: 'slow bodies', args: ['-B', '-i', '1', '-s', '8192', '-x', '8'] },
  { name: 'slow reads', args: ['-X', '-w', '64', '-y', '256', '-n', '1', '-z', '32', '-k', '2'] },
];

const skip = skipWithout('slowhttptest');

for (const { name, args } of MODES) {
  t.test(`${SLOW} clients with ${name} for ${SECONDS} s`, { skip }, async (t) => {
    const it = await stage(t);
    let most = 0;
    const attack = async () => {
      const tool = spawn(
        'slowhttptest',
        [
          ...args,
          ...['-c', String(SLOW), '-r', String(SLOW), '-l', String(SECONDS), '-v', '0'],
          ...['-u', `http://${HOST}:${it.to.port}/?size=65536`],
        ],
        { stdio: 'ignore' },
      );
      t.teardown(() => tool.kill('SIGKILL'));
      let over = false;
      const ended = once(tool, 'exit').then(() => {
        over = true;
      });
      while (!over) {
        const { snapshot } = await it.host.facts();
        const open = snapshot.workers.reduce((sum, row) => sum + row.connections, 0);
        most = Math.max(most, open);
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 100))]);
      }
    };
    await bears(t, it, attack, TIMES);
    t.comment(`at most ${most} connections at a time`);
    t.ok(most > SLOW * 0.8, 'they were there all together');
  });
}

/** Resolves with the sockets when all are connected. */
function wave(to: net.TcpNetConnectOpts): Promise<net.Socket[]> {
  return Promise.all(
    Array.from({ length: WAVE }, async () => {
      const socket = net.connect({ ...to, allowHalfOpen: true });
      await once(socket, 'connect');
      return socket;
    }),
  );
}

function gone(sockets: readonly net.Socket[]): Promise<unknown> {
  return Promise.all(sockets.map((socket) => once(socket, 'close')));
}

t.test(`${WAVES} floods of ${WAVE} connections that are reset at once`, async (t) => {
  const it = await stage(t);
  await bears(t, it, async () => {
    for (let nth = 0; nth < WAVES; nth++) {
      const sockets = await wave(it.to);
      const all = gone(sockets);
      for (const socket of sockets) socket.resetAndDestroy();
      await all;
    }
  });
});

t.test('clients that have ended their half, and wait', async (t) => {
  const it = await stage(t);
  await bears(t, it, async () => {
    for (let nth = 0; nth < Math.ceil(WAVES / 4); nth++) {
      const sockets = await wave(it.to);
      const all = gone(sockets);
      for (const [index, socket] of sockets.entries()) {
        socket.resume();
        // Nothing, half a head, or a request whose body never comes whole.
        if (index % 3 === 1) socket.write('GET / HT');
        if (index % 3 === 2)
          socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab');
        socket.end();
      }
      // The server closes them all.
      await all;
    }
  });
});
