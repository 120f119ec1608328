/**
 * A runtime in a process of its own, so that neither the load that a test makes nor its
 * descriptors get mixed up with the runtime's, and so that it can run under `strace` or
 * a limit. The same file is both ends: {@link Host} is the test's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import {
  createRuntime,
  type ListenAddress,
  type Runtime,
  type RuntimeOptions,
  type Snapshot,
  type WorkerInfo,
} from '../../src/index.js';
import { descriptors } from '../support/app.js';

type Question =
  | { readonly ask: 'facts' }
  | { readonly ask: 'close'; readonly drainMs: number | null };

/** What a host tells of itself. */
export interface Facts {
  readonly pid: number;
  readonly addresses: readonly ListenAddress[];
  readonly workers: readonly WorkerInfo[];
  readonly spares: readonly WorkerInfo[];
  readonly snapshot: Snapshot;
  /** What each open descriptor refers to, sorted. */
  readonly descriptors: readonly string[];
  readonly move: { readonly available: boolean; readonly reason?: string };
  /** Uncaught errors of workers, by message. */
  readonly errors: readonly string[];
}

interface Waiting {
  resolve(facts: Facts): void;
  reject(error: Error): void;
}

export interface HostOptions {
  /** What to run the host under, before the path of node: `strace` and its arguments. */
  readonly under?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** Sum of one count over all workers. */
export function total(facts: Facts, count: 'received' | 'connections' | 'accepted' | 'failures') {
  return facts.snapshot.workers.reduce((sum, row) => sum + row[count], 0);
}

export class Host {
  stderr = '';
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #pid: number | null = null;
  #last = 0;
  #over = false;

  private constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    child.on('message', ({ id, facts }: { id: number; facts: Facts }) => {
      this.#waiting.get(id)?.resolve(facts);
      this.#waiting.delete(id);
    });
    child.on('close', (code, signal) => {
      this.#over = true;
      const error = new Error(`the host ended with ${signal ?? code}:\n${this.stderr}`);
      for (const { reject } of this.#waiting.values()) reject(error);
    });
  }

  /** Resolves when every worker of it listens. */
  static async start(t: Test, runtime: RuntimeOptions, options: HostOptions = {}): Promise<Host> {
    const { under = [], env = {} } = options;
    const command = [...under, process.execPath, __filename, JSON.stringify(runtime)];
    const child = spawn(command[0] as string, command.slice(1), {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, ...env },
    });
    const host = new Host(child);
    const closed = once(child, 'close');
    t.teardown(async () => {
      // Not what it runs under, which would leave it behind.
      if (!host.#over) process.kill(host.pid, 'SIGKILL');
      await closed;
    });
    host.#pid = (await host.#answer(0)).pid; // it says so by itself
    return host;
  }

  facts(): Promise<Facts> {
    return this.#ask({ ask: 'facts' });
  }

  /** The facts once `holds` does, or, bounded, as they are when it still does not. */
  async factsWhen(holds: (facts: Facts) => boolean, tries = 200): Promise<Facts> {
    for (let i = 0; ; i++) {
      const facts = await this.facts();
      if (holds(facts) || i === tries) return facts;
      await sleep(50);
    }
  }

  /** Closes the runtime, and resolves with what is left then. */
  close(drainMs: number | null = null): Promise<Facts> {
    return this.#ask({ ask: 'close', drainMs });
  }

  /** Of the runtime's process, whatever that runs under. */
  get pid(): number {
    return this.#pid ?? (this.child.pid as number);
  }

  #ask(question: Question): Promise<Facts> {
    const id = ++this.#last;
    this.child.send({ id, question });
    return this.#answer(id);
  }

  #answer(id: number): Promise<Facts> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }
}

/** The other end. */
async function serve(options: RuntimeOptions): Promise<void> {
  const errors: string[] = [];
  const tell = (id: number, runtime: Runtime) => {
    const facts: Facts = {
      pid: process.pid,
      addresses: runtime.addresses,
      workers: runtime.workers,
      spares: runtime.spares,
      snapshot: runtime.snapshot(),
      descriptors: [...descriptors().values()].sort(),
      move: runtime.capabilities.move,
      errors,
    };
    process.send?.({ id, facts });
  };
  const runtime = await createRuntime(options);
  runtime.on('error', ({ message }) => errors.push(message));
  process.on('message', async ({ id, question }: { id: number; question: Question }) => {
    if (question.ask === 'close') {
      const { drainMs } = question;
      await runtime.close(drainMs === null ? {} : { drainMs });
    }
    tell(id, runtime);
  });
  tell(0, runtime);
}

if (require.main === module) serve(JSON.parse(process.argv[2] as string));
