/**
 * The servers that are compared, each as a process group of its own: started, asked
 * until it answers, looked at through /proc, and killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Snapshot } from '../src/runtime/api.js';
import type { SchedulerOptions } from '../src/runtime/options.js';
import { turnsPerMs } from './calibration.js';
import { CannotRun } from './harness.js';
import {
  type Command,
  goServer,
  goVersion,
  missingGo,
  missingNewerNode,
  missingWatt,
  newerNode,
  newerNodeVersion,
  watt,
  wattVersion,
} from './rivals.js';
import { ROOT } from './root.js';

const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');
const APPS = path.join(ROOT, 'bench', 'apps');

/** How long a server may take to serve. None needs a tenth of it on an idle machine. */
const START_MS = 30_000;
/** Between two attempts to connect to a server that does not listen yet. */
const RETRY_MS = 1;

/** Clock ticks in /proc are of 10 ms on every Linux (USER_HZ). */
const TICK_US = 10_000;

/** Limit of the variants that have one. No evidence: more than one for each worker, and few. */
const CONNECTIONS_MAX = 16;

/** Names of the governor's threads, of a runtime whose name is the default. */
const GOVERNOR: readonly string[] = ['gyre-gov', 'gyre-watch'];

/** One runs at a time; what a killed one leaves is replaced. */
export const ADMIN_SOCKET = path.join(os.tmpdir(), `gyre-bench-${process.pid}.sock`);

export type AppName = 'hello' | 'express' | 'stall';

/** One way to run an application. */
interface System {
  readonly command: (app: AppName, workers: number) => Command;
  /**
   * How it is known that all its workers listen. announced: it writes
   * `{"event":"listening"}` to stderr. sockets: there is one listening socket for each.
   * answered: it has but one.
   */
  readonly ready: 'announced' | 'sockets' | 'answered';
  /** Why this machine cannot run it, or null. Absent: any can. */
  readonly missing?: () => string | null;
  /** Versions of what runs it, where that is not this node. */
  readonly programs?: () => Readonly<Record<string, string>>;
  /** It answers {@link Server.snapshot}. */
  readonly hosted?: boolean;
}

const pathOf = (app: AppName) => path.join(APPS, `${app}.js`);

const script = (name: string, ...more: string[]): System => ({
  command: (app, workers) => ({
    file: process.execPath,
    args: [path.join(APPS, `${name}.js`), pathOf(app), String(workers), ...more],
  }),
  ready: 'announced',
});
const gyre = (...flags: string[]): System => ({
  command: (app, workers) => ({
    file: process.execPath,
    args: [CLI, 'run', pathOf(app), '--json', '--workers', `${workers}`, ...flags],
  }),
  ready: 'announced',
});
const hosted = (scheduler: SchedulerOptions, pin: 'soft' | 'hard' | 'off' = 'soft'): System => ({
  ...script('host', JSON.stringify({ scheduler, pin, require: ['move'] })),
  hosted: true,
});

/**
 * - gyre: as it comes, each worker pinned to a CPU, connections moving
 * - gyre-still: the same with moving off
 * - gyre-unpinned: as it comes, but without pins
 * - gyre-admin: as it comes, with its admin endpoint on ADMIN_SOCKET
 * - gyre-spares-N: as it comes, but with at most N spares
 * - gyre-refuse: with a limit on connections, beyond which they are told 503
 * - gyre-wait: with the same limit, and room for a quarter as many in each worker's accept queue
 * - hosted, hosted-still: gyre and gyre-still through the API, which tells what was moved
 * - hosted-hard, hosted-unpinned: hosted with pins that never give way, or none
 * - hosted-chaos: connections move at random, idle ones too, as fast as they can
 * - cluster-rr: node:cluster whose primary accepts and hands connections out in turn
 * - cluster-none: node:cluster whose workers all accept from one socket
 * - single: plain node, one process, one thread
 * - threads: plain worker threads, each with an SO_REUSEPORT socket
 * - transfer: node's own transfer of a new connection to the thread that has fewest
 * - watt: Platformatic Watt, as many workers
 * - go: a net/http server in Go, with as many processors as workers
 */
export const SYSTEMS = {
  gyre: gyre(),
  'gyre-still': gyre('--no-move'),
  'gyre-unpinned': gyre('--pin', 'off'),
  'gyre-admin': gyre('--admin', `unix:${ADMIN_SOCKET}`),
  'gyre-spares-0': gyre('--spares', '0'),
  'gyre-spares-1': gyre('--spares', '1'),
  'gyre-spares-2': gyre('--spares', '2'),
  'gyre-spares-8': gyre('--spares', '8'),
  'gyre-refuse': gyre('--max-connections', `${CONNECTIONS_MAX}`, '--overload', 'refuse'),
  'gyre-wait': script(
    'host',
    JSON.stringify({ maxConnections: CONNECTIONS_MAX, backlog: CONNECTIONS_MAX / 4 }),
  ),
  hosted: hosted({ move: true }),
  'hosted-still': hosted({ move: false }),
  'hosted-hard': hosted({ move: true }, 'hard'),
  'hosted-unpinned': hosted({ move: true }, 'off'),
  'hosted-chaos': hosted({ move: true, chaos: true }),
  'cluster-rr': script('cluster', 'rr'),
  'cluster-none': script('cluster', 'none'),
  single: {
    command: (app) => ({ file: process.execPath, args: [pathOf(app)] }),
    ready: 'answered',
  },
  threads: script('threads'),
  transfer: {
    command: (app, workers) => ({ ...script('transfer').command(app, workers), file: newerNode() }),
    ready: 'announced',
    missing: missingNewerNode,
    programs: () => ({ 'Node of transfer': newerNodeVersion() }),
  },
  watt: {
    ...{ command: watt, ready: 'sockets', missing: missingWatt },
    programs: () => ({ Watt: wattVersion(), 'Node of watt': newerNodeVersion() }),
  },
  go: {
    ...{ command: goServer, ready: 'answered', missing: missingGo },
    programs: () => ({ Go: goVersion() }),
  },
} as const satisfies Record<string, System>;

export type SystemName = keyof typeof SYSTEMS;

/** Why this machine cannot run a system, or null. */
export function missingSystem(name: SystemName): string | null {
  const { missing }: System = SYSTEMS[name];
  return missing?.() ?? null;
}

/** Versions of what runs these systems besides this node. */
export function programsOf(names: readonly SystemName[]): Record<string, string> {
  const found = names.map((name) => {
    const { programs }: System = SYSTEMS[name];
    return programs?.() ?? {};
  });
  return Object.assign({}, ...found);
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) killGroup(child);
});
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(128 + os.constants.signals[signal])); // as a shell says it
}

/** Ends `child`, which leads a process group of its own, when this process ends. */
export function endsWithUs(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // all of it has ended
  }
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Status and body of one GET on a connection of its own. */
export function get(port: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

/** Listening TCP sockets of this port (proc(5): net/tcp; state 0A is LISTEN). */
function listeningSockets(port: number): number {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = ['tcp', 'tcp6'].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, 'utf8').split('\n').slice(1),
  );
  return rows.filter((row) => {
    const [, local, , state] = row.trim().split(/\s+/);
    return state === '0A' && local?.endsWith(`:${wanted}`);
  }).length;
}

/** A thread as /proc shows it (proc(5): comm, schedstat, status). */
export interface Thread {
  /** Cut at 15 bytes. */
  readonly name: string;
  readonly cpuUs: number;
  /** Times it slept and was woken. */
  readonly wakeups: number;
}

export class Server {
  readonly port: number;
  /** From the call that started the process to the end of the first answer. */
  readonly firstAnswerMs: number;
  /** From there to the moment when all its workers listen. */
  readonly allListenMs: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number, took: readonly [number, number]) {
    this.#child = child;
    this.port = port;
    [this.firstAnswerMs, this.allListenMs] = took;
  }

  /** Resolves when every worker of it listens and it has given the right answer. */
  static async start(name: SystemName, app: AppName, workers: number): Promise<Server> {
    const { command, ready, hosted = false }: System = SYSTEMS[name];
    const starts = command(app, workers);
    const port = await freePort();
    // Before the clock starts.
    const burnPerMs = app === 'stall' ? { BURN_PER_MS: turnsPerMs(starts) } : {};
    const startedAt = performance.now();
    const child = spawn(starts.file, starts.args, {
      cwd: ROOT,
      env: {
        ...process.env,
        ...{ PORT: String(port), NODE_ENV: 'production', ...burnPerMs, ...starts.env },
      },
      stdio: ['ignore', 'ignore', 'pipe', ...(hosted ? (['ipc'] as const) : [])],
      detached: true, // a process group of its own, which ends as one
    });
    running.add(child);
    let stderr = '';
    const announced = new Promise<number>((resolve, reject) => {
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        if (stderr.includes('"event":"listening"')) resolve(performance.now());
      });
      child.once('error', (error) => reject(new CannotRun(`${name}: ${error.message}`)));
      child.once('exit', (code) => {
        reject(new CannotRun(`${name} ended with code ${code} before it served:\n${stderr}`));
      });
    });
    announced.catch(() => {}); // awaited below, when the first answer is there
    try {
      const answeredAt = await Server.#firstAnswer(child, port, startedAt);
      let allAt = answeredAt; // a single process that answers listens
      if (ready === 'announced') allAt = await announced;
      else if (ready === 'sockets') allAt = await Server.#allSockets(port, workers, startedAt);
      return new Server(child, port, [answeredAt - startedAt, allAt - startedAt]);
    } catch (error) {
      killGroup(child);
      throw error;
    }
  }

  static async #allSockets(port: number, workers: number, startedAt: number): Promise<number> {
    while (listeningSockets(port) < workers) {
      if (performance.now() - startedAt > START_MS) throw new CannotRun('not all workers listen');
      await sleep(RETRY_MS);
    }
    return performance.now();
  }

  static async #firstAnswer(child: ChildProcess, port: number, startedAt: number): Promise<number> {
    for (;;) {
      try {
        const { status, body } = await get(port);
        const at = performance.now();
        if (status === 200 && body === 'hello world\n') return at;
        throw new CannotRun(`the server answers ${status} ${JSON.stringify(body)}`);
      } catch (error) {
        if (error instanceof CannotRun) throw error;
        if (child.exitCode !== null || performance.now() - startedAt > START_MS) {
          const ended = child.exitCode === null ? '' : `; it ended with code ${child.exitCode}`;
          throw new CannotRun(`no answer: ${(error as Error).message}${ended}`);
        }
      }
      await sleep(RETRY_MS);
    }
  }

  /** Its processes now. */
  pids(): number[] {
    const found = [this.#child.pid as number];
    for (const pid of found) {
      for (const tid of readdirSync(`/proc/${pid}/task`)) {
        const children = readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8');
        found.push(...children.split(' ').filter(Boolean).map(Number));
      }
    }
    return found;
  }

  /** CPU time that its processes have used, in whole ticks (proc(5): stat, 14 and 15). */
  cpuUs(): number {
    return this.pids().reduce((sum, pid) => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return sum + (Number(afterName[11]) + Number(afterName[12])) * TICK_US;
    }, 0);
  }

  /**
   * Memory of all its processes (proc(5): smaps_rollup). `rssMb` counts a page once for
   * each process that has it mapped, `pssMb` shares it out among them.
   */
  memory(): { rssMb: number; pssMb: number } {
    let rssKb = 0;
    let pssKb = 0;
    for (const pid of this.pids()) {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      rssKb += Number(/^Rss:\s*(\d+)/m.exec(rollup)?.[1]);
      pssKb += Number(/^Pss:\s*(\d+)/m.exec(rollup)?.[1]);
    }
    return { rssMb: rssKb / 1024, pssMb: pssKb / 1024 };
  }

  /** What each of the server's first process's threads has done since it began. */
  threads(): Thread[] {
    const tasks = `/proc/${this.#child.pid}/task`;
    return readdirSync(tasks).map((tid) => {
      const read = (file: string) => readFileSync(`${tasks}/${tid}/${file}`, 'utf8');
      const switches = /^voluntary_ctxt_switches:\s*(\d+)/m.exec(read('status'))?.[1];
      return {
        name: read('comm').trim(),
        cpuUs: Number(read('schedstat').split(' ')[0]) / 1000,
        wakeups: Number(switches),
      };
    });
  }

  /** The threads of a gyre's governor: the one that decides, and the one that watches. */
  governor(): Thread[] {
    return this.threads().filter(({ name }) => GOVERNOR.includes(name));
  }

  /** The scoreboard of a hosted gyre. */
  async snapshot(): Promise<Snapshot> {
    const answer = once(this.#child, 'message');
    this.#child.send('snapshot');
    const [snapshot] = await answer;
    return snapshot as Snapshot;
  }

  async stop(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : null;
    killGroup(this.#child);
    await ended;
    running.delete(this.#child);
  }
}

/** Starts a server, hands it to `use`, and ends it whatever happens. */
export async function withServer<T>(
  system: SystemName,
  app: AppName,
  workers: number,
  use: (server: Server) => Promise<T> | T,
): Promise<T> {
  const server = await Server.start(system, app, workers);
  try {
    return await use(server);
  } finally {
    await server.stop();
  }
}
