/**
 * CPU profiles of every thread at once, and heap snapshots: over HTTP and by `gyre profile` and
 * `gyre heap`.
 */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { Runtime } from '../../src/index.js';
import type { ProfileNode, Trace } from '../../src/runtime/profile-trace.js';
import { KeptAlive, keepAlive } from '../moving/kept-alive.js';
import { app, getFromEach, HOST, portOf, start } from '../support/app.js';
import { folder } from '../support/folder.js';
import { gyre } from '../support/running.js';
import { ask, EventStream, statusOf, whereOf } from './asking.js';

t.setTimeout(60_000);

const HOT = ['burnInFirst', 'burnInSecond'];

function hot(t: Test): Promise<Runtime> {
  return start(t, app('hot.mjs'), {
    ...{ workers: 2, spares: 0, admin: '127.0.0.1:0', name: 'shop', scheduler: { move: false } },
  });
}

/** Keeps both workers busy until the test ends, 8 ms for each request. */
async function load(t: Test, runtime: Runtime): Promise<void> {
  const port = portOf(runtime);
  await getFromEach(port, 2, ({ body }) => Number(body[0]));
  let more = true;
  const served = new Map<string, KeptAlive>();
  for (let tries = 0; served.size < 2 && tries < 100; tries++) {
    const connection = keepAlive(t, { host: HOST, port });
    const { body } = await connection.ask('/');
    served.set(String(body)[0] ?? '', connection);
  }
  t.equal(served.size, 2, 'there is a connection to each worker');
  t.teardown(() => {
    more = false;
  });
  for (const connection of served.values()) {
    void (async () => {
      while (more) await connection.ask('/burn?ms=8').catch(() => {});
    })();
  }
}

interface ChunkProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
}

interface Track {
  readonly name: string;
  /** Share of the samples that were in a function, of those in which anything was executed. */
  share(functionName: string): number;
  readonly samples: number;
}

function tracksOf({ traceEvents }: Trace): Track[] {
  return traceEvents
    .filter(({ name }) => name === 'thread_name')
    .map(({ tid, args }) => {
      const chunk = traceEvents.find((each) => each.tid === tid && each.name === 'ProfileChunk');
      if (chunk === undefined) throw new Error(`${args.name} has no samples`);
      const { cpuProfile } = chunk.args.data as { cpuProfile: ChunkProfile };
      const { nodes, samples } = cpuProfile;
      const names = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
      const busy = samples
        .map((id) => names.get(id))
        .filter((name) => name !== '(idle)' && name !== '(program)');
      return {
        ...{ name: String(args.name), samples: samples.length },
        share: (wanted) => busy.filter((name) => name === wanted).length / (busy.length || 1),
      };
    });
}

t.test('two busy workers have two tracks, each with its own hot function', async (t) => {
  const runtime = await hot(t);
  await load(t, runtime);
  const file = path.join(folder(t), 'profile.json');
  const { port } = runtime.admin.endpoint as { port: number };
  const command = gyre(t, ['profile', `${port}`, '--seconds', '1', '--out', file]);
  t.equal((await command.ended()).code, 0, command.stderr);
  t.equal(command.stdout, `${file}\n`, 'it says where it is');
  const tracks = tracksOf(JSON.parse(readFileSync(file, 'utf8')) as Trace);
  t.ok(tracks.length >= 3, 'and main has one');
  t.equal(tracks[0]?.name, 'main');
  HOT.forEach((name, index) => {
    const track = tracks.find((each) => each.name.startsWith(`worker ${index}`));
    t.ok((track?.samples ?? 0) > 100, `${track?.samples} samples of worker ${index}`);
    t.ok((track?.share(name) ?? 0) > 0.5, `${track?.share(name)} in ${name}`);
    for (const other of HOT) if (other !== name) t.equal(track?.share(other), 0);
  });
});

t.test('also of a worker that does not return to its loop', async (t) => {
  const runtime = await hot(t);
  const port = portOf(runtime);
  const connection = new KeptAlive({ host: HOST, port });
  const answered = connection.ask('/burn?ms=1500').then(() => connection.close());
  const where = whereOf(runtime.admin.endpoint);
  const { status, body } = await ask(where, '/profile', {
    method: 'POST',
    body: '{"seconds":0.5}',
  });
  t.equal(status, 200);
  const tracks = tracksOf(JSON.parse(body) as Trace);
  // Of code that was optimized before, V8 may not know what was inlined: then it is the handler.
  const seen = [...HOT, ''];
  t.ok(
    tracks.some((track) => seen.some((name) => track.share(name) > 0.9)),
    JSON.stringify(tracks),
  );
  await answered;
});

t.test('what cannot be asked for is refused, and nothing is left', async (t) => {
  const runtime = await hot(t);
  const where = whereOf(runtime.admin.endpoint);
  const post = (target: string, body: string) => ask(where, target, { method: 'POST', body });
  for (const body of ['{"seconds":0}', '{"seconds":61}', '{"seconds":"1"}', '[]', '{', '{"a":1}']) {
    t.match(await post('/profile', body), { status: 400, body: /BAD_REQUEST/ }, body);
  }
  for (const body of ['', '{"worker":2}', '{"worker":"0"}', '{"worker":-1}']) {
    t.match(await post('/heap', body), { status: 400 }, body);
  }
  t.equal((await ask(where, '/profile')).status, 405, 'it is no GET');
  const under = post('/profile', '{"seconds":0.3}');
  t.equal((await post('/profile', '{"seconds":0.3}')).status, 409, 'one at a time');
  t.equal((await under).status, 200);
  let long: http.ClientRequest | null = null;
  let busy = await post('/profile', '{"seconds":0.01}');
  for (let tries = 0; busy.status === 200 && tries < 100; tries++) {
    if (long === null) {
      long = http.request({ ...where, path: '/profile', method: 'POST', agent: false });
      long.on('error', () => {}).end('{"seconds":60}');
      // It may itself have come while the one before was under way.
      long.on('response', (response) => {
        response.resume();
        long = null;
      });
      await once(long, 'finish');
    }
    busy = await post('/profile', '{"seconds":0.01}');
  }
  t.equal(busy.status, 409);
  (long as http.ClientRequest | null)?.destroy();
  for (let tries = 0; busy.status === 409 && tries < 500; tries++) {
    busy = await post('/profile', '{"seconds":0.01}');
  }
  t.equal(busy.status, 200, 'a client that has gone ends it');
});

t.test('the heap of one worker', async (t) => {
  const runtime = await hot(t);
  const file = path.join(folder(t), 'one.heapsnapshot');
  const { port } = runtime.admin.endpoint as { port: number };
  const command = gyre(t, ['heap', `${port}`, '--worker', '1', '--out', file]);
  t.equal((await command.ended()).code, 0, command.stderr);
  t.equal(command.stdout, `${file}\n`);
  const { snapshot, strings } = JSON.parse(readFileSync(file, 'utf8')) as {
    snapshot: { node_count: number };
    strings: string[];
  };
  t.ok(snapshot.node_count > 10_000);
  t.ok(strings.includes('OfSecond'));
  t.equal((await statusOf(runtime)).workers.length, 2, 'and it goes on');
  const wrong = gyre(t, ['heap', `${port}`, '--worker', '9', '--out', `${file}.none`]);
  t.equal((await wrong.ended()).code, 1);
  t.match(wrong.stderr, 'worker must be the number of one that runs');
  t.notOk(existsSync(`${file}.none`));
});

t.test('a reload under a profile takes nothing away', async (t) => {
  const runtime = await hot(t);
  const events = await EventStream.open(whereOf(runtime.admin.endpoint));
  const where = whereOf(runtime.admin.endpoint);
  const under = ask(where, '/profile', { method: 'POST', body: '{"seconds":1}' });
  await runtime.reload();
  await events.has('reload');
  const { status, body } = await under;
  t.equal(status, 200);
  const names = tracksOf(JSON.parse(body) as Trace).map(({ name }) => name);
  t.ok(names.includes('main'), 'those that have ended are left out');
  events.close();
  t.equal((await ask(where, '/readyz')).status, 200);
});
