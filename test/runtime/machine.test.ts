import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { autoWorkers, cpuQuota } from '../../src/runtime/machine.js';
import { app, CLI } from '../support/app.js';
import { Running } from '../support/running.js';

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
  const sys = { 'cpu.max': '300000 100000\n', own: { 'cpu.max': '200000 100000\n' } };
  t.equal(quotaOf(t, '0::/docker/abc\n', mount, sys), 3);
  t.equal(quotaOf(t, '0::/docker/abc/own\n', mount, sys), 2);
  t.equal(quotaOf(t, '0::/\n', mount, sys), 3, 'with a cgroup namespace of its own');
  t.equal(quotaOf(t, '0::/../elsewhere\n', mount, sys), 3, 'outside of what it can see');
  const other = { 'cpu.max': 'max', own: { 'cpu.max': '1 1' }, docker: { abcown: sys } };
  t.equal(quotaOf(t, '0::/docker/abcown\n', mount, other), 3, 'a name that only begins like it');

  const v1 = '31 23 0:27 /kubepods/pod1 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n';
  const own = { 'cpu.cfs_quota_us': '150000\n', 'cpu.cfs_period_us': '100000\n' };
  t.equal(quotaOf(t, '4:cpu:/kubepods/pod1\n', v1, { cpu: own }), 1.5);
});

t.test('a mount point may hold spaces, which the kernel escapes', async (t) => {
  const mount = '30 23 0:26 / /sys/fs/cgroup/a\\040b\\134c rw - cgroup2 cgroup2 rw\n';
  t.equal(quotaOf(t, '0::/\n', mount, { 'a b\\c': { 'cpu.max': '1 2' } }), 0.5);
});

t.test('a hybrid system has its limits in version 1 and a version 2 without any', async (t) => {
  const unified = '33 23 0:29 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n';
  const sys = {
    unified: { 'cgroup.procs': '', app: {} },
    'cpu,cpuacct': {
      app: { 'cpu.cfs_quota_us': '400000\n', 'cpu.cfs_period_us': '100000\n', deep: {} },
    },
  };
  const membership = '1:name=systemd:/\n4:cpu,cpuacct:/app/deep\n0::/app\n';
  t.equal(quotaOf(t, membership, unified + V1_MOUNT, sys), 4);
});

t.test('what is missing or makes no sense limits nothing', async (t) => {
  t.equal(cpuQuota(t.testdir({})), Infinity);
  t.equal(quotaOf(t, '', ''), Infinity);
  t.equal(quotaOf(t, '0::/gone\n', V2_MOUNT), Infinity);
  for (const garbage of ['', '\n', 'x y', '-5 100000', '100000 0', '0 100000', 'NaN NaN', '\0']) {
    t.equal(quotaOf(t, '0::/\n', V2_MOUNT, { 'cpu.max': garbage }), Infinity);
  }
  t.equal(quotaOf(t, 'garbage\n::::\n', 'garbage - \n- cgroup2\n'), Infinity);
  for (const quota of ['', '-1', 'max', '0', 'x']) {
    const sys = { 'cpu,cpuacct': { 'cpu.cfs_quota_us': quota, 'cpu.cfs_period_us': '100000' } };
    t.equal(quotaOf(t, '4:cpu,cpuacct:/\n', V1_MOUNT, sys), Infinity, JSON.stringify(quota));
  }
  const noPeriod = { 'cpu,cpuacct': { 'cpu.cfs_quota_us': '100000' } };
  t.equal(quotaOf(t, '4:cpu,cpuacct:/\n', V1_MOUNT, noPeriod), Infinity);
  const unreadable = { 'cpu.max': { 'is a': 'directory' } };
  t.equal(quotaOf(t, '0::/\n', V2_MOUNT, unreadable), Infinity);
});

t.test('the quota of this process can be read', async (t) => {
  t.ok(cpuQuota() > 0);
});

/** A new group with a quota of one CPU, or why there cannot be one. */
function groupOfOneCpu(): { dir: string; skip: string | false } {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const v1 = mounts.find((line) => / - cgroup \S+ (\S+,)?cpu(,|$)/.test(line));
  const v2 = mounts.find((line) => / - cgroup2 /.test(line));
  const at = (line: string | undefined) => line?.split(' ')[4] ?? '';
  const enabled = path.join(at(v2), 'cgroup.subtree_control');
  const has2 = v2 && existsSync(enabled) && /\bcpu\b/.test(readFileSync(enabled, 'utf8'));
  if (!v1 && !has2) return { dir: '', skip: 'no cgroup mount has the cpu controller' };
  const dir = path.join(at(v1 ?? v2), `gyre-test-${process.pid}`);
  try {
    mkdirSync(dir);
    if (v1) {
      writeFileSync(path.join(dir, 'cpu.cfs_period_us'), '50000');
      writeFileSync(path.join(dir, 'cpu.cfs_quota_us'), '50000');
    } else {
      writeFileSync(path.join(dir, 'cpu.max'), '50000 50000');
    }
    return { dir, skip: false };
  } catch (error) {
    return { dir, skip: `no cgroup can be made: ${(error as Error).message}` };
  }
}

const { dir: group, skip } = groupOfOneCpu();

t.test('a process in a group with a quota of one CPU has one worker', { skip }, async (t) => {
  const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
  const command = [process.execPath, CLI, 'run', app('http.js')];
  const server = new Running(t, 'sh', ['-c', script, group, ...command]);
  t.match(await server.says(/gyre: (\d+) workers?,/), ['gyre: 1 worker,', '1']);
  server.child.kill('SIGTERM');
  t.same(await server.ended(), { code: 0, signal: null });
});

t.teardown(() => {
  if (existsSync(group)) rmdirSync(group);
});

t.test('the number of workers is at least one and at most the CPUs', async (t) => {
  t.equal(autoWorkers(8, 2.9), 2);
  t.equal(autoWorkers(8, 0.2), 1);
  t.equal(autoWorkers(8, Infinity), 8);
});
