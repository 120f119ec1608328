/**
 * More workers and fewer, while clients keep their connections alive.
 */
import t from 'tap';
import { Host } from '../moving/host.js';
import { app } from '../support/app.js';
import { Lanes } from './lanes.js';

t.setTimeout(120_000); // of all tests in this file together

t.test('up and down under load, nobody loses a connection', async (t) => {
  const host = await Host.start(t, {
    ...{ entry: app('survivor.js'), workers: 1, maxWorkers: 4, spares: 0 },
  });
  const lanes = new Lanes(t, await host.facts(), 32, 1);
  for (const count of [4, 2, 3, 1, 4, 1]) {
    const { refused, workers } = await host.resize(count);
    t.equal(refused, null);
    t.same(
      workers.map(({ index, state }) => ({ index, state })),
      Array.from({ length: count }, (_, index) => ({ index, state: 'serving' })),
    );
    const { answers } = lanes;
    await host.factsWhen(() => lanes.answers > answers + 200 || lanes.lost.length > 0);
  }
  t.match((await host.resize(5)).refused, /^ERR_GYRE_OPTION_INVALID/);
  t.match((await host.resize(0)).refused, /^ERR_GYRE_OPTION_INVALID/);
  await lanes.stop();
  t.same(lanes.lost, []);
  await host.close(t);
});
