/**
 * Workers that die under steady traffic. What is lost is what a dying worker had begun to read or
 * to answer: the ledger must give every connection that is lost to a thread that has died, and a
 * request must have been out on it. Nobody is refused, kept waiting, or answered wrongly.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Recorder } from '../../bench/latencies.js';
import { seededRandom } from '../../src/scheduler/random.js';
import { type Facts, Host, type HostEvent } from '../moving/host.js';
import { app, HOST, portOf } from '../support/app.js';
import { testSeed } from '../support/seed.js';
import { arriving, askOnce, makeExchange, Talk } from './exchange.js';
import { comesBackTo, footprintOf } from './footprint.js';
import { Ledger } from './ledger.js';
import { SCALED, scaled, timeLimit } from './scale.js';
import { Newcomers, Steady, warmUp } from './steady.js';

const seed = testSeed();
const random = seededRandom(seed);

const WORKERS = 2;
/** For the exception each second. */
const LANES = 64;
const PER_SECOND = SCALED ? 2_000 : 500;
const SECONDS = scaled(3, 30);
/** Connections that are open and say nothing meanwhile. */
const IDLE = 32;

/** Of each kind, and of the kinds that are not among those that must hold a thousand times. */
const DEATHS = scaled(4, 1_000);
const OTHER_DEATHS = scaled(2, 50);
/** The load meanwhile. */
const DEATH_LANES = 32;
const DEATH_PER_SECOND = 500;
/** What a worker has served before it is killed: one that dies sooner is started again later. */
const SERVED_MS = 1_200;
const HANG_MS = 400;
/** Connections that arrive while a worker hangs. */
const QUEUED = 30;
/**
 * How long a test opens connections to get one to a certain worker. The kernel spreads them by a hash,
 * and a worker that hangs, because the other's death has come to it by a move, gets none meanwhile.
 */
const TRIES_MS = 20_000;

/**
 * glibc keeps what threads that have ended had allocated, in one arena for each that ran beside others, so
 * the process grows for its first hundred deaths or so, and then no more: 50 MB in 250, 52 in 1,000.
 */
const GROWTH_MB = SCALED ? 96 : 48;

t.comment(`seed ${seed}`);
t.setTimeout(timeLimit(5_400_000));

type Kind = 'throw' | 'reject' | 'exit' | 'heap' | 'loop';

interface Stage {
  readonly host: Host;
  readonly facts: Facts;
  readonly to: { readonly host: string; readonly port: number };
  readonly ledger: Ledger;
}

async function stage(t: Test, workers: number, hangMs: number, move = true): Promise<Stage> {
  const ledger = new Ledger(t);
  const host = await Host.start(
    t,
    {
      ...{ entry: app('verify.js'), workers, spares: 0, hangMs, restarts: 1_000_000 },
      ...{ recycleAtHeapRatio: 0, resourceLimits: { maxOldGenerationSizeMb: 48 } },
      scheduler: { move },
    },
    { env: ledger.env },
  );
  const facts = await host.facts();
  const to = { host: HOST, port: portOf(facts) };
  await warmUp(to, seed);
  return { host, facts, ledger, to };
}

function count(events: readonly HostEvent[], name: HostEvent['name']): number {
  return events.reduce((sum, event) => sum + Number(event.name === name), 0);
}

interface Lost {
  readonly owner: number;
  /** Of newcomers always: they ask at once. */
  readonly asked?: boolean;
}

/** Those of `losses` that no death accounts for. */
function unexplained<T extends Lost>({ events }: Host, losses: readonly T[]): T[] {
  const ended = events.filter(({ name }) => name === 'exit').map(({ threadId }) => threadId);
  const dead = new Set(ended);
  return losses.filter(({ owner, asked = true }) => !asked || !dead.has(owner));
}

/** The thread that accepts as worker `index` now, or did so last. */
function threadOf({ host, facts }: Stage, index: number): number {
  const latest = host.events.findLast(
    ({ name, worker }) => name === 'listening' && worker === index,
  );
  return latest?.threadId ?? facts.workers[index]?.threadId ?? 0;
}

/** A connection to worker `index`. */
async function talkTo(it: Stage, index: number): Promise<Talk> {
  const { host, to, ledger } = it;
  const owners: number[] = [];
  for (const begun = performance.now(); performance.now() - begun < TRIES_MS; ) {
    const found = await Talk.open(to, random);
    const owner = ledger.ownerOf(found.port);
    if (owner === threadOf(it, index)) return found;
    found.close();
    owners.push(owner);
  }
  const { workers } = await host.facts();
  throw new Error(
    `worker ${index} got none of ${owners.length} connections: they went to ${[...new Set(owners)]}, and it is thread ${threadOf(it, index)} of ${JSON.stringify(workers)}`,
  );
}

interface Death {
  /** From its death, or from when it was found to hang, until another accepts, in ms. */
  readonly replacedMs: number;
  /** How long the supervisor waited before it started another, in ms. */
  readonly delayedMs: number;
}

/**
 * Makes worker `index` end, or another if the connection to it has just moved, and resolves when
 * another thread accepts in its place.
 */
async function die(it: Stage, index: number, kind: Kind): Promise<Death> {
  const { host, ledger } = it;
  const talk = await talkTo(it, index);
  const lost = talk.ask({ query: `die=${kind}` });
  // Whoever has them: nobody but the one request is lost.
  if (kind === 'loop') await Promise.all(arriving(it.to, random, QUEUED));
  const outcome = await lost;
  if ('thread' in outcome) throw new Error(`a worker answered instead of dying by ${kind}`);
  const lostAt = performance.timeOrigin + performance.now();
  const thread = ledger.ownerOf(talk.port);
  const find = (name: HostEvent['name']) =>
    host.events.findLast((event) => event.name === name && event.threadId === thread);
  await host.until(() => find('exit') !== undefined);
  const exit = find('exit') as HostEvent;
  const hang = find('hang');
  const replaced = () =>
    host.events.find(
      ({ name, worker, threadId }) =>
        name === 'listening' && worker === exit.worker && (threadId ?? 0) > thread,
    );
  await host.until(() => replaced() !== undefined);
  const from = kind === 'loop' ? (hang?.at ?? Number.NaN) : Math.min(lostAt, exit.at);
  return {
    replacedMs: (replaced()?.at ?? Number.NaN) - from,
    delayedMs: exit.restartInMs ?? 0,
  };
}

t.test(`an uncaught exception each second, for ${SECONDS} s`, async (t) => {
  const it = await stage(t, WORKERS, 30_000);
  const { host, to, ledger } = it;
  const before = await footprintOf(host);
  const idle = await Steady.start({ to, seed, connections: IDLE, perSecond: 0, ledger });
  const load = await Steady.start({
    ...{ to, seed, connections: LANES, perSecond: PER_SECOND, delayMs: 5, ledger },
  });
  const newcomers = new Newcomers({ to, seed, ledger }, 4, 20);
  const begun = performance.now();
  const latencies = load.measure();
  for (let second = 1; second <= SECONDS; second++) {
    await sleep(begun + second * 1000 - performance.now()); // what is tested
    const exchange = makeExchange(random, `ends-${second}`, { query: 'die=throw' });
    await t.rejects(askOnce(to, exchange), 'what it had in flight is lost');
  }
  await host.until((events) => count(events, 'exit') >= SECONDS);
  await load.stop();
  const seconds = (performance.now() - begun) / 1000;
  await newcomers.stop();
  await idle.stop();
  const { p50, p99, max } = latencies.percentiles();
  t.comment(`${load.answers} answers, ${(load.answers / seconds).toFixed(0)} a second`);
  t.comment(`${load.losses.length} lost; ms: p50 ${p50}, p99 ${p99}, max ${max}`);
  t.comment(`newcomers: ${newcomers.answers} answers, ${newcomers.losses.length} lost`);
  t.same([load.wrong, newcomers.wrong], [[], []], 'no answer was wrong, or did not come');
  t.same([load.refused, newcomers.refused], [[], []], 'nobody was refused');
  t.same(unexplained(host, load.losses), [], 'what was lost was in flight on one that died');
  t.same(unexplained(host, newcomers.losses), [], 'of new connections, too');
  t.ok(idle.unharmed, 'no idle connection was lost');
  t.equal(count(host.events, 'exit'), SECONDS, 'nobody else has died');
  await comesBackTo(t, host, before);
  await host.close(t, null, (await host.facts()).errors);
});

const KINDS: readonly [Kind, number][] = [
  ['throw', DEATHS],
  ['exit', DEATHS],
  ['loop', DEATHS],
  ['reject', OTHER_DEATHS],
  ['heap', OTHER_DEATHS],
];

for (const [kind, deaths] of KINDS) {
  t.test(`${deaths} deaths by ${kind}`, async (t) => {
    const it = await stage(t, WORKERS, kind === 'loop' ? HANG_MS : 30_000);
    const { host, to, ledger, facts } = it;
    const before = await footprintOf(host);
    const load = await Steady.start({
      ...{ to, seed, connections: DEATH_LANES, perSecond: DEATH_PER_SECOND, delayMs: 5, ledger },
    });
    const newcomers = new Newcomers({ to, seed, ledger }, 2, 20);
    const replacedMs = new Recorder();
    let delayed = 0;
    let left = deaths;
    // One after the other in each seat, so that now and then all are dead.
    await Promise.all(
      facts.workers.map(async ({ index }) => {
        while (left-- > 0) {
          await sleep(SERVED_MS); // what is tested: one that has served is started again at once
          const death = await die(it, index, kind);
          if (death.delayedMs === 0) replacedMs.record(death.replacedMs);
          else delayed++;
        }
      }),
    );
    await load.stop();
    await newcomers.stop();
    const { p50, p99, max } = replacedMs.percentiles();
    t.comment(`replaced after ms: p50 ${p50}, p99 ${p99}, max ${max}; ${delayed} were delayed`);
    t.comment(`${load.answers} answers, ${load.losses.length} lost`);
    t.comment(`newcomers: ${newcomers.answers} answers, ${newcomers.losses.length} lost`);
    t.same([load.wrong, newcomers.wrong], [[], []], 'no answer was wrong, or did not come');
    t.same([load.refused, newcomers.refused], [[], []], 'nobody was refused');
    // Out of memory no JavaScript runs any more, so idle connections are lost, too.
    const losses = load.losses.map((loss) => (kind === 'heap' ? { ...loss, asked: true } : loss));
    t.same(unexplained(host, losses), [], 'what was lost was in flight on one that died');
    // Nor does it say of a new connection that it has it.
    const unheard = ({ owner }: { owner: number }) => kind === 'heap' && owner === 0;
    const arrived = newcomers.losses.filter((loss) => !unheard(loss));
    t.same(unexplained(host, arrived), [], 'of new connections, too');
    t.equal(count(host.events, 'exit'), deaths, 'nobody else has died');
    await comesBackTo(t, host, before, GROWTH_MB);
    await host.close(t, null, (await host.facts()).errors);
  });
}
