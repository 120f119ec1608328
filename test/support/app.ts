/**
 * What tests share: fixtures by name, runtimes that end with their test, the CLI as
 * a real process, and a look at this process from outside.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import workerThreads, { type WorkerOptions } from 'node:worker_threads';
import type { Test } from 'tap';
import {
  createRuntime,
  type ListenAddress,
  type Runtime,
  type RuntimeOptions,
} from '../../src/index.js';

// tap preloads modules of its own into the test's process, and threads inherit that:
// on Node 20 every worker would then start a loader thread first, for over a second.
// No test is about that, so workers started here get no options from the command line.
delete process.env.NODE_OPTIONS;
const NodeWorker = workerThreads.Worker;
workerThreads.Worker = class extends NodeWorker {
  constructor(file: string | URL, options: WorkerOptions) {
    super(file, { ...options, execArgv: [] });
  }
};

/** From dist/test/support. */
export const ROOT = path.join(__dirname, '..', '..', '..');
export const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');

/** An application in test/fixtures/apps: plain JavaScript that knows nothing of gyre. */
export function app(name: string): string {
  return path.join(ROOT, 'test', 'fixtures', 'apps', name);
}

/** A runtime that is closed when test `t` ends. It waits for its workers as long as the test may. */
export async function start(
  t: Test,
  entry: string,
  options: Partial<RuntimeOptions> = {},
): Promise<Runtime> {
  const runtime = await createRuntime({ entry, startMs: Number.POSITIVE_INFINITY, ...options });
  t.teardown(() => runtime.close({ drainMs: 0 }));
  return runtime;
}

/** The one TCP port that `runtime` listens on. */
export function portOf(runtime: Runtime): number {
  const ports = runtime.addresses.flatMap((address: ListenAddress) =>
    address.family === 'unix' ? [] : [address.port],
  );
  if (ports.length !== 1) throw new Error(`${ports.length} ports: ${ports}`);
  return ports[0] as number;
}

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** One request on a connection of its own, unless `options.agent` says otherwise. */
export function get(options: http.RequestOptions | number): Promise<Answer> {
  const where = typeof options === 'number' ? { port: options } : options;
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', agent: false, ...where }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end();
  });
}

/**
 * Asks on new connections until `each` of the workers 0 to `count` - 1 has answered;
 * `worker` finds the index in an answer. Bounded: the kernel spreads connections by a
 * hash, so 100 all to one of two workers means that the other accepts none.
 */
export async function getFromEach(
  options: http.RequestOptions | number,
  count: number,
  worker: (answer: Answer) => number,
): Promise<Map<number, Answer>> {
  const answers = new Map<number, Answer>();
  for (let tries = 0; answers.size < count; tries++) {
    if (tries === 100) throw new Error(`only workers ${[...answers.keys()]} answered`);
    const answer = await get(options);
    answers.set(worker(answer), answer);
  }
  return answers;
}

/** Lengths of the accept queues of the sockets that listen on `port`; null without ss. */
export function backlogs(port: number): number[] | null {
  const { status, stdout } = spawnSync('ss', ['-Hltn', `sport = :${port}`], { encoding: 'utf8' });
  if (status !== 0) return null;
  const lines = stdout.trim().split('\n');
  return lines.map((line) => Number(line.split(/\s+/)[2]));
}

/** Descriptors that this process has open, with what they refer to. */
export function descriptors(): Map<number, string> {
  const open = new Map<number, string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      open.set(Number(fd), readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      // the one that listed the directory
    }
  }
  return open;
}

/** Kernel threads of a process, by default this one: name and the CPUs that each may use. */
export function threads(
  pid: number | string = 'self',
): { tid: number; name: string; cpus: string }[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    let status: string;
    try {
      status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    } catch {
      return []; // it has ended since it was listed
    }
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
    return [{ tid: Number(tid), name: field('Name'), cpus: field('Cpus_allowed_list') }];
  });
}

/** A command that was started by a test and ends with it. */
export class Running {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly #ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  /** @param inherited what it has as descriptors 3, 4, …: one of ours, or a new socket pair */
  constructor(
    t: Test,
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    inherited: readonly (number | 'pipe')[] = [],
  ) {
    const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', ...inherited];
    // tap gives every child a preload, whatever environment it is spawned with: it is slow,
    // listens for signals and is seen in process.env. env(1) drops it, and keeps the pid.
    const variables = Object.entries({ ...process.env, ...env })
      .filter(([name, value]) => value !== undefined && !name.startsWith('_TAPJS_'))
      .map(([name, value]) => `${name}=${value}`);
    this.child = spawn('env', ['-i', ...variables, command, ...args], { cwd: ROOT, stdio });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#ended = once(this.child, 'close').then(([code, signal]) => ({ code, signal }));
    t.teardown(async () => {
      if (this.child.exitCode === null && this.child.signalCode === null)
        this.child.kill('SIGKILL');
      await this.#ended;
    });
  }

  /** Resolves with the first match of `pattern` in stderr; rejects if it ends without. */
  async says(pattern: RegExp, on: 'stdout' | 'stderr' = 'stderr'): Promise<RegExpExecArray> {
    let over = false;
    const ended = this.#ended.then(() => {
      over = true;
    });
    for (;;) {
      const match = pattern.exec(this[on]);
      if (match !== null) return match;
      if (over) throw new Error(`it ended and never said ${pattern}:\n${this.stderr}`);
      await Promise.race([ended, once(this.child[on] as NodeJS.EventEmitter, 'data')]);
    }
  }

  ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return this.#ended;
  }
}

/** `gyre ...args` as a process. */
export function gyre(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  return new Running(t, process.execPath, [CLI, ...args], env);
}
