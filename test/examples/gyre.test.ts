/** The examples of what only gyre has. */
import dgram from 'node:dgram';
import path from 'node:path';
import t from 'tap';
import { get, portOf, ROOT, start } from '../support/app.js';
import { Running } from '../support/running.js';

const example = (name: string) => path.join(ROOT, 'examples', name);
const env = { PORT: '0' };

t.test('limits.js: one limit for a client, whichever worker it comes to', async (t) => {
  const runtime = await start(t, example('limits.js'), { workers: 2, spares: 0, env });
  const port = portOf(runtime);
  const headers = { 'x-client': 'a test' };
  let answers = 0;
  let status = 0;
  for (; status !== 429; answers++) status = (await get({ port, headers })).status;
  t.ok(answers > 10, `${answers - 1} in a row were admitted`);
  const other = await get({ port, headers: { 'x-client': 'another' } });
  t.equal(other.status, 200);
  t.equal(other.body, `${answers} allowed, 1 refused\n`, 'counted by all together');
});

t.test('thumbnails.js: a job for a request', async (t) => {
  const runtime = await start(t, example('thumbnails.js'), { workers: 1, spares: 0, env });
  const port = portOf(runtime);
  t.equal((await get(port)).body, 'Hello\n');
  const image = await get({ port, path: '/render?size=20' });
  t.equal(image.headers['content-type'], 'image/x-portable-graymap');
  t.match(image.body, /^P5 20 20 255\n/);
  const wrong = await get({ port, path: '/render?size=9999' });
  t.match(wrong, { status: 500, body: 'a size from 1 to 2000\n' });
});

t.test('sources.js: a timer, datagrams and emitted events, each handled once', async (t) => {
  const own = { ...env, UDP_PORT: '0', EVERY_MS: '50' };
  const run = new Running(t, process.execPath, [example('sources.js')], own);
  const [, http, udp] = await run.says(/HTTP on (\d+), datagrams on (\d+)/, 'stdout');
  t.match((await get(Number(http))).body, /^handled by worker \d+\n$/);
  const client = dgram.createSocket('udp4');
  client.send('hit', Number(udp), '127.0.0.1');
  await run.says(/\d: 1 orders, 1 metrics \(worker \d+\)/, 'stdout');
  client.close();
  run.child.kill('SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
  t.equal(run.stderr, '');
});
