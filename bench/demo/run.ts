/**
 * The same server under node:cluster and under gyre, with a few slow requests mixed in, and the
 * two latency distributions side by side: `npm run demo`.
 *
 * Both servers run from the beginning; they are loaded one after the other, in short rounds, forwards
 * and backwards in turn, each round with the same arrivals on both. So what else the machine does meets
 * both. A terminal shows what it has so far; elsewhere it says on stderr what it does.
 */
import os from 'node:os';
import { detectCapabilities } from '../../src/runtime/capabilities.js';
import { SecondScreen, screenOf } from '../../src/terminal.js';
import type { Load } from '../arrivals.js';
import { parseCommandLine } from '../command-line.js';
import { CannotRun, runOrSay } from '../failures.js';
import { interleave } from '../harness.js';
import { runPoisson } from '../poisson.js';
import { withServer } from '../server.js';
import type { SystemName } from '../systems.js';
import {
  conclusion,
  heading,
  histogram,
  percentiles,
  progress,
  type Setting,
  type Side,
  type Sides,
} from './picture.js';

/** `seconds` of load that count, on each server. */
const FLAGS = { seconds: 15, workers: 2, connections: 64, fast: 1500, slow: 8, ms: 50 };
/** About as long is a round. */
const ROUND_S = 2.5;
/** Before the first, on each server. */
const WARMUP_S = 1;
/** What a round takes besides its load: the generator starts, connects, and begins. */
const AROUND_S = 0.4;
const REDRAW_MS = 250;

const SERVERS = {
  'cluster-rr': { title: 'node:cluster', paint: 'yellow' },
  gyre: { title: 'gyre', paint: 'cyan' },
} as const satisfies Partial<Record<SystemName, Pick<Side, 'title' | 'paint'>>>;
type ServerName = keyof typeof SERVERS;
const NAMES = Object.keys(SERVERS) as ServerName[];

/** All that was measured until now. */
class Measured {
  readonly #latencies = Object.fromEntries(
    NAMES.map((name) => [name, { fast: [], slow: [], late: [] }]),
  ) as unknown as Record<ServerName, { fast: number[][]; slow: number[][]; late: number[] }>;

  /** Loads a server at `port`, and forgets what was told of that round before. */
  async measure(name: ServerName, port: number, load: Load, round: number): Promise<void> {
    const of = this.#latencies[name];
    const fast: number[] = [];
    const slow: number[] = [];
    of.fast[round] = fast;
    of.slow[round] = slow;
    const outcome = await runPoisson(port, load, (batch) => {
      fast.push(...batch.fast);
      slow.push(...batch.slow);
    });
    of.late[round] = outcome.late.p99;
  }

  sides(): Sides {
    return NAMES.map((name) => ({ ...SERVERS[name], ...this.#latencies[name] })) as never;
  }
}

/** Draws `linesOf` again and again on the second screen. Returns what ends it, as this process's end does. */
function drawLive(linesOf: () => readonly string[]): () => void {
  const { stdout } = process;
  const screen = new SecondScreen(stdout);
  const draw = () => screen.draw(linesOf().slice(0, screenOf(stdout).rows));
  draw();
  const timer = setInterval(draw, REDRAW_MS);
  const stop = () => {
    clearInterval(timer);
    process.off('exit', stop);
    screen.leave();
  };
  process.on('exit', stop);
  return stop;
}

async function main(): Promise<void> {
  const { flags } = parseCommandLine(FLAGS, ['slow', 'ms'], []);
  const { seconds, workers, connections, fast, slow, ms } = flags;
  const { reason } = detectCapabilities().move;
  if (reason !== undefined) throw new CannotRun(`gyre moves no connections here: ${reason}`);

  process.env.BENCH_HOST = '127.0.0.1'; // on a reader's machine it serves nobody else
  const rounds = Math.max(1, Math.round(seconds / ROUND_S));
  const loadOf = (round: number): Load => ({
    ...{ seconds: seconds / rounds, warmup: round === 0 ? WARMUP_S : 0, connections },
    ...{ fastPerSecond: fast, fastMs: 0, slowPerSecond: slow, slowMs: ms, seed: round + 1 },
  });
  const setting: Setting = {
    ...{ workers, connections, fastPerSecond: fast, slowPerSecond: slow, slowMs: ms },
    ...{ cpus: os.availableParallelism(), node: process.version },
  };
  const measured = new Measured();
  const screen = () => screenOf(process.stdout);
  const picture = () => [
    ...[...heading(setting, screen()), ''],
    ...[...histogram(measured.sides(), screen()), ''],
    ...[...percentiles(measured.sides(), screen()), ''],
  ];
  const lastsMs = NAMES.length * (seconds + WARMUP_S + rounds * AROUND_S) * 1000;
  let doing = '';
  const does = (text: string) => {
    doing = text;
    if (!isLive) process.stderr.write(`demo: ${text}\n`);
  };
  let doneMs = () => 0;
  const isLive = process.stdout.isTTY && process.env.TERM !== 'dumb';
  does('both servers start');
  const stop = isLive
    ? drawLive(() => [...picture(), progress(doneMs() / lastsMs, doing, screen())])
    : () => {};
  try {
    await withServer('cluster-rr', 'stall', workers, (cluster) =>
      withServer('gyre', 'stall', workers, async (gyre) => {
        const ports = { 'cluster-rr': cluster.port, gyre: gyre.port };
        const beganAt = performance.now();
        doneMs = () => performance.now() - beganAt;
        await interleave(rounds, NAMES, (variant, round) => {
          const name = variant as ServerName;
          does(`${SERVERS[name].title}, round ${round + 1} of ${rounds}`);
          return measured.measure(name, ports[name], loadOf(round), round);
        });
      }),
    );
  } finally {
    stop();
  }
  const seen = conclusion(measured.sides(), setting, screen());
  process.stdout.write(`${[...picture(), ...seen].join('\n')}\n`);
}

runOrSay('demo', main);
