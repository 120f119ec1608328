/**
 * The agent check, as a HAProxy sees it: load shifts away from a process that is busy, and one that
 * drains gets none.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { AdminAddresses, ListenAddress } from '../../src/index.js';
import { app, get, ROOT, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { skipWithout, whereIs } from '../support/programs.js';
import { Running } from '../support/running.js';

const EMBEDDER = path.join(ROOT, 'dist', 'test', 'support', 'embedder.js');

/** What whoever connects to `port` is told. */
async function told(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(socket, 'close');
  return text;
}

t.test('one line for whoever connects: how much was idle lately', async (t) => {
  const runtime = await start(t, app('survivor.js'), {
    ...{ workers: 1, agentCheck: '127.0.0.1:0', closing: 'serve', drainMs: 5_000 },
  });
  t.equal(runtime.admin.endpoint, null, 'it needs no endpoint');
  const { port } = runtime.admin.agentCheck as { port: number };
  const service = (runtime.addresses[0] as { port: number }).port;
  t.equal(await told(port), 'up ready 100%\n');
  const share = async () => Number(/^up ready (\d+)%\n$/.exec(await told(port))?.[1]);
  let least = 100;
  const busy = (async () => {
    for (let i = 0; i < 12; i++) await get({ port: service, path: '/burn?ms=100' });
  })();
  for (let i = 0; i < 12; i++) {
    least = Math.min(least, await share());
    await sleep(100);
  }
  await busy;
  t.ok(least < 50 && least >= 1, `${least}% while it burns`);
  let most = 0;
  for (let tries = 0; most < 90 && tries < 100; tries++) {
    await sleep(100);
    most = Math.max(most, await share());
  }
  t.ok(most >= 90, `${most}% when it rests`);

  // A balancer that was told to says something; one that hangs up early is no error.
  const talker = net.connect(port, '127.0.0.1');
  talker.write(`${'x'.repeat(100_000)}\n`);
  talker.resume().on('error', () => {});
  await once(talker, 'close');
  net
    .connect(port, '127.0.0.1')
    .on('error', () => {})
    .destroy();
  const many = await Promise.all(Array.from({ length: 8 }, () => told(port)));
  t.ok(many.every((line) => /^up ready \d+%\n$/.test(line)));

  const waiting = get({ port: service, path: '/wait?ms=300' });
  while (runtime.snapshot().workers[0]?.connections === 0) await sleep(1);
  const closed = runtime.close();
  t.equal(await told(port), 'drain\n');
  await waiting;
  await closed;
  await t.rejects(told(port), { code: 'ECONNREFUSED' });
});

t.test('nobody listens: down', async (t) => {
  const entry = path.join(folder(t), 'idle.js');
  writeFileSync(entry, 'setInterval(() => {}, 1000)');
  const runtime = await start(t, entry, { workers: 1, startMs: 1, agentCheck: '127.0.0.1:0' });
  t.equal(await told((runtime.admin.agentCheck as { port: number }).port), 'down\n');
  await runtime.close({ drainMs: 0 });
});

interface Ready {
  readonly addresses: readonly ListenAddress[];
  readonly admin: AdminAddresses;
}

/** A process that embeds gyre, and drains after SIGTERM. */
class Server {
  readonly process: Running;
  port = 0;
  agentPort = 0;

  constructor(t: Test) {
    const options = {
      ...{ entry: app('survivor.js'), workers: 2, spares: 0, agentCheck: '127.0.0.1:0' },
      ...{ handleSignals: true, closing: 'serve', drainMs: 20_000 },
    };
    this.process = new Running(t, process.execPath, [EMBEDDER, JSON.stringify(options)]);
  }

  async ready(): Promise<this> {
    const [line] = await this.process.says(/^\{"event":"ready".*$/m);
    const { addresses, admin } = JSON.parse(line) as Ready;
    this.port = (addresses[0] as { port: number }).port;
    this.agentPort = (admin.agentCheck as { port: number }).port;
    return this;
  }

  get pid(): number {
    return this.process.child.pid as number;
  }
}

const skip = skipWithout('haproxy');

t.test('a HAProxy shifts load between two, and drains one', { skip }, async (t) => {
  const [one, two] = await Promise.all([new Server(t).ready(), new Server(t).ready()]);
  const port = freePort();
  const directory = folder(t);
  const stats = path.join(directory, 'stats');
  const config = path.join(directory, 'haproxy.cfg');
  const line = (name: string, server: Server) =>
    `server ${name} 127.0.0.1:${server.port} agent-addr 127.0.0.1 agent-port ${server.agentPort}`;
  writeFileSync(
    config,
    `
global
    stats socket ${stats} mode 600 level admin
defaults
    mode http
    timeout connect 2s
    timeout client 20s
    timeout server 20s
frontend all
    bind 127.0.0.1:${port}
    default_backend app
backend app
    balance roundrobin
    default-server check inter 500ms agent-check agent-inter 150ms weight 100
    ${line('one', one)}
    ${line('two', two)}
`,
  );
  const haproxy = new Running(t, whereIs('haproxy') ?? 'haproxy', ['-db', '-f', config]);
  /** Status and weight of a server. */
  const server = async (name: string) => {
    const socket = net.connect(stats);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', () => {}); // it does not listen yet
    socket.write('show stat\n');
    await new Promise((resolve) => socket.on('close', resolve));
    const [head, ...rows] = text
      .replace(/^# /, '')
      .split('\n')
      .map((row) => row.split(','));
    const row = rows.find(([proxy, each]) => proxy === 'app' && each === name);
    const field = (key: string) => row?.[head?.indexOf(key) ?? -1] ?? '';
    return { status: field('status'), weight: Number(field('weight')) };
  };
  const until = async (
    name: string,
    holds: (state: { status: string; weight: number }) => boolean,
  ) => {
    let state = await server(name);
    for (let tries = 0; tries < 400 && !holds(state); tries++) {
      await sleep(25);
      state = await server(name);
    }
    t.ok(holds(state), `${name}: ${JSON.stringify(state)}\n${haproxy.stderr.slice(-500)}`);
  };
  /** How many of `count` requests went to each process. */
  const shares = async (count: number) => {
    const seen = new Map<number, number>();
    for (let i = 0; i < count; i++) {
      const { status, body } = await get(port);
      if (status !== 200) throw new Error(`${status}: ${body}`);
      const { pid } = JSON.parse(body) as { pid: number };
      seen.set(pid, (seen.get(pid) ?? 0) + 1);
    }
    return { one: seen.get(one.pid) ?? 0, two: seen.get(two.pid) ?? 0 };
  };

  for (const name of ['one', 'two']) {
    await until(name, ({ status, weight }) => status.startsWith('UP') && weight >= 70);
  }
  const even = await shares(60);
  t.ok(even.one >= 15 && even.two >= 15, `about half each: ${JSON.stringify(even)}`);

  let burns = true;
  const lanes = Array.from({ length: 4 }, async () => {
    while (burns) await get({ port: one.port, path: '/burn?ms=40' });
  });
  await until('one', ({ weight }) => weight <= 25);
  const shifted = await shares(60);
  t.ok(shifted.one < 0.7 * shifted.two, `it shifts: ${JSON.stringify(shifted)}`);
  burns = false;
  await Promise.all(lanes);
  await until('one', ({ weight }) => weight >= 70);

  const slow = get({ port: one.port, path: '/wait?ms=3000' });
  await get(one.port);
  let draining = true;
  const failures: string[] = [];
  const asking = (async () => {
    while (draining) await shares(1).catch((error: Error) => failures.push(error.message));
  })();
  one.process.child.kill('SIGTERM');
  await until('one', ({ status }) => status.startsWith('DRAIN'));
  t.same(await shares(30), { one: 0, two: 30 }, 'it gets nothing');
  t.equal((await slow).status, 200, 'what was in flight was answered');
  t.same(await one.process.ended(), { code: 0, signal: null });
  draining = false;
  await asking;
  t.same(failures, [], 'and no request failed');
});
