/**
 * Whoever keeps a worker from its event loop is named.
 */
import t from 'tap';
import type { WorkerStall } from '../../src/index.js';
import { keepAlive } from '../moving/kept-alive.js';
import { app, HOST, portOf, start } from '../support/app.js';

t.setTimeout(60_000);

t.test('a function that burns CPU while others wait is blamed', async (t) => {
  const runtime = await start(t, app('blamed.js'), { workers: 2, spares: 0, blame: true });
  const to = { host: HOST, port: portOf(runtime) };
  const stalls: WorkerStall[] = [];
  runtime.on('stall', (stall) => stalls.push(stall));
  const connections = Array.from({ length: 16 }, () => keepAlive(t, to));
  t.same(runtime.snapshot().blamed, []);
  for (let round = 0; stalls.length < 3 && round < 200; round++) {
    await Promise.all(connections.map((each, i) => each.ask(i === 0 ? '/slow' : '/')));
  }
  t.ok(stalls.length >= 3, `${stalls.length} times`);
  const { blamed } = runtime.snapshot();
  t.ok(
    blamed.some(
      ({ where, count }) => /^computeSlowly \(.*blamed\.js:5\)$/.test(where) && count > 0,
    ),
    JSON.stringify(blamed),
  );
  t.ok(stalls.some(({ stack }) => stack.some((frame) => frame.startsWith('computeSlowly ('))));
});
