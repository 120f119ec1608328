import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { app, get, getFromEach, ROOT } from './support/app.js';
import { threads } from './support/proc.js';
import { gyre, Running } from './support/running.js';

const SERVER = app('http.js');
const PORT = /listening on \S+:(\d+)/;

t.test('without the native helper one worker serves, and what is missing is said', async (t) => {
  const env = { GYRE_NATIVE: 'none' };
  const server = gyre(t, ['run', SERVER], env);
  const port = Number((await server.says(PORT))[1]);
  t.match(server.stderr, /gyre: 1 worker, not pinned/);
  t.equal((await get(port)).status, 200);
  for (const capability of ['native', 'pin', 'widen', 'reusePort', 'counters', 'move']) {
    await server.says(new RegExp(`without ${capability}: GYRE_NATIVE=none`));
  }
  server.child.kill('SIGTERM');
  t.same(await server.ended(), { code: 0, signal: null });

  for (const flags of [
    ['--workers', '2'],
    ['--pin', 'hard'],
  ]) {
    const refused = gyre(t, ['run', SERVER, ...flags], env);
    t.same(await refused.ended(), { code: 2, signal: null });
    t.match(refused.stderr, /ERR_GYRE_CAPABILITY/);
  }
});

/** The helper as other systems than Linux have it, or why it cannot be had here. */
function posixOnly(): { addon: string; skip: string | false } {
  const out = path.join(ROOT, 'build', 'posix');
  const addon = path.join(out, 'Release', 'gyre.node');
  for (const tool of ['cmake', 'c++']) {
    if (spawnSync(tool, ['--version']).status !== 0) return { addon, skip: `there is no ${tool}` };
  }
  // Each time: it takes a second when nothing has changed, and is never out of date.
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
  const args = [cmakeJs, 'compile', '--out', out, '--CDGYRE_POSIX_ONLY=ON'];
  const built = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the helper does not build:\n${built.stdout}`);
  return { addon, skip: false };
}

const { addon, skip } = posixOnly();

t.test('without what only Linux has, two workers share one socket', { skip }, async (t) => {
  const env = { GYRE_NATIVE: addon };
  const server = gyre(t, ['run', app('mortal.js'), '--workers', '2'], env);
  const port = Number((await server.says(PORT))[1]);
  t.match(server.stderr, /gyre: 2 workers, not pinned/);
  for (const capability of ['pin', 'widen', 'reusePort', 'move']) {
    await server.says(new RegExp(`without ${capability}: this system`));
  }
  t.notMatch(server.stderr, /without (native|counters)/);
  const main = threads(server.child.pid).find(({ tid }) => tid === server.child.pid);
  t.ok(
    threads(server.child.pid).every(({ cpus }) => cpus === main?.cpus),
    'no thread is bound',
  );

  const seen: string[] = [];
  const worker = ({ body }: { body: string }) => {
    if (!seen.includes(body)) seen.push(body);
    return seen.indexOf(body);
  };
  t.equal((await getFromEach(port, 2, worker)).size, 2, 'both answer');

  await get({ port, path: '/exit?code=0' }).catch(() => {}); // it does not live to answer
  await server.says(/worker \d ended with code 0/);
  const answers = new Set<string>();
  for (let times = 0; times < 20; times++) answers.add((await get(port)).body);
  t.equal(answers.size, 1, 'the other one serves what both have served');
  t.ok([...answers].every((answer) => seen.includes(answer)));
  server.child.kill('SIGTERM');
  t.same(await server.ended(), { code: 0, signal: null });
});

t.test('where threads cannot be pinned, who insists on it is refused', { skip }, async (t) => {
  const refused = gyre(t, ['run', SERVER, '--pin', 'hard'], { GYRE_NATIVE: addon });
  t.same(await refused.ended(), { code: 2, signal: null });
  t.match(refused.stderr, /ERR_GYRE_CAPABILITY/);
});

t.test('a capability that is required and missing is an error, of any name', async (t) => {
  const index = JSON.stringify(path.join(ROOT, 'dist', 'src', 'index.js'));
  const script = `
    const { createRuntime } = require(${index});
    (async () => {
      for (const name of ['native', 'pin', 'widen', 'reusePort', 'counters', 'move']) {
        const options = { entry: ${JSON.stringify(SERVER)}, require: [name] };
        const code = await createRuntime(options).then(() => 'started', (error) => error.code);
        console.log(name, code);
      }
    })();`;
  const codes = async (file: string) => {
    const child = new Running(t, process.execPath, ['-e', script], { GYRE_NATIVE: file });
    t.same(await child.ended(), { code: 0, signal: null });
    return Object.fromEntries(
      child.stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ')),
    );
  };
  const missing = 'ERR_GYRE_CAPABILITY';
  t.same(await codes('none'), {
    ...{ native: missing, pin: missing, widen: missing },
    ...{ reusePort: missing, counters: missing, move: missing },
  });
});
