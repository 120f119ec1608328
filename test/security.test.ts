/**
 * What SECURITY.md says that gyre defends, as far as it can be tried.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { Runtime } from '../src/index.js';
import { app, get, portOf, ROOT, start } from './support/app.js';
import { folder } from './support/folder.js';

const GUARDED = app('guarded.js');

t.setTimeout(120_000); // of all tests in this file together

/** The one TCP port of a runtime that also listens elsewhere. */
function tcpPort({ addresses }: Runtime): number {
  const [address] = addresses.filter(({ family }) => family !== 'unix');
  return (address as net.AddressInfo).port;
}

/** Mode of the socket file that plain node makes with the same options. */
async function modeByNode(t: Test, options: object): Promise<number> {
  const file = path.join(folder(t), 'plain');
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen({ path: file, ...options }, resolve));
  const { mode } = statSync(file);
  server.close();
  return mode;
}

t.test('a Unix socket has the mode that plain node would give it', async (t) => {
  const modes = new Set<number>();
  for (const options of [{}, { readableAll: true }, { readableAll: true, writableAll: true }]) {
    const file = path.join(folder(t), 'own');
    const env = { SOCKET_PATH: file, SOCKET_OPTIONS: JSON.stringify(options) };
    const runtime = await start(t, GUARDED, { workers: 2, env });
    const expected = await modeByNode(t, options);
    t.equal(statSync(file).mode, expected, `${JSON.stringify(options)}: ${expected.toString(8)}`);
    modes.add(expected);
    await runtime.close({ drainMs: 0 });
    t.notOk(existsSync(file));
  }
  t.ok(modes.size > 1, 'and it is not always the same');
});

/** A client whose every byte is `byte`: what it gets back must be, too. */
async function echoes(port: number, byte: number, agent: http.Agent): Promise<number> {
  const length = 1 + ((byte * 7919) % 65_536);
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port, agent, method: 'POST', headers: { 'Content-Length': length } },
      (response) => {
        let got = 0;
        let foreign = 0;
        response.on('data', (chunk: Buffer) => {
          got += chunk.length;
          for (const each of chunk) if (each !== byte) foreign++;
        });
        response.on('end', () => {
          if (got !== length) reject(new Error(`${got} of ${length} bytes`));
          else resolve(foreign);
        });
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(Buffer.alloc(length, byte));
  });
}

/** Numbers of the descriptors in a listing of `ls`: 0 to 2, and 3 for the directory that it reads. */
function descriptorsIn(listing: string): number[] {
  return [...listing.matchAll(/(\d+) -> /g)].map(([, number]) => Number(number));
}

t.test('under load, and while connections move, nothing gets where it must not', async (t) => {
  const runtime = await start(t, GUARDED, { workers: 2, scheduler: { chaos: true } });
  const port = portOf(runtime);
  // What whoever started this process has left open is no affair of gyre's.
  const before = descriptorsIn(execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }));
  let over = false;
  let rounds = 0;
  let foreign = 0;
  const client = async (byte: number) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (; !over; rounds++) foreign += await echoes(port, byte, agent);
    agent.destroy();
  };
  const clients = Array.from({ length: 16 }, (_, index) => client(0x41 + index));
  const inherited: number[] = [];
  for (let i = 0; i < 20; i++) {
    const { status, body } = await get({ port, path: '/children' });
    t.equal(status, 200);
    const found = descriptorsIn(body);
    t.ok(found.length >= 3, 'the list was read');
    inherited.push(...found.filter((each) => !before.includes(each)));
  }
  const moved = () => runtime.snapshot().workers.reduce((sum, row) => sum + row.received, 0);
  while (rounds < 400 || moved() < 100) await new Promise(setImmediate);
  over = true;
  await Promise.all(clients);
  t.same(inherited, [], 'a child process has its own three descriptors only');
  t.equal(foreign, 0, `nothing of one connection reached another, in ${rounds} answers`);
});

t.test('options and environment are never read by a shell', async (t) => {
  const dir = folder(t);
  const touched = path.join(dir, 'touched');
  const hostile = [`$(touch ${touched})`, `\`touch ${touched}\``, `; touch ${touched} #`];
  const env = { PATH: process.env.PATH, HOSTILE: hostile.join(' ') };
  const name = `$(touch ${path.relative(ROOT, touched)})`.slice(0, 64);
  const runtime = await start(t, GUARDED, { args: hostile, env, name, workers: 1 });
  const { body } = await get({ port: tcpPort(runtime), path: '/facts' });
  const facts = JSON.parse(body) as { argv: string[]; env: NodeJS.ProcessEnv };
  t.same(facts.argv, hostile, 'they arrive as they are');
  t.equal(facts.env.HOSTILE, env.HOSTILE);
  await runtime.close();
  t.notOk(existsSync(touched));
});

function* sources(dir: string): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) yield* sources(file);
    else if (/\.(ts|cc|h)$/.test(entry.name)) yield file;
  }
}

/** Programs that `gyre build` runs, and nothing else. */
const BUILD = path.join(ROOT, 'src', 'build-command.ts');

t.test('gyre starts no process', async (t) => {
  let seen = 0;
  for (const dir of ['src', 'native']) {
    for (const file of sources(path.join(ROOT, dir))) {
      seen++;
      if (file === BUILD) continue;
      const found = /child_process|\b(?:system|popen|execv\w*|posix_spawn\w*|fork)\s*\(/.exec(
        readFileSync(file, 'utf8'),
      );
      if (found !== null) t.fail(`${path.relative(ROOT, file)}: ${found[0]}`);
    }
  }
  t.ok(seen > 50, `${seen} files`);
});
