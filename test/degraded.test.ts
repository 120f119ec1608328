import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { app, get, getFromEach, gyre, ROOT } from './support/app.js';

const SERVER = app('http.js');
const PORT = /listening on \S+:(\d+)/;

t.test('without the native helper one worker serves, and what is missing is said', async (t) => {
  const env = { GYRE_NATIVE: 'none' };
  const server = gyre(t, ['run', SERVER], env);
  const port = Number((await server.says(PORT))[1]);
  t.match(server.stderr, /gyre: 1 worker, not pinned/);
  t.equal((await get(port)).status, 200);
  for (const capability of ['native', 'pin', 'reusePort', 'counters', 'move']) {
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

t.test('without what only Linux has, two workers share one socket', async (t) => {
  const out = path.join(ROOT, 'build', 'posix');
  const addon = path.join(out, 'Release', 'gyre.node');
  if (!existsSync(addon)) {
    const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
    const args = [cmakeJs, 'compile', '--out', out, '--CDGYRE_POSIX_ONLY=ON'];
    const built = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
    if (built.status !== 0) return t.fail(`the helper does not build:\n${built.stdout}`);
  }
  const server = gyre(t, ['run', SERVER, '--workers', '2'], { GYRE_NATIVE: addon });
  const port = Number((await server.says(PORT))[1]);
  t.match(server.stderr, /gyre: 2 workers, not pinned/);
  await server.says(/without pin: /);
  await server.says(/without reusePort: /);
  const threads = new Map<number, number>();
  const worker = (body: string) => {
    const { threadId } = JSON.parse(body) as { threadId: number };
    if (!threads.has(threadId)) threads.set(threadId, threads.size);
    return threads.get(threadId) as number;
  };
  t.equal((await getFromEach(port, 2, ({ body }) => worker(body))).size, 2, 'both answer');
  server.child.kill('SIGTERM');
  return t.same(await server.ended(), { code: 0, signal: null });
});
