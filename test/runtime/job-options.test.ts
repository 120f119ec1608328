/** The options `jobs` and `jobPool`: what they come to on a given machine. */
import path from 'node:path';
import t from 'tap';
import { resolveJobPool, resolveJobs } from '../../src/runtime/job-options.js';
import { type Machine, planJobs } from '../../src/runtime/plan.js';
import { machine as described } from '../support/described.js';

const machine = (changes: Partial<Machine> = {}): Omit<Machine, 'capabilities'> => ({
  inherited: [0, 1, 2, 3],
  parallelism: 4,
  quotaCpus: Number.POSITIVE_INFINITY,
  topology: null,
  ...changes,
});
const asked = (jobPool = {}) => ({
  jobPool: resolveJobPool(jobPool),
  placement: 'divergent' as const,
});

t.test('names are files, and URLs may name an export', async (t) => {
  t.same(resolveJobs({ a: 'a.js', b: 'file:///b.mjs#sum', c: new URL('file:///c%20d.js') }), {
    a: { file: path.resolve('a.js'), name: 'default' },
    b: { file: '/b.mjs', name: 'sum' },
    c: { file: '/c d.js', name: 'default' },
  });
});

t.test('one thread for each CPU that no worker is bound to', async (t) => {
  t.same(planJobs(asked(), machine(), [2]), { threads: 3, cpus: [0, 1, 3], niceIncrement: 0 });
  t.same(planJobs(asked(), machine(), [0, 1, 2]), { threads: 1, cpus: [3], niceIncrement: 0 });
  t.same(planJobs(asked({ threads: 5 }), machine(), [0, 2]), {
    ...{ threads: 5, cpus: [1, 3], niceIncrement: 0 },
  });
});

t.test('where none is left they are bound to none, and nicer', async (t) => {
  const all = [0, 1, 2, 3];
  t.same(planJobs(asked(), machine(), all), { threads: 4, cpus: null, niceIncrement: 10 });
  t.same(planJobs(asked({ threads: 1, niceIncrement: 19 }), machine(), [...all, 0]), {
    ...{ threads: 1, cpus: null, niceIncrement: 19 },
  });
});

t.test('no more than the quota pays for', async (t) => {
  t.equal(planJobs(asked(), machine({ quotaCpus: 3 }), [0]).threads, 2);
  t.equal(planJobs(asked(), machine({ quotaCpus: 1 }), [0]).threads, 1);
  t.equal(planJobs(asked(), machine({ quotaCpus: 2.5 }), [0, 1, 2, 3]).threads, 2);
});

t.test('workers that are not bound leave CPUs by number', async (t) => {
  t.same(planJobs(asked(), machine(), [null]), { threads: 3, cpus: null, niceIncrement: 0 });
  const unknown = machine({ inherited: null, parallelism: 2 });
  t.same(planJobs(asked(), unknown, [null, null]), { threads: 2, cpus: null, niceIncrement: 10 });
});

t.test('they spread over what is left, as workers do', async (t) => {
  const topology = described('wopr');
  const inherited = topology.cpus.map(({ id }) => id);
  const packageOf = (id: number | undefined) => topology.cpus.find((cpu) => cpu.id === id)?.package;
  const [first] = inherited as [number];
  const { cpus } = planJobs(asked(), machine({ inherited, topology }), [first]);
  t.equal(cpus?.length, inherited.length - 1);
  const packages = new Set([first, ...(cpus ?? []).slice(0, 3)].map(packageOf));
  t.equal(packages.size, topology.packages.length, 'each on a package of its own');
});
