import { readFileSync } from 'node:fs';
import os from 'node:os';
import fc from 'fast-check';
import t from 'tap';
import { cpuTimes, idlest } from '../../src/scheduler/cpu-idle.js';

const text = (...lines: string[]) =>
  ['cpu  9 9 9 9 9 9 9 9 9 9', ...lines, 'intr 1 2 3'].join('\n');

t.test('idle and waiting for a disk are idle; guests are counted once', async (t) => {
  const times = cpuTimes(text('cpu0 10 1 5 80 4 0 2 3 7 1', 'cpu12 100 0 0 0 0 0 0 0 0 0'));
  t.same(
    [...times],
    [
      [0, { idle: 84, all: 105 }],
      [12, { idle: 0, all: 100 }],
    ],
  );
});

t.test('who was made nice may count as idle', async (t) => {
  const line = text('cpu0 10 7 5 80 4 0 2 3 7 1');
  t.same([...cpuTimes(line, true)], [[0, { idle: 91, all: 111 }]]);
  t.same([...cpuTimes(line, false)], [[0, { idle: 84, all: 111 }]]);
});

t.test('an old kernel has fewer columns', async (t) => {
  t.same([...cpuTimes(text('cpu3 1 2 3 4'))], [[3, { idle: 4, all: 10 }]]);
});

t.test('of several CPUs the idlest counts', async (t) => {
  const before = cpuTimes(text('cpu0 100 0 0 100', 'cpu1 100 0 0 100', 'cpu2 1 0 0 1'));
  const after = cpuTimes(text('cpu0 150 0 0 100', 'cpu1 110 0 0 130', 'cpu2 1 0 0 1'));
  t.equal(idlest(before, after, [0]), 0);
  t.equal(idlest(before, after, [0, 1]), 0.75);
  t.equal(idlest(before, after, [2]), null, 'no time has passed');
  t.equal(idlest(before, after, [7]), null, 'one that is not there');
  t.equal(idlest(before, after, [7, 0]), 0);
});

t.test('this system is understood', async (t) => {
  const times = cpuTimes(readFileSync('/proc/stat', 'utf8'));
  t.ok(times.size >= os.cpus().length);
  t.ok([...times.values()].every(({ idle, all }) => idle >= 0 && all >= idle && all > 0));
});

t.test('no text makes it throw, or tell of a share that is none', async () => {
  const line = fc.oneof(fc.string(), fc.stringMatching(/^cpu[0-9]{0,3}( [0-9]{0,30}){0,12}$/));
  const any = fc.array(line).map((lines) => lines.join('\n'));
  fc.assert(
    fc.property(any, any, (one, other) => {
      const [before, after] = [cpuTimes(one, true), cpuTimes(other, true)];
      const share = idlest(before, after, [...before.keys()]);
      return share === null || (share >= 0 && share <= 1);
    }),
  );
});
