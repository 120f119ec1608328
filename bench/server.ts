/**
 * The servers that are compared, each as a process group of its own: started, asked
 * until it answers, looked at, and killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Snapshot } from '../src/runtime/api.js';
import { turnsPerMs } from './calibration.js';
import { CannotRun } from './failures.js';
import { endsWithUs, killGroup } from './groups.js';
import {
  cpuUsOf,
  familyOf,
  listeningSockets,
  type Memory,
  memoryOf,
  type Thread,
  threadsOf,
} from './proc.js';
import { ROOT } from './root.js';
import { type AppName, SYSTEMS, type System, type SystemName } from './systems.js';

const sumOver = <T>(all: readonly T[], of: (each: T) => number) =>
  all.reduce((sum, each) => sum + of(each), 0);

/** How long a server may take to serve. None needs a tenth of it on an idle machine. */
const START_MS = 30_000;
/** Between two attempts to connect to a server that does not listen yet. */
const RETRY_MS = 1;

/** Names of the governor's threads, of a runtime whose name is the default. */
const GOVERNOR: readonly string[] = ['gyre-gov', 'gyre-watch'];

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
    endsWithUs(child);
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

  /** CPU time that its processes have used, in whole ticks. */
  cpuUs(): number {
    return sumOver(this.#pids(), cpuUsOf);
  }

  /** Memory of all its processes: `rssMb` counts a page once for each that has it mapped, `pssMb` shares it out. */
  memory(): Memory {
    const held = this.#pids().map(memoryOf);
    return {
      rssMb: sumOver(held, ({ rssMb }) => rssMb),
      pssMb: sumOver(held, ({ pssMb }) => pssMb),
    };
  }

  /** What each of the threads of the server's first process has done since it began. */
  threads(): Thread[] {
    return threadsOf(this.#pid);
  }

  /** What the threads of a gyre's governor have done together: the one that decides, and the one that watches. */
  governor(): { cpuUs: number; wakeups: number } {
    const own = this.threads().filter(({ name }) => GOVERNOR.includes(name));
    return {
      cpuUs: sumOver(own, ({ cpuUs }) => cpuUs),
      wakeups: sumOver(own, ({ wakeups }) => wakeups),
    };
  }

  /** The scoreboard of a hosted gyre. */
  async snapshot(): Promise<Snapshot> {
    const answer = once(this.#child, 'message');
    this.#child.send('snapshot');
    const [snapshot] = await answer;
    return snapshot as Snapshot;
  }

  get #pid(): number {
    return this.#child.pid as number;
  }

  #pids(): number[] {
    return familyOf(this.#pid);
  }

  async stop(): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : null;
    killGroup(this.#child);
    await ended;
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
