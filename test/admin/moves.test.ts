/**
 * Moves as an operator sees them: counted for each pair of workers, by ring in the metrics, and one by one
 * with `scheduler.trace`.
 */
import t, { type Test } from 'tap';
import type { Runtime, WorkerMove } from '../../src/index.js';
import { app, portOf, start } from '../support/app.js';
import { gyre } from '../support/running.js';
import { ask, EventStream, statusOf, sumOf, valuesIn, whereOf } from './asking.js';
import { stallUntil } from './blamed.js';

t.setTimeout(60_000);

function blamed(t: Test, trace: boolean): Promise<Runtime> {
  const options = { workers: 2, spares: 0, admin: '127.0.0.1:0', scheduler: { trace } };
  return start(t, app('blamed.js'), options);
}

t.test('each move is explained, and its connections are counted where they went', async (t) => {
  const runtime = await blamed(t, true);
  const where = whereOf(runtime.admin.endpoint);
  const stream = await EventStream.open(where);
  const moves: WorkerMove[] = [];
  runtime.on('move', (move) => moves.push(move));
  await stallUntil(t, portOf(runtime), () => moves.some(({ reason }) => reason === 'rescue'));
  const rescue = moves.find(({ reason }) => reason === 'rescue');
  t.match(rescue, { ring: 1, candidates: 1, best: 1, pauseUs: Number });
  t.ok(rescue !== undefined && rescue.pauseUs > 0 && rescue.from !== rescue.to);
  for (const { events, moved, outstanding } of moves) {
    t.ok(moved >= 1 && moved <= Math.floor(events / 2), `${moved} of ${events}`);
    t.ok(outstanding <= events - moved, 'nobody is worse off than the giver');
  }
  t.ok(await stream.has('move'));
  stream.close();
  const status = await statusOf(runtime);
  const moved = status.moves.reduce((sum, { given, rescued }) => sum + given + rescued, 0);
  t.equal(moved, sumOf(status, 'given') + sumOf(status, 'rescued'), 'pairs and workers agree');
  t.equal(
    status.moves.reduce((sum, { rescued }) => sum + rescued, 0),
    sumOf(status, 'rescued'),
  );
  const { body } = await ask(where, '/metrics');
  const [byWorkers = 0] = valuesIn(body, 'gyre_moved_total{ring="1",by="worker"}');
  const [byGovernor = 0] = valuesIn(body, 'gyre_moved_total{ring="1",by="governor"}');
  t.ok(byGovernor > 0);
  t.ok(byWorkers + byGovernor >= moved);
});

t.test('without trace nobody hears of them', async (t) => {
  const runtime = await blamed(t, false);
  runtime.on('move', () => t.fail('it was not asked for'));
  await stallUntil(t, portOf(runtime), () => runtime.snapshot().moves.length > 0);
  t.ok(runtime.snapshot().moves.length > 0);
});

t.test('gyre run --trace-moves says it in a line each', async (t) => {
  const args = ['run', app('blamed.js'), '--workers', '2', '--trace-moves'];
  const command = gyre(t, args, { PORT: '0' });
  const [, port = ''] = await command.says(/listening on \S*:(\d+)/);
  await stallUntil(t, Number(port), () => command.stderr.includes('taken from worker'));
  t.match(
    command.stderr,
    /taken from worker \d \d+ of \d+ events, standing still, to worker \d: ring 1, 0 outstanding there, last given \d+ rounds ago, 1 best of 1 fit, paused for \d+ µs/,
  );
  command.child.kill('SIGTERM');
  t.equal((await command.ended()).code, 0);
});
