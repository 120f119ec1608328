/**
 * A client of the admin endpoint has so long to say what it wants, and to read the answer.
 */

import { EventEmitter, once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import t from 'tap';
import { Deadlines } from '../../src/admin/deadlines.js';
import { Endpoint } from '../../src/admin/endpoint.js';
import type { Observed } from '../../src/admin/observed.js';
import { resolveAdmin } from '../../src/admin/options.js';
import { Readings } from '../../src/admin/readings.js';
import { ask, EventStream, whereOf } from './asking.js';

const LIMIT_MS = 500;

/** An endpoint with nothing behind it, and shorter deadlines. */
async function open(): Promise<Endpoint> {
  const runtime = Object.assign(new EventEmitter(), {
    ...{ state: 'serving', ready: true, workers: [], spares: [] },
  });
  const source = { runtime, name: 'shop', threads: () => [], sockets: () => [] };
  const [options, real] = [resolveAdmin('127.0.0.1:0'), source as unknown as Observed];
  if (options === null) throw new Error('it is given');
  const endpoint = new Endpoint(options, real, new Readings(real), new Deadlines(LIMIT_MS));
  await endpoint.open();
  return endpoint;
}

t.test('who says nothing, half of it, or does not listen is cut off', async (t) => {
  const endpoint = await open();
  t.teardown(() => endpoint.close());
  const where = whereOf(endpoint.address);
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
  const drops = setInterval(() => drip.write('X: y\r\n'), LIMIT_MS / 20);
  t.teardown(() => clearInterval(drops));
  const all = [silent, begun, body, drip].map((socket) => once(socket.resume(), 'close'));
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const began = performance.now();
  for (let i = 0; i < 3; i++) t.equal((await ask(where, '/healthz', { agent })).status, 200);
  await Promise.all(all);
  t.ok(performance.now() - began > 0.9 * LIMIT_MS, 'not before its time');
  t.match(said.begun, /^HTTP\/1\.1 408 /, 'who began a request is told');
  t.match(said.body, /^HTTP\/1\.1 408 /, 'and who did not end it');
  t.notOk(stream.response.destroyed, 'a stream has no end');
  t.equal((await ask(where, '/readyz')).status, 200);
});
