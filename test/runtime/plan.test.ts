import t from 'tap';
import type { Capabilities } from '../../src/runtime/capabilities.js';
import { resolveJobPool } from '../../src/runtime/job-options.js';
import { type Machine, planJobs, planSpares, planWorkers } from '../../src/runtime/plan.js';
import { resolveOptions } from '../../src/runtime/resolved-options.js';
import { machine as described, from } from '../support/described.js';

const yes = { available: true };
const ALL: Capabilities = {
  ...{ native: yes, pin: yes, widen: yes, reusePort: yes, counters: yes, move: yes },
};
const without = (...names: (keyof Capabilities)[]): Capabilities => ({
  ...ALL,
  ...Object.fromEntries(names.map((name) => [name, { available: false, reason: 'a test' }])),
});
const machine = (changes: Partial<Machine> = {}): Machine => ({
  capabilities: ALL,
  inherited: [0, 1, 2, 3],
  parallelism: 4,
  quotaCpus: Number.POSITIVE_INFINITY,
  topology: null,
  ...changes,
});
/** Options as far as they matter here. */
const asked = (
  workers: number | 'auto' | 'inline',
  pin: 'soft' | 'hard' | 'off' | readonly number[],
) => ({ workers, pin, placement: 'divergent' as const });

t.test('auto is one worker for each CPU of the inherited mask, each on its own', async (t) => {
  t.same(planWorkers(asked('auto', 'soft'), machine()), [0, 1, 2, 3]);
  t.same(planWorkers(asked('auto', 'hard'), machine({ inherited: [5, 9] })), [5, 9]);
});

t.test('auto is no more than the CPU quota pays for, and never less than one', async (t) => {
  const plan = (quotaCpus: number) =>
    planWorkers(asked('auto', 'soft'), machine({ quotaCpus })).length;
  t.same([0.1, 0.99, 1, 1.5, 2, 3.9, 4, 100].map(plan), [1, 1, 1, 1, 2, 3, 4, 4]);
});

t.test('with more workers than CPUs soft pins share, and hard pins are an error', async (t) => {
  t.same(planWorkers(asked(6, 'soft'), machine()), [0, 1, 2, 3, 0, 1]);
  t.throws(() => planWorkers(asked(5, 'hard'), machine()), { code: 'ERR_GYRE_CPUS' });
});

t.test('off pins nobody', async (t) => {
  t.same(planWorkers(asked(3, 'off'), machine()), [null, null, null]);
});

t.test('a list says where, and with auto how many', async (t) => {
  t.same(planWorkers(asked('auto', [3, 1]), machine()), [3, 1]);
  t.same(planWorkers(asked(1, [3, 1]), machine()), [3]);
  t.throws(() => planWorkers(asked('auto', [3, 7]), machine()), {
    code: 'ERR_GYRE_CPUS',
  });
});

t.test('the quota limits auto only: who counts or lists has decided', async (t) => {
  const poor = machine({ quotaCpus: 0.5 });
  t.same(planWorkers(asked(3, 'soft'), poor), [0, 1, 2]);
  t.same(planWorkers(asked('auto', [3, 1]), poor), [3, 1]);
});

t.test('hard takes every CPU once, and not one more', async (t) => {
  t.same(planWorkers(asked(4, 'hard'), machine()), [0, 1, 2, 3]);
  const one = machine({ inherited: [7] });
  t.same(planWorkers(asked('auto', 'hard'), one), [7]);
  t.throws(() => planWorkers(asked(2, 'hard'), one), { code: 'ERR_GYRE_CPUS' });
});

t.test('where threads cannot be pinned, soft does without and hard is an error', async (t) => {
  const unpinnable = machine({ capabilities: without('pin'), inherited: null });
  t.same(planWorkers(asked('auto', 'soft'), unpinnable), [null, null, null, null]);
  t.same(planWorkers(asked(6, 'soft'), unpinnable), new Array(6).fill(null));
  for (const pin of ['hard', [0]] as const) {
    t.throws(() => planWorkers(asked('auto', pin), unpinnable), {
      code: 'ERR_GYRE_CAPABILITY',
    });
  }
});

t.test('without the helper there is one worker, and more are an error', async (t) => {
  const bare = machine({ capabilities: without('native', 'pin'), inherited: null });
  t.same(planWorkers(asked('auto', 'soft'), bare), [null]);
  t.same(planWorkers(asked(1, 'soft'), bare), [null]);
  t.throws(() => planWorkers(asked(2, 'soft'), bare), { code: 'ERR_GYRE_CAPABILITY' });
});

t.test('inline is one worker that is never pinned', async (t) => {
  t.same(planWorkers(asked('inline', 'soft'), machine()), [null]);
});

t.test('with fewer workers than CPUs they spread over the machine, or huddle', async (t) => {
  const topology = described('dumbledore');
  const inherited = from(0, 16);
  // Packages in turn, each time another core; or both threads of a core, and then the next.
  t.same(planWorkers(asked(4, 'soft'), machine({ inherited, topology })), [0, 4, 1, 5]);
  const collaborating = { ...asked(4, 'hard'), placement: 'collaborative' as const };
  t.same(planWorkers(collaborating, machine({ inherited, topology })), [0, 8, 1, 9]);
  const quotaCpus = 2.5;
  t.same(planWorkers(asked('auto', 'soft'), machine({ inherited, topology, quotaCpus })), [0, 4]);
  t.same(planWorkers(asked(3, [9, 8, 1]), machine({ inherited, topology })), [9, 8, 1]);
});

t.test('CPUs that sysfs does not describe come last', async (t) => {
  const topology = described('recombinator');
  t.same(
    planWorkers(asked(4, 'soft'), machine({ inherited: [0, 1, 6, 7], topology })),
    [0, 1, 6, 7],
  );
  t.same(planWorkers(asked(2, 'soft'), machine({ inherited: [1, 6], topology })), [1, 6]);
});

t.test(
  'spares are for when connections can move, and auto is fewer for more workers',
  async (t) => {
    const auto = resolveOptions({ entry: 'a.js' });
    const counts = [1, 2, 4, 5, 8, 9, 64].map((workers) => planSpares(auto, ALL, workers));
    t.same(counts, [0, 4, 4, 2, 2, 1, 1]);
    t.equal(planSpares(auto, ALL, 512), 0, 'there is no room for more');
    const some = resolveOptions({ entry: 'a.js', spares: 3 });
    t.equal(planSpares(some, ALL, 1), 3, 'who counts decides');
    t.equal(planSpares(some, ALL, 511), 2);
    t.equal(planSpares(some, { ...ALL, move: { available: false, reason: '' } }, 2), 0);
    t.equal(planSpares(resolveOptions({ entry: 'a.js', scheduler: { move: false } }), ALL, 2), 0);
    t.equal(planSpares(resolveOptions({ entry: 'a.js', workers: 'inline' }), ALL, 1), 0);
  },
);

const askedJobs = (jobPool = {}) => ({
  jobPool: resolveJobPool(jobPool),
  placement: 'divergent' as const,
});

t.test('jobs get one thread for each CPU that no worker is bound to', async (t) => {
  t.same(planJobs(askedJobs(), machine(), [2]), { threads: 3, cpus: [0, 1, 3], niceIncrement: 0 });
  t.same(planJobs(askedJobs(), machine(), [0, 1, 2]), { threads: 1, cpus: [3], niceIncrement: 0 });
  t.same(planJobs(askedJobs({ threads: 5 }), machine(), [0, 2]), {
    ...{ threads: 5, cpus: [1, 3], niceIncrement: 0 },
  });
});

t.test('where no CPU is left for jobs they are bound to none, and nicer', async (t) => {
  const all = [0, 1, 2, 3];
  t.same(planJobs(askedJobs(), machine(), all), { threads: 4, cpus: null, niceIncrement: 10 });
  t.same(planJobs(askedJobs({ threads: 1, niceIncrement: 19 }), machine(), [...all, 0]), {
    ...{ threads: 1, cpus: null, niceIncrement: 19 },
  });
});

t.test('jobs get no more threads than the quota pays for', async (t) => {
  t.equal(planJobs(askedJobs(), machine({ quotaCpus: 3 }), [0]).threads, 2);
  t.equal(planJobs(askedJobs(), machine({ quotaCpus: 1 }), [0]).threads, 1);
  t.equal(planJobs(askedJobs(), machine({ quotaCpus: 2.5 }), [0, 1, 2, 3]).threads, 2);
});

t.test('workers that are not bound leave CPUs for jobs by number', async (t) => {
  t.same(planJobs(askedJobs(), machine(), [null]), { threads: 3, cpus: null, niceIncrement: 0 });
  const unknown = machine({ inherited: null, parallelism: 2 });
  t.same(planJobs(askedJobs(), unknown, [null, null]), {
    threads: 2,
    cpus: null,
    niceIncrement: 10,
  });
});

t.test('jobs spread over what is left, as workers do', async (t) => {
  const topology = described('wopr');
  const inherited = topology.cpus.map(({ id }) => id);
  const packageOf = (id: number | undefined) => topology.cpus.find((cpu) => cpu.id === id)?.package;
  const [first] = inherited as [number];
  const { cpus } = planJobs(askedJobs(), machine({ inherited, topology }), [first]);
  t.equal(cpus?.length, inherited.length - 1);
  const packages = new Set([first, ...(cpus ?? []).slice(0, 3)].map(packageOf));
  t.equal(packages.size, topology.packages.length, 'each on a package of its own');
});
