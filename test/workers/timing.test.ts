/**
 * Requests are counted, all of them, and timed: all while they come slowly, a sample when they are
 * fast.
 */
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { misalignmentOf } from '../../src/native.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';
import { Timing } from '../../src/workers/timing.js';

async function serve(t: Test, handler: http.RequestListener) {
  const board = Scoreboard.create(1, misalignmentOf);
  const timing = new Timing(board.requestTimes(0), true);
  timing.install();
  t.teardown(() => timing.uninstall());
  const server = http.createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  t.teardown(() => {
    agent.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      const request = http.get({ port, host: '127.0.0.1', agent }, (response) => {
        response.resume().on('end', resolve);
      });
      request.on('error', reject);
    });
  const timed = () => board.read(0).requestTimes.byUs.reduce((all, one) => all + one, 0);
  return { board, timing, ask, timed };
}

t.test('each request is counted and timed', async (t) => {
  const { board, timing, ask, timed } = await serve(t, (_request, response) => {
    setTimeout(() => response.end('late'), 20);
  });
  for (let i = 0; i < 5; i++) await ask();
  t.equal(board.read(0).requests, 5);
  t.equal(timed(), 5);
  const { sumNs, byUs } = board.read(0).requestTimes;
  t.ok(sumNs >= 5 * 19e6 && sumNs < 5e9, `${sumNs} ns`);
  t.equal(
    byUs.slice(0, 14).reduce((all, one) => all + one, 0),
    0,
    'none took less than 8 ms',
  );
  timing.uninstall();
  await ask();
  t.equal(board.read(0).requests, 5, 'no more after that');
});

t.test('of fast requests all are counted, and some are timed', async (t) => {
  const board = Scoreboard.create(1, misalignmentOf);
  const timing = new Timing(board.requestTimes(0), true);
  timing.install();
  t.teardown(() => timing.uninstall());
  const [start, finish] = ['http.server.request.start', 'http.server.response.finish'].map(channel);
  // As node does, for nobody: no server of this machine is sure to be fast enough.
  const answer = () => {
    const message = { response: {} };
    if (start?.hasSubscribers) start.publish(message);
    finish?.publish(message);
  };
  const timed = () => board.read(0).requestTimes.byUs.reduce((all, one) => all + one, 0);
  let answered = 0;
  const forMs = async (ms: number, pauseMs: number) => {
    for (const end = performance.now() + ms; performance.now() < end; ) {
      for (let i = 0; i < 100; i++) answer();
      answered += 100;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  await forMs(1_100, 1);
  t.equal(board.read(0).requests, answered);
  t.ok(answered > 5_500, `${answered} in a second are fast`);
  t.equal(timed(), answered, 'it was not known before that');
  await forMs(400, 1);
  const fast = timed();
  await forMs(300, 1);
  t.equal(board.read(0).requests, answered, 'all are counted');
  t.ok(fast < answered && timed() === fast, `${fast} of ${answered} were timed`);
});

t.test('where nobody wants to know how long they take, requests are counted only', async (t) => {
  const board = Scoreboard.create(1, misalignmentOf);
  const timing = new Timing(board.requestTimes(0), false);
  timing.install();
  t.teardown(() => timing.uninstall());
  t.equal(channel('http.server.request.start').hasSubscribers, false);
  for (let i = 0; i < 200; i++) channel('http.server.response.finish').publish({ response: {} });
  const { requests, requestTimes } = board.read(0);
  t.equal(requests, 200);
  t.ok(requestTimes.byUs.every((count) => count === 0));
});
