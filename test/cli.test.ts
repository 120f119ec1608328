import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { affinity } from '../src/native.js';
import { app, CLI, get } from './support/app.js';
import { folder } from './support/folder.js';
import { threads } from './support/proc.js';
import { gyre, Running } from './support/running.js';

const CPUS = affinity();
const SERVER = app('http.js');
/** The line that says where it serves, with its parts. */
const SERVING = /gyre: (\d+) workers?, (on CPUs ([\d, ]+)|not pinned), listening on (\S+):(\d+)/;

t.test('--help and --version say what they should on stdout and exit with 0', async (t) => {
  const help = gyre(t, ['--help']);
  t.same(await help.ended(), { code: 0, signal: null });
  t.match(help.stdout, /Usage: gyre/);
  const runHelp = gyre(t, ['run', '--help']);
  t.same(await runHelp.ended(), { code: 0, signal: null });
  t.match(runHelp.stdout, /Exit codes:/);
  const version = gyre(t, ['--version']);
  t.same(await version.ended(), { code: 0, signal: null });
  t.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
});

t.test('no help sends its reader to a page that is not in the package', async (t) => {
  const helpOf = (...command: string[]) =>
    spawnSync(process.execPath, [CLI, ...command, '--help'], { encoding: 'utf8' }).stdout;
  const commands = [...helpOf().matchAll(/^ {2}([a-z]+) .*$/gm)].map(([, name = '']) => name);
  t.match(commands, ['run', 'topology', 'top']);
  for (const command of commands) t.notMatch(helpOf(command), /\b(?:docs|examples|src)\//, command);
});

t.test('a wrong command line exits with 2 and starts nothing', async (t) => {
  const wrong = [
    [],
    ['walk'],
    ['run'],
    ['run', SERVER, '--wrokers', '2'],
    ['run', SERVER, '--pin', 'firmly'],
    ['run', SERVER, '--placement', 'near'],
    ['run', SERVER, '--pin', 'hard', '--workers', '512'],
    ['run', SERVER, '--pin', 'hard', '--workers', 'inline'],
    ['run', SERVER, '--admin-public'],
    ['run', SERVER, '--request-times'],
    ['run', SERVER, '--blame', '--no-move'],
    ['run', 'no-such-file.js'],
    ...['--drain-ms=-1', '--hang-ms=5', '--restarts=many'].map((flag) => ['run', SERVER, flag]),
    ...['0', '-1', '1.5', 'many', '513', ''].map((n) => ['run', SERVER, `--workers=${n}`]),
  ];
  for (const args of wrong) {
    const command = gyre(t, args);
    t.same(await command.ended(), { code: 2, signal: null }, args.slice(-1)[0] || 'nothing');
    t.equal(command.stdout, '');
    t.not(command.stderr, '');
    t.notMatch(command.stderr, SERVING);
  }
});

t.test('it says on stderr where it serves and on which CPUs, and nothing on stdout', async (t) => {
  const server = gyre(t, ['run', SERVER, '--workers', '1']);
  const [, workers, , cpus, , port] = await server.says(SERVING);
  t.equal(workers, '1');
  t.equal(cpus, String(CPUS[0]));
  t.equal((await get(Number(port))).status, 200);
  server.child.kill('SIGTERM');
  t.same(await server.ended(), { code: 0, signal: null });
  t.equal(server.stdout, '');
});

t.test('with --json every line on stderr is an object', async (t) => {
  const server = gyre(t, ['run', SERVER, '--json', '--workers', '2']);
  await server.says(/"listening"/);
  server.child.kill('SIGINT');
  t.same(await server.ended(), { code: 0, signal: null });
  const lines = server.stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const [listening] = lines;
  t.equal(listening.event, 'listening');
  t.equal(listening.pid, server.child.pid);
  t.equal(listening.addresses.length, 1);
  t.same(
    listening.workers.map(({ index }: { index: number }) => index),
    [0, 1],
  );
  t.equal(listening.capabilities.native.available, true);
  t.same(
    lines.map(({ event }) => event),
    ['listening', 'exit', 'exit', 'close'],
  );
});

t.test('with --json a failure is an object, too, with its code, worker and stack', async (t) => {
  const linesOf = async (entry: string, ...flags: string[]) => {
    const command = gyre(t, ['run', entry, '--json', ...flags]);
    const { code } = await command.ended();
    t.equal(command.stdout, '');
    const lines = command.stderr.trim().split('\n');
    return { code, events: lines.map((line) => JSON.parse(line)) };
  };
  const failed = await linesOf(app('throws.js'), '--workers', '1');
  t.equal(failed.code, 1);
  t.match(failed.events, [
    { event: 'error', code: 'ERR_GYRE_WORKER_FAILED', worker: 0, message: String, stack: /throws/ },
  ]);
  const missing = await linesOf('no-such-file.js');
  t.equal(missing.code, 2);
  t.match(missing.events, [{ event: 'error', code: 'ERR_GYRE_ENTRY_MISSING', message: String }]);
  t.equal(missing.events[0].stack, undefined);
});

t.test('a port in use exits with 1 and the system’s own code', async (t) => {
  const taken = http.createServer().listen(0);
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  const refused = gyre(t, ['run', SERVER], { PORT: String(port) });
  t.same(await refused.ended(), { code: 1, signal: null });
  t.match(refused.stderr, /EADDRINUSE/);
});

t.test('threads are bound to the CPUs it names, with --pin off to none', async (t) => {
  const masks = async (...flags: string[]) => {
    const server = gyre(t, ['run', SERVER, ...flags]);
    await server.says(SERVING);
    const all = threads(server.child.pid);
    server.child.kill('SIGTERM');
    await server.ended();
    const main = all.find(({ tid }) => tid === server.child.pid)?.cpus;
    return { main, workers: all.filter(({ name }) => /^gyre-w\d+$/.test(name)), all };
  };
  for (const pin of ['soft', 'hard']) {
    const { workers } = await masks('--pin', pin, '--workers', String(CPUS.length));
    t.same(workers.map(({ cpus }) => cpus).sort(), CPUS.map(String).sort(), pin);
  }
  const off = await masks('--pin', 'off', '--workers', '2');
  t.equal(off.workers.length, 2);
  t.ok(
    off.all.every(({ cpus }) => cpus === off.main),
    'no thread is bound',
  );
});

t.test('workers are where gyre topology says that they will be', async (t) => {
  for (const placement of ['divergent', 'collaborative']) {
    const flags = ['--placement', placement, '--workers', '3'];
    const plan = gyre(t, ['topology', '--json', ...flags]);
    t.same(await plan.ended(), { code: 0, signal: null });
    const planned = JSON.parse(plan.stdout).workers.map(({ cpu }: { cpu: number }) => cpu);
    const server = gyre(t, ['run', SERVER, ...flags]);
    const [, , , cpus] = await server.says(SERVING);
    t.equal(cpus, planned.join(', '), placement);
    server.child.kill('SIGTERM');
    await server.ended();
  }
});

t.test('what is after -- are the arguments of the program', async (t) => {
  const program = gyre(t, ['run', app('argv.js'), '--workers', '1', '--', '--workers', '7', 'x']);
  await program.ended();
  t.same(JSON.parse(program.stdout), ['--workers', '7', 'x']);
});

t.test('--pin off pins nobody, and --workers inline serves from the main thread', async (t) => {
  const unpinned = gyre(t, ['run', SERVER, '--pin', 'off', '--workers', '2']);
  t.match((await unpinned.says(SERVING))[2], 'not pinned');
  const inline = gyre(t, ['run', SERVER, '--workers', 'inline']);
  const port = Number((await inline.says(SERVING))[5]);
  t.equal(JSON.parse((await get(port)).body).threadId, 0);
  inline.child.kill('SIGTERM');
  t.same(await inline.ended(), { code: 0, signal: null });
});

t.test('an entry that fails exits with 1 and shows its stack', async (t) => {
  const failing = gyre(t, ['run', app('throws.js')]);
  t.same(await failing.ended(), { code: 1, signal: null });
  t.match(failing.stderr, /ERR_GYRE_WORKER_FAILED/);
  t.match(failing.stderr, /throws\.js:/);
});

t.test(
  "when every worker has ended by itself the program's own exit code is the command's",
  async (t) => {
    const server = gyre(t, ['run', app('exit-when-asked.js'), '--workers', '1']);
    const port = Number((await server.says(SERVING))[5]);
    await get({ port, path: '/7' });
    t.same(await server.ended(), { code: 7, signal: null });
  },
);

t.test('when workers end one after another, the first code that is not 0 counts', async (t) => {
  const server = gyre(t, ['run', app('exit-when-asked.js'), '--workers', '3']);
  const port = Number((await server.says(SERVING))[5]);
  for (const code of [0, 7, 3]) {
    await get({ port, path: `/${code}` });
    await server.says(new RegExp(`gyre: worker \\d ended with code ${code}`));
  }
  t.same(await server.ended(), { code: 7, signal: null });
  t.equal(server.stdout, '');
});

t.test('SIGHUP reloads, and so does a changed file with --watch', async (t) => {
  const program = folder(t);
  copyFileSync(app('survivor.js'), path.join(program, 'app.js'));
  const watched = gyre(t, ['run', path.join(program, 'app.js'), '--workers', '2', '--watch']);
  const port = Number((await watched.says(SERVING))[5]);
  const before = JSON.parse((await get(port)).body);
  watched.child.kill('SIGHUP');
  await watched.says(/gyre: reloading\n(?:.*\n)*gyre: reloaded in \d+ ms/);
  t.not(JSON.parse((await get(port)).body).threadId, before.threadId);
  writeFileSync(path.join(program, 'app.js'), "throw new Error('broken on purpose');\n");
  await watched.says(
    /ERR_GYRE_RELOAD: the replacement of worker 0 did not start: .*broken on purpose/,
  );
  t.equal((await get(port)).status, 200, 'what ran before goes on');
  watched.child.kill('SIGTERM');
  t.same(await watched.ended(), { code: 0, signal: null });
});

t.test('a worker that dies is named with its stack, and the others go on', async (t) => {
  const server = gyre(t, ['run', app('mortal.js'), '--workers', '2']);
  const port = Number((await server.says(SERVING))[5]);
  await get({ port, path: '/throw' }).catch(() => {});
  await server.says(/ERR_GYRE_WORKER_FAILED: worker \d: thrown on purpose\n.*\n\s+at .*mortal\.js/);
  t.equal((await get(port)).status, 200);
  server.child.kill('SIGTERM');
  t.equal((await server.ended()).signal, null, 'and drain');
});

t.test('SIGTERM before every worker listens: those that do drain', async (t) => {
  const server = gyre(t, ['run', app('half-starts.js'), '--workers', '2']);
  const [, port] = await server.says(/^PORT (\d+)$/m);
  const answer = get({ port: Number(port) });
  await server.says(/^ASKED$/m);
  server.child.kill('SIGTERM');
  t.match(await answer, { status: 200, body: 'begun and answered' });
  t.same(await server.ended(), { code: 0, signal: null }, server.stderr);
});

for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const) {
  t.test(
    `a second ${signal} stops at once, in the middle of a request, with ${code}`,
    async (t) => {
      const server = gyre(t, ['run', app('never-answers.js'), '--workers', '1']);
      const port = Number((await server.says(SERVING))[5]);
      const request = http.get({ host: '127.0.0.1', port }).on('error', () => {});
      await server.says(/request in flight/);
      server.child.kill(signal);
      await server.says(/draining/);
      server.child.kill(signal);
      t.same(await server.ended(), { code, signal: null });
      request.destroy();
    },
  );
}

const TASKSET = spawnSync('taskset', ['--version']).error?.message ?? false;
t.test(
  'under taskset there is one worker, on the CPU that is left',
  { skip: TASKSET },
  async (t) => {
    const cpu = CPUS.at(-1);
    const args = ['-c', `${cpu}`, process.execPath, CLI, 'run', SERVER];
    const server = new Running(t, 'taskset', args);
    const said = await server.says(SERVING);
    t.equal(said[1], '1');
    t.equal(said[3], String(cpu));
    const worker = threads(server.child.pid).find(({ name }) => name === 'gyre-w0');
    t.equal(worker?.cpus, String(cpu));
    server.child.kill('SIGTERM');
    t.same(await server.ended(), { code: 0, signal: null });
  },
);
