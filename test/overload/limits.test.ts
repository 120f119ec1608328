/**
 * As many connections and requests as there may be: what comes beyond waits in the kernel's
 * queue, or is told 503, and everything goes on by itself when there is room.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Facts, total } from '../moving/host.js';
import { HOST, portOf } from '../support/app.js';
import { folder } from '../support/folder.js';
import { type Client, Crowd, startLoaded } from './crowd.js';

t.setTimeout(200_000); // of all tests in this file together

function shed({ snapshot }: Facts): number {
  return snapshot.workers.reduce((sum, row) => sum + row.shed, 0);
}

function requests({ snapshot }: Facts): number {
  return snapshot.workers.reduce((sum, row) => sum + row.inFlight, 0);
}

/** Lets clients that were served leave, a few at a time, until none waits. */
async function turnOver(t: Test, crowd: Crowd, check: () => Promise<void>): Promise<void> {
  while (crowd.waiting.length > 0) {
    const { waiting } = crowd;
    crowd.leave(crowd.served.slice(0, 4));
    if (!(await crowd.when(() => crowd.waiting.length < waiting.length))) {
      t.fail(`${waiting.length} are left waiting`);
      return;
    }
    await check();
  }
}

for (const move of [true, false]) {
  t.test(`in total, they wait; ${move ? '' : 'no '}moving`, async (t) => {
    const host = await startLoaded(t, { maxConnections: 16, scheduler: { move } });
    const crowd = new Crowd(t, await host.facts());
    crowd.join(80);
    t.ok(await crowd.when(() => crowd.served.length >= 16));
    await sleep(200);
    const facts = await host.facts();
    t.ok(total(facts, 'connections') <= 16, `${total(facts, 'connections')} of 16`);
    t.equal(crowd.served.length, total(facts, 'connections'));
    const byWorker = facts.snapshot.workers.map(({ accepting }) => accepting);
    t.same(byWorker, ['at-limit', 'at-limit']);
    await turnOver(t, crowd, async () => {
      const now = total(await host.facts(), 'connections');
      if (now > 16) t.fail(`${now} of 16`);
    });
    t.same(crowd.failed, [], 'all are served in the end, whichever queue they wait in');
    t.equal(shed(await host.facts()), 0);
    crowd.close();
    const idle = await host.factsWhen((facts) => total(facts, 'connections') === 0);
    t.match(idle.snapshot.workers, [{ accepting: 'accepts' }, { accepting: 'accepts' }]);
    await host.close(t);
  });
}

t.test(
  'who waits for one worker is served, however fast another takes up what is free',
  async (t) => {
    const host = await startLoaded(t, { maxConnections: 4 });
    const crowd = new Crowd(t, await host.facts());
    crowd.join(200);
    // Whoever is served leaves at once, so there is always somebody who has just left.
    let served = 0;
    const all = await crowd.when(() => {
      const leaving = crowd.served;
      served += leaving.length;
      crowd.leave(leaving);
      return served === 200;
    });
    t.ok(all, `${served} of 200 are served`);
    t.same(crowd.failed, []);
    await host.close(t);
  },
);

t.test('of each worker, they wait only when no other has room', async (t) => {
  const host = await startLoaded(t, { maxConnections: { perWorker: 8 } });
  const crowd = new Crowd(t, await host.facts());
  crowd.join(16);
  // The kernel's hash gives one of them more than 8 of 16 nearly always.
  t.ok(await crowd.when(() => crowd.served.length === 16), 'as many as both together may have');
  crowd.join(16);
  await sleep(200);
  const open = total(await host.facts(), 'connections');
  t.ok(open <= 16, `${open} of 16`);
  t.equal(crowd.waiting.length, 32 - open, 'more wait');
  await turnOver(t, crowd, async () => {
    const now = total(await host.facts(), 'connections');
    if (now > 16) t.fail(`${now} of 16`);
  });
  t.same(crowd.failed, []);
  crowd.close();
  await host.close(t);
});

t.test('beyond, new connections are told 503', async (t) => {
  const scheduler = { move: false }; // without a governor, which opens some when it likes
  const host = await startLoaded(t, { maxConnections: 8, overload: 'refuse', scheduler });
  const first = await host.facts();
  const crowd = new Crowd(t, first);
  crowd.join(8);
  t.ok(await crowd.when(() => crowd.served.length === 8));
  const refused = crowd.join(40);
  t.ok(await crowd.when(() => crowd.waiting.length === 0));
  t.equal(crowd.refused.length, 40);
  t.same(crowd.failed, []);
  t.match((refused[0] as Client).answer, {
    status: 503,
    headers: { 'retry-after': '1', connection: 'close' },
  });
  const facts = await host.facts();
  t.equal(shed(facts), 40);
  t.equal(total(facts, 'connections'), 8);
  crowd.leave(refused);
  crowd.leave(crowd.served.slice(0, 4));
  await host.factsWhen((facts) => total(facts, 'connections') === 4);
  crowd.join(4);
  t.ok(await crowd.when(() => crowd.served.length === 8), 'and no longer when there is room');
  crowd.close();
  const end = await host.factsWhen(
    (facts) =>
      total(facts, 'connections') === 0 && facts.descriptors.length <= first.descriptors.length,
  );
  t.same(end.descriptors, first.descriptors, 'no descriptor is left');
  await host.close(t);
});

t.test('whoever is told 503 and does nothing about it is cut off', async (t) => {
  const host = await startLoaded(t, { workers: 1, maxConnections: 1, overload: 'refuse' });
  const facts = await host.facts();
  const crowd = new Crowd(t, facts);
  crowd.join(1);
  t.ok(await crowd.when(() => crowd.served.length === 1));
  const to = { host: HOST, port: portOf(facts), allowHalfOpen: true };
  const silent = net.connect(to);
  const endless = net.connect(to);
  t.teardown(() => [silent, endless].map((socket) => socket.destroy()));
  let answer = '';
  endless.on('data', (chunk) => {
    answer += chunk;
  });
  endless.on('error', () => {}); // it is reset while it writes
  const timer = setInterval(() => endless.write('POST / HTTP/1.1\r\n'), 20);
  const closes = [
    once(silent, 'end'),
    new Promise((resolve) => endless.on('close', resolve)),
  ] as const;
  silent.resume();
  await Promise.all(closes);
  clearInterval(timer);
  t.match(answer, /^HTTP\/1\.1 503 .*\r\nRetry-After: 1\r\nConnection: close\r\n/);
  t.equal(total(await host.facts(), 'connections'), 1);
  crowd.close();
  await host.close(t);
});

t.test('a server that speaks something else closes the connection', async (t) => {
  const env = { PROTOCOL: 'tcp' };
  const host = await startLoaded(t, { maxConnections: 2, overload: 'refuse', env });
  const facts = await host.facts();
  const connect = async () => {
    const socket = net.connect({ host: HOST, port: portOf(facts) });
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    const [chunk] = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    return { socket, isServed: Buffer.isBuffer(chunk) };
  };
  const served = [await connect(), await connect()];
  t.same(
    served.map(({ isServed }) => isServed),
    [true, true],
  );
  t.equal((await connect()).isServed, false);
  served[0]?.socket.destroy();
  await host.factsWhen((facts) => total(facts, 'connections') === 1);
  const last = await connect();
  t.equal(last.isServed, true);
  for (const { socket } of [...served, last]) socket.destroy();
  await host.close(t);
});

t.test('a connection that moves is none more', async (t) => {
  const scheduler = { chaos: true };
  const host = await startLoaded(t, { maxConnections: { total: 16, perWorker: 8 }, scheduler });
  const crowd = new Crowd(t, await host.facts());
  crowd.join(16);
  t.ok(await crowd.when(() => crowd.served.length === 16));
  for (let i = 0; i < 40; i++) {
    await Promise.all(crowd.clients.map(({ connection }) => connection.ask()));
  }
  const more = crowd.join(16);
  for (let i = 0; i < 40; i++) {
    await Promise.all(crowd.served.map(({ connection }) => connection.ask()));
  }
  const facts = await host.facts();
  t.ok(total(facts, 'received') > 100, `${total(facts, 'received')} moves`);
  t.ok(
    more.every(({ answer }) => answer === null),
    'while they move nobody takes their place',
  );
  t.same(crowd.failed, []);
  crowd.close();
  await host.close(t);
});

for (const perWorker of [true, false]) {
  const max = perWorker ? { perWorker: 4 } : 8;
  t.test(`requests ${perWorker ? 'of each worker' : 'in total'}, they wait`, async (t) => {
    const host = await startLoaded(t, { maxOutstanding: max });
    const crowd = new Crowd(t, await host.facts());
    const file = path.join(folder(t), 'go');
    const hold = `/hold?until=${encodeURIComponent(file)}`;
    // A connection is accepted before its request is seen, so one after the other.
    for (let begun = 0; begun < 8; begun++) {
      crowd.join(1, hold);
      await host.factsWhen((facts) => requests(facts) > begun);
    }
    crowd.join(32, hold);
    await sleep(200);
    const later = await host.facts();
    t.equal(requests(later), 8);
    t.equal(total(later, 'connections'), 8);
    t.equal(crowd.waiting.length, 40);
    writeFileSync(file, '');
    t.ok(await crowd.when(() => crowd.served.length === 40), 'all are served');
    t.equal(requests(await host.factsWhen((facts) => requests(facts) === 0)), 0);
    crowd.close();
    await host.close(t);
  });

  t.test(`requests ${perWorker ? 'of each worker' : 'in total'}, they get 503`, async (t) => {
    const scheduler = { move: false };
    const host = await startLoaded(t, { maxOutstanding: max, overload: 'refuse', scheduler });
    const crowd = new Crowd(t, await host.facts());
    crowd.join(40);
    t.ok(await crowd.when(() => crowd.served.length === 40), 'connections are not limited');
    const each = (await host.facts()).snapshot.workers.map(({ connections }) => connections);
    // The kernel's hash may have given one of them fewer than it may have.
    const begun = perWorker ? each.reduce((sum, count) => sum + Math.min(count, 4), 0) : 8;
    const file = path.join(folder(t), 'go');
    const answers = crowd.clients.map(async ({ connection }) => {
      const { status, headers } = await connection.ask(`/hold?until=${encodeURIComponent(file)}`);
      return { status, retry: headers['retry-after'], connection: headers.connection };
    });
    await host.factsWhen((facts) => shed(facts) >= 40 - begun);
    t.equal(requests(await host.facts()), begun);
    writeFileSync(file, '');
    const all = await Promise.all(answers);
    t.equal(all.filter(({ status }) => status === 200).length, begun);
    const refused = all.filter(({ status }) => status === 503);
    t.equal(refused.length, 40 - begun);
    t.match(refused[0], { retry: '1', connection: 'keep-alive' });
    const again = await Promise.all(crowd.clients.map(({ connection }) => connection.ask()));
    t.ok(
      again.some(({ status }) => status === 200),
      'their connections go on',
    );
    t.equal(requests(await host.factsWhen((facts) => requests(facts) === 0)), 0);
    crowd.close();
    await host.close(t);
  });
}

t.test('a request whose client leaves is outstanding no more', async (t) => {
  const host = await startLoaded(t, { workers: 1, maxOutstanding: 4 });
  const crowd = new Crowd(t, await host.facts());
  crowd.join(4, '/hold?until=never');
  await host.factsWhen((facts) => requests(facts) === 4);
  const next = crowd.join(1);
  await sleep(100);
  t.equal(next[0]?.answer, null);
  crowd.leave(crowd.clients.slice(0, 1));
  t.ok(await crowd.when(() => crowd.served.length === 1));
  t.equal(requests(await host.factsWhen((facts) => requests(facts) === 3)), 3);
  crowd.close();
  await host.close(t);
});

t.test('limits hold through deaths, reloads and other numbers of workers', async (t) => {
  const host = await startLoaded(t, { maxConnections: 8, maxWorkers: 3 });
  const crowd = new Crowd(t, await host.facts());
  crowd.join(8);
  t.ok(await crowd.when(() => crowd.served.length === 8));
  const waiting = crowd.join(4);
  const unserved = async (what: string) => {
    await sleep(100);
    t.ok(
      waiting.every(({ answer }) => answer === null),
      `they wait during ${what}`,
    );
    t.equal(
      total(await host.factsWhen((facts) => total(facts, 'connections') === 8), 'connections'),
      8,
    );
  };
  t.equal((await host.reload(5_000)).refused, null);
  await unserved('a reload');
  await host.resize(3);
  await unserved('one worker more');
  await host.resize(1);
  await unserved('two less');
  crowd.leave(crowd.served.slice(0, 4));
  t.ok(await crowd.when(() => crowd.served.length === 8));
  t.same(crowd.failed, []);
  crowd.close();
  await host.close(t);
});

t.test(
  'however workers end, and whatever moves meanwhile, no place is lost or gained',
  async (t) => {
    const host = await startLoaded(t, {
      ...{ maxConnections: 16, restarts: 1_000, hangMs: 200 },
      scheduler: { chaos: true },
    });
    const crowd = new Crowd(t, await host.facts());
    for (const end of [...new Array(6).fill('/exit'), ...new Array(2).fill('/hang')]) {
      const others = crowd.join(12);
      t.ok(await crowd.when(() => others.every(({ answer }) => answer !== null)));
      const [last] = crowd.join(1, end);
      t.ok(await crowd.when(() => last?.answer instanceof Error), `one ends by ${end}`);
      crowd.close();
      await host.factsWhen((facts) => total(facts, 'connections') === 0);
    }
    crowd.join(24);
    t.ok(await crowd.when(() => crowd.served.length === 16));
    await sleep(200);
    t.equal(crowd.served.length, 16);
    t.equal(crowd.waiting.length, 8);
    crowd.close();
    const { errors } = await host.factsWhen((facts) => total(facts, 'connections') === 0);
    await host.close(t, null, errors);
  },
);

t.test('inline, and on a socket of its own, a worker can refuse', async (t) => {
  const host = await startLoaded(t, { workers: 'inline', maxConnections: 2, overload: 'refuse' });
  const crowd = new Crowd(t, await host.facts());
  crowd.join(2);
  t.ok(await crowd.when(() => crowd.served.length === 2));
  crowd.join(3);
  t.ok(await crowd.when(() => crowd.refused.length === 3));
  crowd.close();
});
