import { spawnSync } from 'node:child_process';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { arrivals } from '../../bench/sim/arrivals.js';
import { Clock } from '../../bench/sim/clock.js';
import { Machine } from '../../bench/sim/machine.js';
import { POLICIES, type PolicyName } from '../../bench/sim/policy.js';
import { DEFAULTS, type Parameters, simulate } from '../../bench/sim/simulation.js';
import { STUDIES } from '../../bench/sim/studies.js';
import { regular } from '../../bench/sim/topology.js';
import { ROOT } from '../support/app.js';

const NAMES = Object.keys(POLICIES) as PolicyName[];

t.test('what is due happens in the order of its time, and then of asking', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), (delays) => {
      const clock = new Clock();
      const happened: [ms: number, order: number][] = [];
      delays.forEach((ms, order) => {
        clock.after(ms, () => happened.push([clock.nowMs, order]));
      });
      clock.run(() => false);
      const expected = delays.map((ms, order) => [ms, order] as [number, number]);
      expected.sort(([a, i], [b, j]) => a - b || i - j);
      return JSON.stringify(happened) === JSON.stringify(expected);
    }),
  );
  t.pass();
});

/** When each of some bursts ends: [CPU or null, start, length] of one thread each. */
function endsOf(cpus: number, bursts: readonly (readonly [number | null, number, number])[]) {
  const clock = new Clock();
  const machine = new Machine(clock, cpus, { sliceMs: 3, granularityMs: 1 });
  const ends: number[] = [];
  bursts.forEach(([cpu, startMs, ms], at) => {
    const thread = machine.thread(cpu);
    clock.after(startMs, () => {
      machine.run(thread, ms, () => {
        ends[at] = Math.round(clock.nowMs * 1000) / 1000;
      });
    });
  });
  clock.run(() => false);
  return ends;
}

t.test('threads that are bound to one CPU take turns of a slice', async (t) => {
  t.same(endsOf(1, [[0, 0, 9]]), [9], 'alone');
  const [first, second] = endsOf(1, [
    [0, 0, 9],
    [0, 0, 9],
  ]) as [number, number];
  t.ok(first >= 15 && first < 18, `neither ends before the other has had its turns: ${first}`);
  t.equal(second, 18, 'and no time is lost');
  t.same(
    endsOf(2, [
      [0, 0, 9],
      [1, 0, 9],
    ]),
    [9, 9],
  );
});

t.test('a thread that wakes preempts one that has run for long', async (t) => {
  t.same(
    endsOf(1, [
      [0, 0, 50],
      [0, 20, 0.5],
    ]),
    [50.5, 20.5],
  );
});

t.test('a thread that is not bound runs where there is room', async (t) => {
  t.same(
    endsOf(2, [
      [0, 0, 10],
      [null, 1, 5],
    ]),
    [10, 6],
    'on the CPU that is free',
  );
  const [, second, third] = endsOf(2, [
    [0, 0, 40],
    [1, 0, 4],
    [null, 1, 20],
  ]) as [number, number, number];
  t.ok(second <= 8, `${second}`);
  t.ok(third <= 26, `and is pulled to the one that becomes free: ${third}`);
});

t.test('no time is lost on one CPU, whoever shares it', async () => {
  const burst = fc.tuple(
    fc.constantFrom<number | null>(0, null),
    fc.constant(0),
    fc.integer({ min: 1, max: 30 }),
  );
  fc.assert(
    fc.property(fc.array(burst, { minLength: 1, maxLength: 8 }), (bursts) => {
      const work = bursts.reduce((sum, [, , ms]) => sum + ms, 0);
      return Math.abs(Math.max(...endsOf(1, bursts)) - work) < 0.01;
    }),
  );
});

/** One fast kind of request, and nothing that costs anything but serving it. */
const PURE: Parameters = {
  ...DEFAULTS,
  ...{ policy: 'one-queue', slowPerSecond: 0, connections: 20_000 },
  ...{ pollMs: 0, adoptMs: 0, lookMs: 0, pauseMs: 0, takeMs: 0, giveMs: 0 },
};

function isSame(a: Float64Array, b: Float64Array): boolean {
  return a.length === b.length && a.every((ms, at) => ms === b[at]);
}

/** Mean time in a queue with n exponential servers: Erlang's second formula. */
function erlangMs(servers: number, perMs: number, serviceMs: number): number {
  const offered = perMs * serviceMs;
  let blocked = 1;
  for (let n = 1; n <= servers; n++) blocked = (offered * blocked) / (n + offered * blocked);
  const waits = blocked / (1 - (offered / servers) * (1 - blocked));
  return serviceMs + (waits * serviceMs) / (servers - offered);
}

function isWithin(
  t: { ok(value: boolean, name: string): boolean },
  value: number,
  wanted: number,
  tolerance: number,
  name: string,
) {
  t.ok(Math.abs(value / wanted - 1) < tolerance, `${name}: ${value}, and not ${wanted}`);
}

t.test('mean latencies are those of queueing theory', async (t) => {
  for (const servers of [1, 2, 8]) {
    for (const utilization of [0.3, 0.7]) {
      const perMs = (utilization * servers) / PURE.fastMs;
      const { fast } = simulate({
        ...PURE,
        ...{ cpus: servers, workers: servers, fastPerSecond: perMs * 1000, seconds: 100 / servers },
      });
      isWithin(t, fast.mean(), erlangMs(servers, perMs, 0.3), 0.02, `M/M/${servers}`);
    }
  }
  const one: Parameters = { ...PURE, cpus: 1, workers: 1, fastPerSecond: 2000, seconds: 150 };
  const constant: Parameters = { ...one, fastShape: 'constant' };
  isWithin(t, simulate(constant).fast.mean(), 0.3 + (0.6 * 0.3) / (2 * 0.4), 0.02, 'M/D/1');
  const sliced: Parameters = { ...constant, policy: 'time-sliced', quantumMs: 0.005 };
  isWithin(t, simulate(sliced).fast.mean(), 0.3 / 0.4, 0.03, 'processor sharing');
});

t.test('the percentiles of an M/M/1 queue are those of an exponential', async (t) => {
  const p: Parameters = { ...PURE, cpus: 1, workers: 1, fastPerSecond: 2000, seconds: 200 };
  const [p50 = 0, p99 = 0] = simulate(p).fast.percentiles([0.5, 0.99]);
  isWithin(t, p50, 0.75 * Math.LN2, 0.03, 'p50');
  isWithin(t, p99, 0.75 * Math.log(100), 0.06, 'p99');
});

t.test('with one worker, connections that stay are one queue', async (t) => {
  const one: Parameters = { ...PURE, cpus: 1, workers: 1, slowPerSecond: 4, seconds: 20 };
  const queue = simulate(one);
  const hashed = simulate({ ...one, policy: 'hashed' });
  t.equal(hashed.fast.count, queue.fast.count);
  t.ok(isSame(hashed.fast.values, queue.fast.values));
});

/** Much that goes on at once: company, moves, spares that get stuck themselves. */
const BUSY: Parameters = {
  ...DEFAULTS,
  ...{ seconds: 10, spares: 2, company: 0.2, slowPerSecond: 12, seed: 7 },
};

t.test('every request is served, and once', async (t) => {
  const runs: Parameters[] = [
    ...NAMES.map((policy) => ({ ...BUSY, policy })),
    ...(['stay', 'between', 'idle'] as const).map((giveBack) => ({ ...BUSY, giveBack })),
    ...(['half', 'all', 'spread'] as const).map((amount) => ({ ...BUSY, amount })),
    { ...BUSY, connections: 8, choice: 'any' },
    { ...BUSY, choice: 'any', skew: 0.5, crowd: 0.5 },
    { ...BUSY, connections: 8, roundMs: 0, tickMs: 0.25, stallTicks: 1 },
    { ...BUSY, workers: 4, governors: 2 },
  ];
  const due = [...arrivals(BUSY, 11_000, BUSY.seed)].filter(({ dueMs }) => dueMs >= 1000);
  const slow = due.filter((request) => request.slow).length;
  for (const run of runs) {
    const result = simulate(run);
    t.equal(result.served, result.arrived);
    t.equal(result.slow.count, slow);
    t.equal(result.fast.count, due.length - slow);
    t.ok(result.slow.values.every((ms) => ms > run.slowMs - 1e-6));
  }
});

t.test('the same parameters give the same run, and another seed another', async (t) => {
  const values = (p: Parameters) => simulate(p).fast.values;
  for (const policy of NAMES) {
    const p = { ...BUSY, policy, seconds: 3 };
    t.ok(isSame(values(p), values(p)), policy);
    t.notOk(isSame(values(p), values({ ...p, seed: 8 })));
  }
});

t.test('connections of a crowd are hashed to some workers, and moving spreads them', async (t) => {
  const crowd: Parameters = { ...DEFAULTS, cpus: 4, workers: 4, seconds: 10, crowd: 0.25 };
  const one = simulate({ ...crowd, policy: 'hashed' });
  const alone = simulate({ ...crowd, policy: 'hashed', cpus: 1, workers: 1, crowd: 1 });
  t.ok(isSame(one.fast.values, alone.fast.values), 'three of four workers have none');
  t.ok(simulate(crowd).fast.mean() < one.fast.mean() / 5);
});

t.test('skew makes the busiest connections busier', async (t) => {
  const any: Parameters = { ...PURE, choice: 'any', connections: 10, seconds: 20 };
  const at = (skew: number) => simulate({ ...any, skew }).fast.mean();
  t.ok(at(0) < at(1), 'so that more wait for another on the same one');
});

t.test('moving comes close to one queue, and spares pass it', async (t) => {
  const p95 = (change: Partial<Parameters>) =>
    simulate({ ...DEFAULTS, seconds: 60, ...change }).fast.percentiles([0.95])[0] as number;
  const queue = p95({ policy: 'one-queue' });
  const hashed = p95({ policy: 'hashed' });
  const moving = p95({});
  t.ok(queue < moving && moving < 1.25 * queue, `${queue}, ${moving}`);
  t.ok(moving < hashed / 1.5, `${moving}, ${hashed}`);
  t.ok(p95({ spares: 4 }) < queue / 3);
});

t.test('a regular machine has rings of equal groups', async (t) => {
  const { cpus, rings, shared, distance } = regular('2x2x3');
  t.equal(cpus, 12);
  t.same(shared, ['cache', 'package', 'machine']);
  t.same(rings[4], [
    [3, 5],
    [0, 1, 2],
    [6, 7, 8, 9, 10, 11],
  ]);
  t.same([distance(4, 4), distance(4, 3), distance(4, 0), distance(11, 0)], [0, 0, 1, 2]);
  t.same(regular('3').rings[0], [[1, 2]]);
  t.same(regular('1').rings, [[[]]]);
  t.equal(regular('2x2x2x2').shared.length, 4);
  for (const shape of ['', '0', '2x', '2x0', 'x', '-2', '1x2x3x4x5', '2.5']) {
    t.throws(() => regular(shape), RangeError, shape);
  }
});

t.test('on 64 CPUs near-first rings keep moves in a cache, and tails are as good', async (t) => {
  const { cpus, rings, distance } = regular('2x4x8');
  const load = { fastPerSecond: 750 * cpus, slowPerSecond: 4 * cpus, connections: 32 * cpus };
  const p = { ...DEFAULTS, ...load, cpus, workers: cpus, distance, seconds: 2 };
  const near = simulate({ ...p, rings });
  const anyone = simulate(p);
  const inCache = ({ tally }: typeof near) =>
    (tally?.byDistance[0] as number) / (tally?.connections as number);
  t.ok(inCache(near) > 0.9, `${inCache(near)}`);
  t.ok(inCache(anyone) < 0.2, `${inCache(anyone)}`);
  const ps = [0.95, 0.99, 0.999];
  const others = anyone.fast.percentiles(ps);
  for (const [at, ms] of near.fast.percentiles(ps).entries()) {
    t.ok(ms < 1.1 * (others[at] as number), `p${ps[at]}: ${ms}, and not ${others[at]}`);
  }
});

function run(...args: string[]) {
  const file = path.join(ROOT, 'dist', 'bench', 'sim', 'run.js');
  return spawnSync(process.execPath, [file, ...args], { encoding: 'utf8' });
}

t.test('flags with several values make a row each, and another process the same', async (t) => {
  const args = ['--json', '--seconds', '2', '--spares', '0,2', '--seed', '1,2', '--tickMs', '0.5'];
  const { status, stdout, stderr } = run(...args);
  t.equal(status, 0, stderr);
  type Row = { flags: Record<string, string>; digest: string; within: Record<string, number> };
  const rows = JSON.parse(stdout) as Row[];
  t.same(
    rows.map(({ flags }) => [flags.spares, flags.seed]),
    [
      ['0', '1'],
      ['2', '1'],
      ['0', '2'],
      ['2', '2'],
    ],
  );
  t.equal(new Set(rows.map(({ digest }) => digest)).size, 4);
  t.same(rows[0]?.within, { cache: 1 });
  t.equal(run(...args).stdout, stdout);
});

t.test('a flag that there is not, or a bad value, simulates nothing', async (t) => {
  for (const args of [
    ['--speed', '3'],
    ['--policy', 'best'],
    ['--tickMs', '-1'],
    ['--tickMs', ''],
    ['--machine', '2x'],
    ['--study', 'everything'],
    ['--seed', Array.from({ length: 501 }, (_, seed) => seed).join(',')],
  ]) {
    const { status, stdout } = run(...args);
    t.equal(status, 2, args.join(' ').slice(0, 40));
    t.equal(stdout, '');
  }
});

t.test('every study has flags that there are', async (t) => {
  for (const study of Object.keys(STUDIES)) {
    const { status, stderr } = run(
      '--study',
      study,
      ...['--seconds', '0.01', '--warmupSeconds', '0', '--machine', '2'],
    );
    t.equal(status, 0, stderr);
  }
});
