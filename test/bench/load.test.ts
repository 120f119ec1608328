import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Load, oneQueue, schedule } from '../../bench/arrivals.js';
import { VoidRun } from '../../bench/failures.js';
import { CURVE_PERCENTILES, Recorder } from '../../bench/latencies.js';
import { now, startPacer } from '../../bench/pacer.js';
import { runPoisson } from '../../bench/poisson.js';
import { ResponseScanner } from '../../bench/response.js';
import { transfersSockets } from '../../bench/rivals.js';

const LOAD: Load = {
  ...{ warmup: 0, seconds: 1, connections: 4, seed: 1 },
  ...{ fastPerSecond: 200, fastMs: 0, slowPerSecond: 20, slowMs: 5 },
};

t.test('a percentile is exact to three digits, whatever its size', async (t) => {
  const recorder = new Recorder();
  for (let us = 1; us <= 100_000; us++) recorder.record(us / 1000);
  const { count, ...found } = recorder.percentiles();
  t.equal(count, 100_000);
  const wanted = { p50: 50, p90: 90, p95: 95, p99: 99, p999: 99.9, max: 100 };
  for (const [name, ms] of Object.entries(wanted)) {
    const value = found[name as keyof typeof wanted];
    t.ok(Math.abs(value / ms - 1) < 1e-3, `${name} is ${value}`);
  }
  t.match(CURVE_PERCENTILES, { 0: 0, 8: 90, 16: 99, 24: 99.9 });
  t.equal(found.curve.length, 25);
  for (const [at, percentile] of CURVE_PERCENTILES.entries()) {
    const value = found.curve[at] as number;
    t.ok(Math.abs(value - percentile) <= 1e-3 * percentile + 0.001, `${percentile}: ${value}`);
  }
});

t.test('a recorder takes what is negative as 0, and has no percentile of nothing', async (t) => {
  const recorder = new Recorder();
  t.match(recorder.percentiles(), { count: 0, p50: Number.NaN, max: Number.NaN });
  recorder.record(-0.3);
  t.match(recorder.percentiles(), { count: 1, p50: 0, max: 0 });
});

t.test('arrivals come from the seed alone, in order, at their rates', async (t) => {
  const load = { ...LOAD, warmup: 20, seconds: 80 };
  const arrivals = schedule(load);
  // As text: tap compares so many objects for minutes.
  t.ok(JSON.stringify(schedule(load)) === JSON.stringify(arrivals));
  t.notOk(JSON.stringify(schedule({ ...load, seed: 2 })) === JSON.stringify(arrivals));
  t.ok(arrivals.every(({ dueMs }, at) => at === 0 || dueMs >= (arrivals[at - 1]?.dueMs ?? 0)));
  t.ok(arrivals.every(({ dueMs }) => dueMs > 0 && dueMs < 100_000));
  const slow = arrivals.filter((arrival) => arrival.slow).length;
  // Five standard deviations of a Poisson count to either side.
  t.ok(Math.abs(slow - 2_000) < 5 * Math.sqrt(2_000), `${slow} slow ones`);
  const fast = arrivals.length - slow;
  t.ok(Math.abs(fast - 20_000) < 5 * Math.sqrt(20_000), `${fast} fast ones`);
});

t.test('the gaps between arrivals are as irregular as those of a Poisson process', async (t) => {
  const arrivals = schedule({ ...LOAD, seconds: 200, slowPerSecond: 0 });
  const gaps = arrivals.slice(1).map(({ dueMs }, at) => dueMs - (arrivals[at]?.dueMs ?? 0));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  const variation = Math.sqrt(variance) / mean;
  t.ok(Math.abs(variation - 1) < 0.05, `the coefficient of variation is ${variation}, not 1`);
});

t.test('one queue without slow requests waits for nothing', async (t) => {
  const { fast, slow } = oneQueue({ ...LOAD, fastPerSecond: 1, slowPerSecond: 0, seconds: 100 }, 2);
  t.equal(fast.p99, 0.1);
  t.equal(slow.count, 0);
});

t.test('one queue with one server makes fast requests wait for slow ones', async (t) => {
  const load = { ...LOAD, seconds: 50, slowMs: 25 };
  const [one, two] = [1, 2].map((servers) => oneQueue(load, servers).fast) as [
    ReturnType<typeof oneQueue>['fast'],
    ReturnType<typeof oneQueue>['fast'],
  ];
  t.ok(one.p90 > 10, `${one.p90} ms behind half-busy server`);
  t.ok(two.p90 < one.p90 / 2, `${two.p90} ms behind two of them`);
});

const response = (body: string, head = '') =>
  `HTTP/1.1 200 OK\r\n${head}Content-Length: ${body.length}\r\nX: y\r\n\r\n${body}`;

t.test('a response is read wherever it was cut, and the next one after it', async () => {
  const cuts = fc.array(fc.nat(), { maxLength: 8 });
  fc.assert(
    fc.property(fc.string({ unit: 'binary-ascii' }), cuts, (body, at) => {
      const scanner = new ResponseScanner();
      const text = response(body, 'Date: today\r\n');
      for (let times = 0; times < 2; times++) {
        const edges = [0, ...at.map((cut) => cut % (text.length + 1)), text.length];
        edges.sort((a, b) => a - b);
        const got = edges.slice(1).map((end, piece) => scanner.push(text.slice(edges[piece], end)));
        const complete = got.filter((each) => each !== null);
        if (complete.length !== 1 || complete[0] !== body) return false;
      }
      return true;
    }),
  );
});

t.test('a response byte by byte is complete at its last byte and not before', async (t) => {
  const text = response('hello world\n');
  const scanner = new ResponseScanner();
  const got = [...text].map((byte) => scanner.push(byte));
  t.equal(got.pop(), 'hello world\n');
  t.ok(got.every((each) => each === null));
});

t.test('what is no right response is an error', async (t) => {
  const wrong = {
    status: 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n',
    chunked: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'a second one': response('a') + response('b'),
    'an endless head': `HTTP/1.1 200 OK\r\n${'x'.repeat(20_000)}`,
    'a length in the body': 'HTTP/1.1 200 OK\r\nX: y\r\n\r\n\r\nContent-Length: 3\r\n',
  };
  for (const [name, text] of Object.entries(wrong)) {
    t.throws(() => new ResponseScanner().push(text), name);
  }
});

t.test('the pacer is never early, and says each time that something is due', async (t) => {
  const dues = Float64Array.from({ length: 50 }, (_, at) => at * 2);
  const startsAt = now() + 100;
  const pacer = startPacer(startsAt, dues);
  let told = 0;
  let early = 0;
  pacer.on('message', () => {
    if (now() < startsAt + (dues[told] ?? 0) - 0.1) early++;
    told++;
  });
  await once(pacer, 'exit');
  t.equal(told, dues.length);
  t.equal(early, 0);
});

async function listen(t: Test, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

t.test('the generator sends every arrival, and records all of them', async (t) => {
  const paths: string[] = [];
  const server = http.createServer((request, answer) => {
    paths.push(request.url ?? '');
    answer.end('hello world\n');
  });
  const told = { fast: 0, slow: 0, batches: 0 };
  const outcome = await runPoisson(await listen(t, server), LOAD, ({ fast, slow }) => {
    told.fast += fast.length;
    told.slow += slow.length;
    told.batches++;
  });
  const arrivals = schedule(LOAD);
  const slow = arrivals.filter((arrival) => arrival.slow).length;
  t.match(outcome, { errors: 0, fast: { count: arrivals.length - slow }, slow: { count: slow } });
  t.equal(outcome.late.count, arrivals.length);
  t.match(told, { fast: arrivals.length - slow, slow });
  t.ok(told.batches > 1, 'while it goes on');
  t.ok(outcome.cpuPercent > 0);
  t.equal(paths.filter((path) => path === '/burn/5').length, slow);
  t.equal(paths.length, arrivals.length + LOAD.connections, 'each connection was tried first');
});

t.test('latency counts from when a request was due, not from when it was sent', async (t) => {
  // One connection, and a first answer that takes 300 ms: whatever is due meanwhile waits.
  let answers = 0;
  const server = http.createServer((_, answer) => {
    if (++answers === 2) setTimeout(() => answer.end('hello world\n'), 300);
    else answer.end('hello world\n');
  });
  const load = { ...LOAD, connections: 1, slowPerSecond: 0 };
  const { fast } = await runPoisson(await listen(t, server), load);
  // About 60 of 200 arrive in those 300 ms, and wait 150 ms on average.
  t.ok(fast.p90 > 100, `the p90 is ${fast.p90} ms`);
});

t.test('one wrong answer makes a run void', async (t) => {
  const answers = {
    'another status': (answer: http.ServerResponse) => answer.writeHead(500).end('hello world\n'),
    'another body': (answer: http.ServerResponse) => answer.end('hello vorld\n'),
    'the end of the connection': (answer: http.ServerResponse) => answer.destroy(),
  };
  for (const [name, answerWrongly] of Object.entries(answers)) {
    let count = 0;
    const server = http.createServer((_, answer) => {
      if (++count === 20) answerWrongly(answer);
      else answer.end('hello world\n');
    });
    const port = await listen(t, server);
    const reason = await runPoisson(port, LOAD).catch((error) => error);
    t.ok(reason instanceof VoidRun, name);
  }
});

t.test('which lines of node transfer sockets', async (t) => {
  for (const version of ['v24.20.0', 'v24.21.1', 'v26.6.0', 'v27.0.0']) {
    t.ok(transfersSockets(version), version);
  }
  for (const version of ['v20.20.2', 'v22.30.0', 'v24.19.9', 'v25.9.0', 'v26.5.3']) {
    t.notOk(transfersSockets(version), version);
  }
});
