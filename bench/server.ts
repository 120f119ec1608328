/**
 * The servers that are compared, each as a process group of its own: started, asked
 * until it answers, looked at through /proc, and killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CannotRun, ROOT } from './harness.js';

const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');
const APPS = path.join(ROOT, 'bench', 'apps');

/** How long a server may take to serve. None needs a tenth of it on an idle machine. */
const START_MS = 30_000;
/** Between two attempts to connect to a server that does not listen yet. */
const RETRY_MS = 1;

export type AppName = 'hello' | 'express' | 'stall';

/** One way to run an application: arguments for node, and whether it says when it serves. */
interface System {
  readonly args: (app: string, workers: number) => readonly string[];
  /** Writes `{"event":"listening"}` to stderr when all its workers listen. */
  readonly announces: boolean;
}

const cluster = (policy: 'rr' | 'none'): System => ({
  args: (app, workers) => [path.join(APPS, 'cluster.js'), app, String(workers), policy],
  announces: true,
});
const gyre = (...flags: string[]): System => ({
  args: (app, workers) => [CLI, 'run', app, '--json', '--workers', `${workers}`, ...flags],
  announces: true,
});

/**
 * - gyre: as it comes, each worker pinned to a CPU
 * - gyre-unpinned: the same without pins
 * - gyre-move, gyre-move-unpinned: each of them with moving on
 * - cluster-rr: node:cluster whose primary accepts and hands connections out in turn
 * - cluster-none: node:cluster whose workers all accept from one socket
 * - single: plain node, one process, one thread
 */
export const SYSTEMS = {
  gyre: gyre('--no-move'),
  'gyre-unpinned': gyre('--no-move', '--pin', 'off'),
  'gyre-move': gyre(),
  'gyre-move-unpinned': gyre('--pin', 'off'),
  'gyre-spares-0': gyre('--spares', '0'),
  'cluster-rr': cluster('rr'),
  'cluster-none': cluster('none'),
  single: { args: (app: string) => [app], announces: false },
} as const satisfies Record<string, System>;

export type SystemName = keyof typeof SYSTEMS;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) killGroup(child);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(1));
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // all of it has ended
  }
}

/** A port that nobody listens on now. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Status and body of one GET on a connection of its own. */
function get(port: number): Promise<{ status: number; body: string }> {
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
  static async start(system: SystemName, app: AppName, workers: number): Promise<Server> {
    const { args, announces } = SYSTEMS[system];
    const port = await freePort();
    const startedAt = performance.now();
    const child = spawn(process.execPath, args(path.join(APPS, `${app}.js`), workers), {
      cwd: ROOT,
      env: { ...process.env, PORT: String(port), NODE_ENV: 'production' },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true, // a process group of its own, which ends as one
    });
    running.add(child);
    let stderr = '';
    const listens = new Promise<number>((resolve, reject) => {
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        if (stderr.includes('"event":"listening"')) resolve(performance.now());
      });
      child.once('exit', (code) => {
        reject(new CannotRun(`${system} ended with code ${code} before it served:\n${stderr}`));
      });
    });
    listens.catch(() => {}); // awaited below, when the first answer is there
    try {
      const answeredAt = await Server.#firstAnswer(child, port, startedAt);
      // A single process that answers listens.
      const allAt = announces ? await listens : answeredAt;
      return new Server(child, port, [answeredAt - startedAt, allAt - startedAt]);
    } catch (error) {
      killGroup(child);
      throw error;
    }
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

  /** CPU time that its processes have used, in clock ticks (proc(5): stat, 14 and 15). */
  cpuTicks(): number {
    return this.pids().reduce((sum, pid) => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return sum + Number(afterName[11]) + Number(afterName[12]);
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
