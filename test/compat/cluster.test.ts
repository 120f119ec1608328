/**
 * What a program, and its clients, see under node:cluster and under gyre: the same, but for what
 * docs/coming-from-cluster-and-pm2.md says is different. What it sees of listen() alone is compared
 * with plain node in test/workers/listening.test.ts.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import { get, getFromEach, HOST } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { backlogs } from '../support/proc.js';
import { type Obedient, underCluster, underGyre, type World } from './worlds.js';

type Failed = { readonly code: string; readonly port?: number };
type Listened = AddressInfo & Failed;

/** Requests that show who answers: by chance one of two is left out by one in 2^19. */
const ENOUGH = 20;

/** Why nobody answers at an address; null: somebody does. */
async function refusal(where: http.RequestOptions): Promise<string | null> {
  for (let tries = 0; ; tries++) {
    try {
      await get(where);
      return null;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'none';
      // node:cluster's primary closes a socket a moment after its last worker has closed the server.
      if (code !== 'ECONNRESET' || tries === 100) return code;
    }
  }
}

/** Who answers {@link ENOUGH} requests. */
async function whoAnswers(where: http.RequestOptions | number): Promise<Set<string>> {
  const who = new Set<string>();
  for (let i = 0; i < ENOUGH; i++) who.add((await get(where)).body);
  return who;
}

async function bothAnswer(
  t: Test,
  where: http.RequestOptions | number,
  workers: readonly Obedient[],
): Promise<void> {
  const ids = workers.map(({ id }) => id);
  const answers = await getFromEach(where, 2, ({ body }) => ids.indexOf(body));
  t.same([...answers.keys()].sort(), [0, 1], 'both answer');
}

async function listenAll(
  workers: readonly Obedient[],
  name: string,
  options: object,
): Promise<Listened[]> {
  const addresses: Listened[] = [];
  for (const worker of workers) {
    addresses.push(await worker.tell<Listened>('listen', name, options));
  }
  return addresses;
}

const closeAll = (workers: readonly Obedient[], name: string) =>
  Promise.all(workers.map((worker) => worker.tell('close', name)));

async function listens(t: Test, workers: readonly Obedient[]): Promise<void> {
  const [a, b] = workers as [Obedient, Obedient];

  t.test('port 0 is one port for all, and another one for each server', async (t) => {
    const first = await listenAll(workers, 'first', { port: 0, host: HOST });
    const second = await listenAll(workers, 'second', { port: 0, host: HOST });
    t.equal(first[0]?.port, first[1]?.port);
    t.equal(second[0]?.port, second[1]?.port);
    t.not(first[0]?.port, second[0]?.port);
    await bothAnswer(t, first[0]?.port as number, workers);
    await bothAnswer(t, second[0]?.port as number, workers);
    await closeAll(workers, 'first');
    await closeAll(workers, 'second');
  });

  t.test('a port of one worker, of both, of the other, and of nobody', async (t) => {
    const port = freePort();
    const options = { port, host: HOST };
    await a.tell('listen', 's', options);
    t.same(await whoAnswers(port), new Set([a.id]), 'only who listens is asked');
    await b.tell('listen', 's', options);
    await bothAnswer(t, port, workers);
    await a.tell('close', 's');
    t.same(await whoAnswers(port), new Set([b.id]), 'the other goes on');
    await a.tell('listen', 's', options);
    await bothAnswer(t, port, workers);
    await closeAll(workers, 's');
    t.equal(await refusal(options), 'ECONNREFUSED');
    const other = net.createServer().listen({ ...options, exclusive: true });
    await once(other, 'listening');
    other.close();
  });

  t.test('the same port twice in one worker is EADDRINUSE', async (t) => {
    const options = { port: freePort(), host: HOST };
    await a.tell('listen', 's', options);
    t.match(await a.tell('listen', 'again', options), { code: 'EADDRINUSE', port: options.port });
    t.same(await whoAnswers(options.port), new Set([a.id]), 'the first is as before');
    await a.tell('close', 's');
  });

  t.test('a port that another program has is EADDRINUSE, until it is free', async (t) => {
    const other = net.createServer().listen({ port: 0, host: HOST, exclusive: true });
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    for (const failed of await listenAll(workers, 's', { port, host: HOST })) {
      t.match(failed, { code: 'EADDRINUSE', port, address: HOST });
    }
    other.close();
    await once(other, 'close');
    await listenAll(workers, 's', { port, host: HOST });
    await bothAnswer(t, port, workers);
    await closeAll(workers, 's');
  });

  t.test('an exclusive port is that of one worker', async (t) => {
    const options = { port: freePort(), host: HOST, exclusive: true };
    t.equal((await a.tell<Listened>('listen', 's', options)).port, options.port);
    t.match(await b.tell('listen', 's', options), { code: 'EADDRINUSE', port: options.port });
    t.same(await whoAnswers(options.port), new Set([a.id]));
    await a.tell('close', 's');
    t.equal((await b.tell<Listened>('listen', 's', options)).port, options.port, 'then the other');
    await b.tell('close', 's');
  });

  t.test('a Unix path is that of all, and its file goes with the last', async (t) => {
    const socketPath = path.join(folder(t), 's');
    t.same(await listenAll(workers, 's', { path: socketPath }), [socketPath, socketPath]);
    await bothAnswer(t, { socketPath }, workers);
    await a.tell('close', 's');
    t.same(await whoAnswers({ socketPath }), new Set([b.id]));
    await b.tell('close', 's');
    t.equal(await refusal({ socketPath }), 'ENOENT');
    t.notOk(existsSync(socketPath));
    await a.tell('listen', 's', { path: socketPath });
    t.same(await whoAnswers({ socketPath }), new Set([a.id]), 'and again');
    await a.tell('close', 's');
  });

  t.test('a backlog is that of the kernel', async (t) => {
    const port = freePort();
    await listenAll(workers, 's', { port, host: HOST, backlog: 7 });
    const lengths = backlogs(port);
    if (lengths === null) t.pass('backlog', { skip: 'ss is not here' });
    else t.same(new Set(lengths), new Set([7]));
    await closeAll(workers, 's');
  });

  t.test('ipv6Only leaves IPv4 out', async (t) => {
    const port = freePort();
    await listenAll(workers, 's', { port, host: '::', ipv6Only: true });
    await bothAnswer(t, { port, host: '::1' }, workers);
    t.equal(await refusal({ port, host: HOST }), 'ECONNREFUSED');
    await closeAll(workers, 's');
  });
}

/** A connection to `worker` that stays open. */
async function keptAlive(
  t: Test,
  port: number,
  worker: Obedient,
): Promise<{ agent: http.Agent; socket: Socket }> {
  for (let tries = 0; tries < 100; tries++) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.teardown(() => agent.destroy());
    const { body } = await get({ port, agent });
    const [socket] = Object.values(agent.freeSockets)[0] ?? [];
    if (body === worker.id && socket !== undefined) return { agent, socket };
    agent.destroy();
  }
  throw new Error('it never answered');
}

/** A request that `worker` holds, on a port of its own: who answers it, or why nobody does. */
async function heldBy(worker: Obedient): Promise<{ answer: Promise<string> }> {
  const port = freePort();
  await worker.tell('listen', `held ${port}`, { port, host: HOST });
  const answer = get({ port, path: '/held' }).then(
    ({ body }) => body,
    ({ code }) => code as string,
  );
  await worker.held.next();
  return { answer };
}

async function deaths(t: Test, world: World, workers: Obedient[]): Promise<void> {
  const shared = freePort();
  const other = net.createServer().listen({ port: 0, host: HOST, exclusive: true });
  await once(other, 'listening');
  t.teardown(() => other.close());
  const { port: taken } = other.address() as AddressInfo;
  /** What it is told to die of, and what its operator hears: gyre's, with the error's code. */
  const causes: [act: string, argument: unknown, code: number, error?: string][] = [
    ['exit', 3, 3],
    ['throw', 'as it was told to', 1, 'ERR_GYRE_WORKER_FAILED'],
    ['listenUnheard', { port: taken, host: HOST }, 1, 'EADDRINUSE'],
  ];
  for (const [act, argument, code, error] of causes) {
    t.test(`a worker that dies (${act}) is replaced, and nobody is refused`, async (t) => {
      const [a, b] = workers as [Obedient, Obedient];
      await listenAll(workers, 's', { port: shared, host: HOST });
      await bothAnswer(t, shared, workers);
      const { agent, socket } = await keptAlive(t, shared, a);
      const closed = once(socket, 'close');
      const { answer } = await heldBy(a);
      void a.tell(act, argument);
      const told = error === undefined || world.kind === 'cluster' ? {} : { error };
      t.same(await world.ends.next(), { code, planned: false, ...told });
      t.equal(await answer, 'ECONNRESET', 'what was in flight is lost');
      t.same(await whoAnswers(shared), new Set([b.id]), 'the other serves');
      if (world.kind === 'cluster') await closed;
      else {
        t.equal((await get({ port: shared, agent })).body, b.id, 'an idle connection lives on');
        t.notOk(socket.destroyed, 'and is the same');
      }
      const successor = await world.workers.next();
      t.not(successor.id, a.id);
      workers.splice(0, 1, successor);
      await successor.tell('listen', 's', { port: shared, host: HOST });
      await bothAnswer(t, shared, workers);
      await closeAll(workers, 's');
    });
  }
}

/** What the guide says is different. */
async function differences(t: Test, world: World, workers: readonly Obedient[]): Promise<void> {
  const [a, b] = workers as [Obedient, Obedient];
  const isCluster = world.kind === 'cluster';
  t.test('who a worker is', async (t) => {
    t.same(await a.tell('facts'), {
      ...{ isPrimary: !isCluster, hasWorker: isCluster, main: true, args: ['--one', 'two'] },
      send: isCluster ? 'function' : 'undefined',
    });
    const pids = new Set(workers.map(({ id }) => id.split(':')[0]));
    t.equal(pids.size, isCluster ? 2 : 1, 'processes');
  });
  t.test('a UDP port', async (t) => {
    const port = freePort();
    t.match(await a.tell('bind', port), { port });
    t.match(await b.tell('bind', port), isCluster ? { port } : { code: 'EADDRINUSE' });
    for (const worker of workers) await worker.tell('unbind');
  });
}

async function ends(t: Test, world: World, workers: readonly Obedient[]): Promise<void> {
  const port = freePort();
  await listenAll(workers, 's', { port, host: HOST });
  const gone = world.chosen(workers);
  const stays = workers.find((worker) => worker !== gone) as Obedient;

  t.test('a worker that is to go answers what it holds, and no new connection', async (t) => {
    await bothAnswer(t, port, workers);
    const held = [await heldBy(gone), await heldBy(stays)];
    world.retire(gone);
    // It has ceased to listen when the other one is asked again and again.
    for (let inARow = 0; inARow < ENOUGH; ) {
      inARow = (await get(port)).body === stays.id ? inARow + 1 : 0;
    }
    for (const worker of [gone, stays]) await worker.tell('answer');
    t.same(await Promise.all(held.map(({ answer }) => answer)), [gone.id, stays.id]);
    t.same(await world.ends.next(), { code: 0, planned: true });
  });

  t.test('the whole ends when what is held was answered', async (t) => {
    const { answer } = await heldBy(stays);
    const closed = world.close();
    while ((await refusal({ port, host: HOST })) === null) {
      // it has not heard yet
    }
    await stays.tell('answer');
    t.equal(await answer, stays.id);
    await closed;
    t.match(await world.ends.next(), { code: 0 });
  });
}

for (const enter of [underCluster, underGyre]) {
  const kind = enter === underCluster ? 'node:cluster' : 'gyre';
  t.test(kind, async (t) => {
    const world = await enter(t);
    const workers = [await world.workers.next(), await world.workers.next()];

    t.test('it tells who listens where', async (t) => {
      t.equal(await world.ports.next(), await world.ports.next(), 'the port of both');
      const port = freePort();
      await workers[1]?.tell('listen', 'told', { port, host: HOST });
      t.equal(await world.ports.next(), port);
      await workers[1]?.tell('close', 'told');
    });
    t.test('listening', (t) => listens(t, workers));
    t.test('dying', (t) => deaths(t, world, workers));
    t.test('what is different', (t) => differences(t, world, workers));
    t.test('ending', (t) => ends(t, world, workers));
  });
}
