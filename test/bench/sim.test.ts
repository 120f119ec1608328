import { spawnSync } from 'node:child_process';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { arrivals } from '../../bench/sim/arrivals.js';
import { Clock } from '../../bench/sim/clock.js';
import { combinations, parametersFrom } from '../../bench/sim/flags.js';
import { type Layout, Machine } from '../../bench/sim/machine.js';
import { POLICIES, type PolicyName } from '../../bench/sim/policy.js';
import { type Row, show } from '../../bench/sim/report.js';
import { RINGS, type RingsName } from '../../bench/sim/rings.js';
import { DEFAULTS, type Parameters, simulate } from '../../bench/sim/simulation.js';
import { STUDIES } from '../../bench/sim/studies.js';
import { DISTANCES, topologyOf } from '../../bench/sim/topology.js';
import { wholeMachine } from '../../src/scheduler/neighbourhood.js';
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
function endsOf(
  cpus: number,
  bursts: readonly (readonly [number | null, number, number])[],
  layout: Layout | null = null,
) {
  const clock = new Clock();
  const speeds = { smtSpeed: 0.5, efficientSpeed: 0.25 };
  const machine = new Machine(clock, cpus, { sliceMs: 3, granularityMs: 1, ...speeds }, layout);
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

t.test('busy CPUs of a core slow each other down, and an efficiency core is slow', async (t) => {
  const pair: Layout = { siblings: [[1], [0], []], efficient: [false, false, true] };
  t.same(
    endsOf(
      3,
      [
        [0, 0, 10],
        [1, 4, 4],
        [2, 0, 10],
      ],
      pair,
    ),
    // From 4 to 12 both of the pair run at half their speed, then the first one alone.
    [14, 12, 40],
  );
  const [, guest] = endsOf(
    4,
    [
      [0, 0, 10],
      [null, 1, 2],
    ],
    { siblings: [[1], [0], [3], [2]], efficient: [] },
  );
  t.equal(guest, 3, 'a thread that is not bound goes to a core that is idle');
});

/** One fast kind of request, and nothing that costs anything but serving it. */
const PURE: Parameters = {
  ...DEFAULTS,
  ...{ policy: 'one-queue', slowPerSecond: 0, connections: 20_000 },
  ...{ pollMs: 0, adoptMs: 0, giveMs: 0 },
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
        ...{ cpus: servers, workers: servers, fastPerSecond: perMs * 1000, seconds: 50 / servers },
      });
      isWithin(t, fast.mean(), erlangMs(servers, perMs, 0.3), 0.03, `M/M/${servers}`);
    }
  }
  const one: Parameters = { ...PURE, cpus: 1, workers: 1, fastPerSecond: 2000, seconds: 60 };
  const constant: Parameters = { ...one, fastShape: 'constant' };
  isWithin(t, simulate(constant).fast.mean(), 0.3 + (0.6 * 0.3) / (2 * 0.4), 0.03, 'M/D/1');
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
  ...{ seconds: 5, spares: 2, company: 0.2, slowPerSecond: 12, seed: 7 },
};

t.test('every request is served, and once', async (t) => {
  const runs: Parameters[] = [
    ...NAMES.map((policy) => ({ ...BUSY, policy })),
    { ...BUSY, giveBack: 'stay', trigger: 'none-idle', amount: 'all' },
    { ...BUSY, connections: 8, choice: 'any' },
    { ...BUSY, choice: 'any', hot: 0.1, hotRequests: 0.5, crowd: 0.5 },
    { ...BUSY, connections: 8, roundMs: 0, worthMs: 0, tickMs: 0.25, stuckTicks: 1 },
    { ...BUSY, workers: 4, governors: 2, windowMs: 10 },
  ];
  const due = [...arrivals(BUSY, 6_000, BUSY.seed)].filter(({ dueMs }) => dueMs >= 1000);
  const slow = due.filter((request) => request.slow).length;
  for (const run of runs) {
    const result = simulate(run);
    t.equal(result.served, result.arrived);
    t.equal(result.slow.count, slow);
    t.equal(result.fast.count, due.length - slow);
    t.ok(result.slow.values.every((ms) => ms > run.slowMs - 1e-6));
  }
});

t.test('256 CPUs that steal from each other come to an end', async (t) => {
  // They did not while what was stolen could be stolen again before it was begun with.
  const { cpus } = topologyOf('2x2x8x8');
  const load = { fastPerSecond: 750 * cpus, slowPerSecond: 4 * cpus, connections: 32 * cpus };
  const times = { seconds: 0.1, warmupSeconds: 0.1 };
  const run = simulate({ ...DEFAULTS, ...load, ...times, cpus, workers: cpus, policy: 'stealing' });
  t.equal(run.served, run.arrived);
  const [p99 = 0] = run.fast.percentiles([0.99]);
  t.ok(p99 < 2, `and nobody waits for long: ${p99}`);
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

t.test('requests on hot connections wait for each other', async (t) => {
  const any: Parameters = { ...PURE, choice: 'any', connections: 10, seconds: 20 };
  const at = (hot: number, hotRequests: number) =>
    simulate({ ...any, hot, hotRequests }).fast.mean();
  t.ok(at(0.1, 0.5) > 1.05 * at(1, 1), 'half of them on one of ten');
  t.equal(at(1, 0.5), at(1, 1), 'if all are hot, none is');
});

t.test('whoever is overloaded with short requests gives connections away', async (t) => {
  // All connections begin with one of four workers, which has more than it can do.
  const crowd: Parameters = { ...DEFAULTS, cpus: 4, workers: 4, crowd: 0.25, slowPerSecond: 0 };
  const p = { ...crowd, fastMs: 0.1, fastPerSecond: 11_000, seconds: 3, connections: 400 };
  const still = simulate({ ...p, windowMs: Number.POSITIVE_INFINITY });
  const moving = simulate(p);
  t.ok((moving.tally?.connections as number) > 50, `${moving.tally?.connections}`);
  t.ok(moving.fast.mean() < still.fast.mean() / 5);
});

t.test('moving comes close to one queue, and spares pass it', async (t) => {
  const p95 = (change: Partial<Parameters>) =>
    simulate({ ...DEFAULTS, seconds: 60, ...change }).fast.percentiles([0.95])[0] as number;
  const queue = p95({ policy: 'one-queue' });
  const hashed = p95({ policy: 'hashed' });
  const moving = p95({});
  t.ok(queue < moving && moving < 1.35 * queue, `${queue}, ${moving}`);
  t.ok(moving < hashed / 1.5, `${moving}, ${hashed}`);
  t.ok(p95({ spares: 4 }) < queue / 3);
});

t.test('where a governor has too much to do, several do better', async (t) => {
  const { cpus } = topologyOf('2x8');
  const load = { fastPerSecond: 1200 * cpus, slowPerSecond: 6.4 * cpus, connections: 32 * cpus };
  const p = { ...DEFAULTS, ...load, cpus, workers: cpus, seconds: 3, decideMs: 0.6 };
  const [one, four] = [1, 4].map((governors) => simulate({ ...p, governors }));
  const p95 = (run: typeof one) => run?.fast.percentiles([0.95])[0] as number;
  t.ok(p95(four) < 0.8 * p95(one), `${p95(four)}, ${p95(one)}`);
});

t.test('a machine by its shape is placed and has rings as if it had been read', async (t) => {
  const { cpus, places, rings, order, distance } = topologyOf('2x2x3');
  t.equal(cpus, 12);
  // Package, then cache, in turn: the next one shares nothing with the last.
  t.same(places.slice(0, 5), [0, 6, 3, 9, 1]);
  const ascending = (a: number, b: number) => a - b;
  const onCpus = (worker: number) =>
    rings[worker]?.map((ring) => ring.map((other) => places[other] as number).sort(ascending));
  t.same(onCpus(places.indexOf(4)), [
    [3, 5],
    [0, 1, 2],
    [6, 7, 8, 9, 10, 11],
  ]);
  t.same(
    order.map((worker) => places[worker]),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  );
  const shared = (a: number, b: number) =>
    DISTANCES[distance(places.indexOf(a), places.indexOf(b))];
  t.same(
    [4, 3, 0, 11].map((cpu) => shared(4, cpu)),
    ['core', 'cache', 'node', 'machine'],
  );
  const small = topologyOf('2x2x1x2t2');
  t.same([small.cpus, small.siblings[3]], [16, [11]], 'threads are numbered as Linux does');
  const near = (cpu: number) => DISTANCES[small.distance(0, small.places.indexOf(cpu))];
  t.same([8, 1, 2, 4].map(near), ['core', 'cache', 'package', 'machine']);
  t.same(topologyOf('1').rings, [[]]);
  for (const name of [
    '',
    '0',
    '2x',
    '2x0',
    'x',
    '-2',
    '1x2x3x4x5',
    '2.5',
    't2',
    '2x1024',
    'abacus',
  ]) {
    t.throws(() => topologyOf(name), RangeError, name);
  }
});

t.test('fixtures are simulated with the rings that gyre would use there', async (t) => {
  const epyc = topologyOf('epyc');
  t.equal(epyc.cpus, 256);
  const sizes = (name: RingsName) => RINGS[name](epyc)[0]?.map(({ length }) => length);
  t.same(sizes('near'), [14, 1, 16, 96, 128]);
  t.same(sizes('sibling-first'), [1, 14, 16, 96, 128]);
  t.same(sizes('sibling-within'), [15, 16, 96, 128]);
  t.same(sizes('sibling-last'), [14, 16, 96, 128, 1]);
  t.same(RINGS.anyone(epyc), wholeMachine(256));
  t.same(topologyOf('hybrid').efficient.filter(Boolean).length, 8);
});

t.test('on 64 CPUs near-first rings keep moves in a cache, and tails are as good', async (t) => {
  const topology = topologyOf('2x4x8');
  const { cpus } = topology;
  const load = { fastPerSecond: 750 * cpus, slowPerSecond: 4 * cpus, connections: 32 * cpus };
  const p = { ...DEFAULTS, ...load, cpus, workers: cpus, topology, governors: 4, seconds: 3 };
  const near = simulate({ ...p, rings: RINGS.near(topology) });
  const anyone = simulate({ ...p, rings: RINGS.anyone(topology) });
  const inCache = ({ tally }: typeof near) =>
    (tally?.byDistance[DISTANCES.indexOf('cache')] as number) / (tally?.connections as number);
  t.ok(inCache(near) > 0.9, `${inCache(near)}`);
  t.ok(inCache(anyone) < 0.2, `${inCache(anyone)}`);
  const ps = [0.95, 0.99];
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
  const args = ['--json', '--seconds', '1', '--spares', '0,2', '--seed', '1,2', '--tickMs', '0.5'];
  const { status, stdout, stderr } = run(...args);
  t.equal(status, 0, stderr);
  type Row = { flags: Record<string, string>; digest: string; within: Record<string, number> };
  const rows = JSON.parse(stdout) as Row[];
  t.same(
    rows.map(({ flags }) => [flags.spares, flags.seed]),
    [
      ['0', '1'],
      ['0', '2'],
      ['2', '1'],
      ['2', '2'],
    ],
  );
  t.equal(new Set(rows.map(({ digest }) => digest)).size, 4);
  t.same(rows[0]?.within, { core: 0, cache: 1, node: 0, package: 0, machine: 0 });
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
    ['--study', 'near,everything'],
    ['--perGovernor', '-1'],
    ['--seed', Array.from({ length: 1001 }, (_, seed) => seed).join(',')],
  ]) {
    const { status, stdout } = run(...args);
    t.equal(status, 2, args.join(' ').slice(0, 40));
    t.equal(stdout, '');
  }
});

t.test('every study can be run, and compares what is in it', async (t) => {
  for (const [name, { tables }] of Object.entries(STUDIES)) {
    for (const { title, sets, versus } of tables) {
      const runs = sets.flatMap(combinations);
      for (const run of runs) parametersFrom(run);
      const references = runs.filter((run) =>
        Object.entries(versus ?? {}).every(([flag, value]) => run[flag] === value),
      );
      t.ok(references.length > 0 && (versus === undefined || references.length < runs.length));
      t.ok(runs.length > 1, `${name}: ${title}`);
    }
  }
});

t.test('runs that differ in their seed are one row, compared seed by seed', async (t) => {
  const row = (rings: string, seed: string, p95: number): Row => ({
    flags: { machine: '4', rings, seed },
    fast: { mean: 1, p50: 1, p95, p99: 9, p999: 10 },
    slow: { p50: Number.NaN, p95: Number.NaN },
    ...{ movesPerSecond: 5, movedPerSecond: 7, within: { cache: 1 } },
    ...{ governorShare: 0.25, digest: 'abc' },
  });
  const rows = [
    ...[row('anyone', '1', 10), row('near', '1', 11)],
    ...[row('anyone', '2', 20), row('near', '2', 18)],
    ...[row('anyone', '3', 30), row('near', '3', 30)],
  ];
  const text = show({ title: 'A title', sets: [], versus: { rings: 'anyone' } }, rows);
  const [title, caption, , ...lines] = text.trimEnd().split('\n');
  t.equal(title, 'A title');
  t.match(caption, /machine 4; medians of 3 seeds/);
  t.equal(lines.length, 2);
  t.match(lines[0], /^ {2}anyone +1\.00 +1\.00 +20\.00 +9\.00 .*25% +100%\s*$/);
  t.match(lines[1], /^ {2}near .*1\.00 \(1\.00–1\.00\) +1\.00 \(0\.90–1\.10\)/);
  t.notMatch(text, /abc/, 'a digest is of one run');
  t.match(show({ title: '', sets: [] }, [row('near', '1', 10)]), /abc/);
});

t.test('a study prints its question and its tables', async (t) => {
  const { status, stdout, stderr } = run(
    ...['--study', 'near', '--machine', '2', '--seconds', '0.01', '--warmupSeconds', '0'],
  );
  t.equal(status, 0, stderr);
  t.match(stdout, /^## near: do near-first rings/);
  t.match(stdout, /p95 \/ anyone/);
});
