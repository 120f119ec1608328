import t from 'tap';
import type { Capabilities } from '../../src/runtime/capabilities.js';
import { type Machine, planWorkers } from '../../src/runtime/plan.js';

const yes = { available: true };
const ALL: Capabilities = { native: yes, pin: yes, reusePort: yes, counters: yes, move: yes };
const without = (...names: (keyof Capabilities)[]): Capabilities => ({
  ...ALL,
  ...Object.fromEntries(names.map((name) => [name, { available: false, reason: 'a test' }])),
});
const machine = (changes: Partial<Machine> = {}): Machine => ({
  capabilities: ALL,
  inherited: [0, 1, 2, 3],
  parallelism: 4,
  quotaCpus: Number.POSITIVE_INFINITY,
  ...changes,
});

t.test('auto is one worker for each CPU of the inherited mask, each on its own', async (t) => {
  t.same(planWorkers({ workers: 'auto', pin: 'soft' }, machine()), [0, 1, 2, 3]);
  t.same(planWorkers({ workers: 'auto', pin: 'hard' }, machine({ inherited: [5, 9] })), [5, 9]);
});

t.test('auto is no more than the CPU quota pays for, and never less than one', async (t) => {
  const plan = (quotaCpus: number) =>
    planWorkers({ workers: 'auto', pin: 'soft' }, machine({ quotaCpus })).length;
  t.same([0.1, 0.99, 1, 1.5, 2, 3.9, 4, 100].map(plan), [1, 1, 1, 1, 2, 3, 4, 4]);
});

t.test('with more workers than CPUs soft pins share, and hard pins are an error', async (t) => {
  t.same(planWorkers({ workers: 6, pin: 'soft' }, machine()), [0, 1, 2, 3, 0, 1]);
  t.throws(() => planWorkers({ workers: 5, pin: 'hard' }, machine()), { code: 'ERR_GYRE_CPUS' });
});

t.test('off pins nobody', async (t) => {
  t.same(planWorkers({ workers: 3, pin: 'off' }, machine()), [null, null, null]);
});

t.test('a list says where, and with auto how many', async (t) => {
  t.same(planWorkers({ workers: 'auto', pin: [3, 1] }, machine()), [3, 1]);
  t.same(planWorkers({ workers: 1, pin: [3, 1] }, machine()), [3]);
  t.throws(() => planWorkers({ workers: 'auto', pin: [3, 7] }, machine()), {
    code: 'ERR_GYRE_CPUS',
  });
});

t.test('the quota limits auto only: who counts or lists has decided', async (t) => {
  const poor = machine({ quotaCpus: 0.5 });
  t.same(planWorkers({ workers: 3, pin: 'soft' }, poor), [0, 1, 2]);
  t.same(planWorkers({ workers: 'auto', pin: [3, 1] }, poor), [3, 1]);
});

t.test('hard takes every CPU once, and not one more', async (t) => {
  t.same(planWorkers({ workers: 4, pin: 'hard' }, machine()), [0, 1, 2, 3]);
  const one = machine({ inherited: [7] });
  t.same(planWorkers({ workers: 'auto', pin: 'hard' }, one), [7]);
  t.throws(() => planWorkers({ workers: 2, pin: 'hard' }, one), { code: 'ERR_GYRE_CPUS' });
});

t.test('where threads cannot be pinned, soft does without and hard is an error', async (t) => {
  const unpinnable = machine({ capabilities: without('pin'), inherited: null });
  t.same(planWorkers({ workers: 'auto', pin: 'soft' }, unpinnable), [null, null, null, null]);
  t.same(planWorkers({ workers: 6, pin: 'soft' }, unpinnable), new Array(6).fill(null));
  for (const pin of ['hard', [0]] as const) {
    t.throws(() => planWorkers({ workers: 'auto', pin }, unpinnable), {
      code: 'ERR_GYRE_CAPABILITY',
    });
  }
});

t.test('without the helper there is one worker, and more are an error', async (t) => {
  const bare = machine({ capabilities: without('native', 'pin'), inherited: null });
  t.same(planWorkers({ workers: 'auto', pin: 'soft' }, bare), [null]);
  t.same(planWorkers({ workers: 1, pin: 'soft' }, bare), [null]);
  t.throws(() => planWorkers({ workers: 2, pin: 'soft' }, bare), { code: 'ERR_GYRE_CAPABILITY' });
});

t.test('inline is one worker that is never pinned', async (t) => {
  t.same(planWorkers({ workers: 'inline', pin: 'soft' }, machine()), [null]);
});
