import t, { type Test } from 'tap';
import { autoWorkers, cpuQuota } from '../../src/runtime/machine.js';

const V2_MOUNT = '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
const V1_MOUNT = '31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n';
const PIDS_MOUNT = '32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n';

/** A file system root with the given cgroup membership, mounts and limits. */
function quotaOf(
  t: Test,
  cgroup: string,
  mountinfo: string,
  sys: Parameters<Test['testdir']>[0] = {},
): number {
  return cpuQuota(
    t.testdir({ proc: { self: { cgroup, mountinfo } }, sys: { fs: { cgroup: sys } } }),
  );
}

t.test('version 2: the smallest of its own limit and those above it', async (t) => {
  const limits = (own: string, parent: string) => ({
    a: { 'cpu.max': `${parent}\n`, b: { 'cpu.max': `${own}\n` } },
  });
  t.equal(quotaOf(t, '0::/a/b\n', V2_MOUNT, limits('150000 100000', 'max 100000')), 1.5);
  t.equal(quotaOf(t, '0::/a/b\n', V2_MOUNT, limits('400000 100000', '200000 100000')), 2);
  t.equal(quotaOf(t, '0::/a/b\n', V2_MOUNT, limits('max 100000', 'max 100000')), Infinity);
  t.equal(quotaOf(t, '0::/\n', V2_MOUNT, { 'cpu.max': '50000 100000\n' }), 0.5);
});

t.test('version 1: the same by its own files', async (t) => {
  const sys = {
    'cpu,cpuacct': {
      'cpu.cfs_quota_us': '-1\n',
      'cpu.cfs_period_us': '100000\n',
      docker: { 'cpu.cfs_quota_us': '250000\n', 'cpu.cfs_period_us': '100000\n' },
    },
  };
  const membership = '7:pids:/docker\n4:cpu,cpuacct:/docker\n';
  t.equal(quotaOf(t, membership, PIDS_MOUNT + V1_MOUNT, sys), 2.5);
  t.equal(quotaOf(t, '4:cpu,cpuacct:/\n', V1_MOUNT, sys), Infinity);
});

t.test('with both versions mounted the smaller limit counts', async (t) => {
  const sys = {
    'cpu.max': '300000 100000\n',
    'cpu,cpuacct': { 'cpu.cfs_quota_us': '200000\n', 'cpu.cfs_period_us': '100000\n' },
  };
  t.equal(quotaOf(t, '4:cpu,cpuacct:/\n0::/\n', V1_MOUNT + V2_MOUNT, sys), 2);
});

t.test('in a container the mount shows only the subtree of the group', async (t) => {
  const mount = '30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
  t.equal(quotaOf(t, '0::/docker/abc\n', mount, { 'cpu.max': '100000 100000\n' }), 1);
});

t.test('what is missing or makes no sense limits nothing', async (t) => {
  t.equal(cpuQuota(t.testdir({})), Infinity);
  t.equal(quotaOf(t, '', ''), Infinity);
  t.equal(quotaOf(t, '0::/gone\n', V2_MOUNT), Infinity);
  for (const garbage of ['', '\n', 'x y', '-5 100000', '100000 0', '0 100000', 'NaN NaN', '\0']) {
    t.equal(quotaOf(t, '0::/\n', V2_MOUNT, { 'cpu.max': garbage }), Infinity);
  }
  t.equal(quotaOf(t, 'garbage\n::::\n', 'garbage - \n- cgroup2\n'), Infinity);
});

t.test('the quota of this process can be read', async (t) => {
  t.ok(cpuQuota() > 0);
});

t.test('the number of workers is at least one and at most the CPUs', async (t) => {
  t.equal(autoWorkers(8, 2.9), 2);
  t.equal(autoWorkers(8, 0.2), 1);
  t.equal(autoWorkers(8, Infinity), 8);
});
