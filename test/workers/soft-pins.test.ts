/**
 * Pins give way to other processes: a real one burns the CPU of a worker that has something to do.
 * Nothing here measures time: the events of the runtime are waited for.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import workerThreads, { type Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { createRuntime, type Runtime, type RuntimeOptions } from '../../src/index.js';
import { affinity } from '../../src/native.js';
import type { WorkerRepinning } from '../../src/runtime/api.js';
import { detectCapabilities } from '../../src/runtime/capabilities.js';
import { cpuTimes, idlest } from '../../src/scheduler/cpu-idle.js';
import { KeptAlive } from '../moving/kept-alive.js';
import { app, portOf, ROOT, start } from '../support/app.js';
import { cpusOf } from '../support/proc.js';
import { Running } from '../support/running.js';

const ENTRY = app('burns.js');
const NATIVE = path.join(ROOT, 'dist', 'src', 'native.js');
const CPUS = affinity();
const { widen } = detectCapabilities();
const skip = CPUS.length < 2 ? 'there is one CPU' : (widen.reason ?? false);

/** How long one request wants the CPU, in ms. Two at a time leave a worker no rest. */
const BURN_MS = 5;

/** On a machine that has nothing else to do it takes 0.5 s, and 3 s back. */
const REPINNED_MS = 60_000;

t.setTimeout(280_000); // of all tests in this file together

/** The governor's threads that this process has started. */
const governors: Worker[] = [];
const NodeWorker = workerThreads.Worker;
workerThreads.Worker = class extends NodeWorker {
  constructor(file: string | URL, options: workerThreads.WorkerOptions) {
    super(file, options);
    if (options.name === 'gyre governor') governors.push(this);
  }
};

/** CPUs that the thread of the only worker may run on. */
function bound(runtime: Runtime): number[] {
  return affinity(runtime.workers[0]?.tid as number);
}

/** For how long the thread of the only worker has waited for a CPU so far, in ms. */
function waitedMs({ workers }: Runtime): number {
  const file = `/proc/self/task/${workers[0]?.tid}/schedstat`;
  return Number(readFileSync(file, 'utf8').split(' ')[1]) / 1e6;
}

/** A process that leaves nothing of `cpu` to others, as long as this one lives. */
async function burner(t: Test, cpu: number): Promise<Running> {
  const script = `
    require(${JSON.stringify(NATIVE)}).setAffinity([${cpu}]);
    console.error('burns');
    while (process.ppid === ${process.pid});
  `;
  const child = new Running(t, process.execPath, ['-e', script]);
  await child.says(/burns/);
  return child;
}

/** Requests from now to the end of the test, which at first leave the worker no rest. */
function load(t: Test, runtime: Runtime): { relax(): void } {
  let over = false;
  let restMs = 0;
  const port = portOf(runtime);
  const lanes = [0, 1].map(async () => {
    const connection = new KeptAlive({ host: '127.0.0.1', port });
    while (!over) {
      await connection.ask(`/burn?ms=${BURN_MS}`);
      if (restMs > 0) await sleep(restMs);
    }
    connection.close();
  });
  t.teardown(async () => {
    over = true;
    await Promise.all(lanes);
  });
  return {
    relax() {
      restMs = 4 * BURN_MS;
    },
  };
}

/** CPU times of this machine; whoever is nice counts as idle, as he does for gyre. */
const times = () => cpuTimes(readFileSync('/proc/stat', 'utf8'), os.getPriority() <= 0);

/**
 * Resolves with the event that gives the worker `rings` rings. Null, and the test is skipped, if it
 * does not come and is not to be expected, because none of `cpus` idled for `share` of the time:
 * this machine has other things to do.
 */
async function repinned(
  t: Test,
  runtime: Runtime,
  event: 'widen' | 'narrow',
  { rings, cpus, share }: { rings: number; cpus: readonly number[]; share: number },
): Promise<WorkerRepinning | null> {
  const before = times();
  const comes = new Promise<WorkerRepinning>((resolve) => {
    runtime.on(event, (repinning) => {
      if (repinning.rings === rings) resolve(repinning);
    });
  });
  const came = await Promise.race([comes, sleep(REPINNED_MS, null, { ref: false })]);
  if (came !== null) return came;
  const idled = idlest(before, times(), cpus) ?? 0;
  const reason = `CPU ${cpus} idles for ${idled.toFixed(2)} of the time`;
  if (idled < share) t.pass(`it would ${event}`, { skip: reason });
  else t.fail(`it does not ${event}, though ${reason}`);
  return null;
}

/** `holds` is looked at again and again. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}

/** What the application says of its own thread, a child of it and a thread of it. */
async function masks(runtime: Runtime): Promise<Record<string, number[]>> {
  const connection = new KeptAlive({ host: '127.0.0.1', port: portOf(runtime) });
  const { body } = await connection.ask('/masks');
  connection.close();
  const said = Object.entries(JSON.parse(String(body)) as Record<string, string>);
  return Object.fromEntries(said.map(([who, list]) => [who, cpusOf(list)]));
}

t.test(
  'a worker leaves its CPU to a process that burns it, and comes back',
  { skip },
  async (t) => {
    const runtime = await start(t, ENTRY, { workers: 1, hangMs: 0 });
    const home = runtime.workers[0]?.cpu as number;
    t.same(bound(runtime), [home]);
    t.same(await masks(runtime), { own: [home], child: CPUS, thread: CPUS });
    const requests = load(t, runtime);
    const other = await burner(t, home);
    const rings: number[] = [];
    runtime.on('widen', (repinning) => rings.push(repinning.rings));
    runtime.on('narrow', (repinning) => rings.push(repinning.rings));
    const away = { rings: 1, cpus: CPUS.filter((cpu) => cpu !== home), share: 0.3 };
    const widened = await repinned(t, runtime, 'widen', away);
    if (widened === null) return;
    t.match(widened, { worker: { index: 0, cpu: home }, rings: 1 });
    t.ok(widened.cpus.includes(home));
    t.ok(widened.cpus.length > 1);
    t.ok(bound(runtime).length > 1, 'its thread may run there');

    await t.test('what it starts has the CPUs that it would have anyhow', async (t) => {
      const { child, thread } = await masks(runtime);
      t.same([child, thread], [CPUS, CPUS]);
      t.ok(bound(runtime).length > 1, 'and it keeps its own');
    });

    await t.test('its next thread begins there', async (t) => {
      const { tid } = runtime.workers[0] ?? {};
      await runtime.reload();
      t.not(runtime.workers[0]?.tid, tid);
      // Its arrival is told to the governor, which binds it.
      await until(() => bound(runtime).length > 1);
    });

    await t.test('another governor knows', async (t) => {
      await governors.at(-1)?.terminate();
      await until(() => governors.length === 2);
      await once(governors[1] as Worker, 'online');
      t.ok(bound(runtime).length > 1);
    });

    other.child.kill('SIGKILL');
    await other.ended();
    requests.relax();
    const narrowed = await repinned(t, runtime, 'narrow', { rings: 0, cpus: [home], share: 0.7 });
    if (narrowed === null) return;
    t.match(narrowed, { worker: { index: 0, cpu: home }, rings: 0, cpus: [home] });
    t.same(bound(runtime), [home], 'it is back');
    const [row] = runtime.snapshot().workers;
    const ups = rings.filter((ring, i) => ring > (rings[i - 1] ?? 0)).length;
    t.match(row, { rings: 0, widened: ups, narrowed: rings.length - ups });
    t.ok(
      rings.every((ring, i) => Math.abs(ring - (rings[i - 1] ?? 0)) === 1),
      `ring by ring: ${rings}`,
    );
    t.same(await masks(runtime), { own: [home], child: CPUS, thread: CPUS });
  },
);

for (const pin of ['hard', [CPUS.at(-1) as number], 'off'] as const) {
  t.test(`pin: ${JSON.stringify(pin)} is never changed`, { skip }, async (t) => {
    const runtime = await start(t, ENTRY, { workers: 1, hangMs: 0, pin: pin as 'hard' });
    const before = bound(runtime);
    load(t, runtime);
    const other = await burner(t, before.at(-1) as number);
    const began = waitedMs(runtime);
    // Many times as much as makes a soft pin give way; who is not pinned does not wait.
    if (pin !== 'off') await until(() => waitedMs(runtime) > began + 500);
    t.same(bound(runtime), before);
    t.match(runtime.snapshot().workers[0], { rings: 0, widened: 0, narrowed: 0 });
    other.child.kill('SIGKILL');
  });
}

t.test('without a governor nobody sees it, and that is said', { skip }, async (t) => {
  const still: RuntimeOptions = { entry: ENTRY, workers: 1, scheduler: { move: false } };
  const runtime = await createRuntime(still);
  t.match(runtime.capabilities.widen, { available: false, reason: /there is no governor/ });
  await runtime.close({ drainMs: 0 });
  await t.rejects(createRuntime({ ...still, require: ['widen'] }), { code: 'ERR_GYRE_CAPABILITY' });
  const hard = await createRuntime({ ...still, pin: 'hard' });
  t.match(hard.capabilities.widen, { available: true }, 'who does not ask for it misses nothing');
  await hard.close({ drainMs: 0 });
});
