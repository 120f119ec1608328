/**
 * A client of the admin endpoint has so long to say what it wants, and to read the answer.
 */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import t from 'tap';
import { app, start } from '../support/app.js';
import { ask, EventStream, whereOf } from './asking.js';

t.test('who says nothing, half of it, or does not listen is cut off', async (t) => {
  const runtime = await start(t, app('http.js'), { workers: 1, admin: '127.0.0.1:0' });
  const where = whereOf(runtime.admin.endpoint);
  const { port } = where as { port: number };
  const connect = () => {
    const socket = net.connect(port, '127.0.0.1').on('error', () => {});
    t.teardown(() => socket.destroy());
    return socket;
  };
  const stream = await EventStream.open(where);
  t.teardown(() => stream.close());
  const [silent, begun, body, drip] = [connect(), connect(), connect(), connect()];
  const said = { begun: '', body: '' };
  begun.on('data', (chunk) => {
    said.begun += chunk;
  });
  body.on('data', (chunk) => {
    said.body += chunk;
  });
  begun.write('GET /metrics HTTP/1.1\r\nHost: local');
  body.write('POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{');
  drip.write('GET /metrics HTTP/1.1\r\n');
  const drops = setInterval(() => drip.write('X: y\r\n'), 500);
  t.teardown(() => clearInterval(drops));
  const all = [silent, begun, body, drip].map((socket) => once(socket.resume(), 'close'));
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const began = performance.now();
  for (let i = 0; i < 3; i++) t.equal((await ask(where, '/healthz', { agent })).status, 200);
  await Promise.all(all);
  t.ok(performance.now() - began > 9_000, 'not before its time');
  t.match(said.begun, /^HTTP\/1\.1 408 /, 'who began a request is told');
  t.match(said.body, /^HTTP\/1\.1 408 /, 'and who did not end it');
  t.notOk(stream.response.destroyed, 'a stream has no end');
  t.equal((await ask(where, '/readyz')).status, 200);
});
