/**
 * A runtime in a process of its own, so that neither the load that a test makes nor its
 * descriptors get mixed up with the runtime's, and so that it can run under `strace` or
 * a limit. This is the test's end; hosted.ts is that process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Test } from 'tap';
import type {
  ListenAddress,
  RuntimeOptions,
  RuntimeState,
  Snapshot,
  WorkerInfo,
} from '../../src/index.js';

export type Question =
  | { readonly ask: 'facts' }
  | { readonly ask: 'close'; readonly drainMs: number | null }
  | { readonly ask: 'reload'; readonly drainMs: number }
  | { readonly ask: 'resize'; readonly workers: number }
  /** Lets go of the only thing that keeps the process then. */
  | { readonly ask: 'leave' };

/** What a host tells of itself. */
export interface Facts {
  readonly pid: number;
  readonly addresses: readonly ListenAddress[];
  readonly workers: readonly WorkerInfo[];
  readonly spares: readonly WorkerInfo[];
  readonly snapshot: Snapshot;
  /** What each open descriptor refers to, sorted. */
  readonly descriptors: readonly string[];
  /** The descriptors' numbers. */
  readonly numbers: readonly number[];
  /** Names of its kernel threads, sorted. */
  readonly threads: readonly string[];
  readonly move: { readonly available: boolean; readonly reason?: string };
  /** Uncaught errors of workers, by message. */
  readonly errors: readonly string[];
  /** What the runtime has told of since it started, apart from errors. */
  readonly events: readonly HostEvent[];
  /** Why what was asked for could not be done: code and message. */
  readonly refused: string | null;
  readonly state: RuntimeState;
  readonly ready: boolean;
}

export interface HostEvent {
  /** In ms, on the clock of `performance.timeOrigin + performance.now()`. */
  readonly at: number;
  readonly name: 'worker' | 'listening' | 'exit' | 'hang' | 'recycle' | 'reload';
  readonly worker: number | null;
  /** Node's number of the thread, where it is about one. */
  readonly threadId: number | null;
  readonly restartInMs?: number | null;
  readonly stack?: readonly string[] | null;
}

interface FromHost {
  readonly id: number;
  readonly facts: Facts;
  /** Instead of facts. */
  readonly event?: HostEvent;
}

interface Waiting {
  resolve(facts: Facts): void;
  reject(error: Error): void;
}

export interface HostOptions {
  /** What to run the host under, before the path of node: `strace` and its arguments. */
  readonly under?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Options of node itself. */
  readonly flags?: readonly string[];
}

type Count =
  | 'held'
  | 'pauses'
  | 'received'
  | 'connections'
  | 'accepted'
  | 'failures'
  | 'refused'
  | 'mismatches';

/** Sum of one count over all workers, and the spares that run. */
export function total({ snapshot }: Facts, count: Count): number {
  return [...snapshot.workers, ...snapshot.spares].reduce((sum, row) => sum + row[count], 0);
}

/** The limit on descriptors with which a process like this has `free` of them left. */
export function limitFor({ numbers }: Facts, free: number): number {
  const open = new Set(numbers);
  let limit = 0;
  for (let left = free; left > 0; limit++) if (!open.has(limit)) left--;
  return limit;
}

/**
 * Looks, 50 ms apart, that must find the same descriptors: a worker that gets no CPU still has those
 * that it is about to close.
 */
const SETTLED = 10;

export class Host {
  stderr = '';
  /** What the runtime has told of since it started, as soon as it does. */
  readonly events: HostEvent[] = [];
  readonly #waiters = new Set<() => void>();
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #closed: Promise<unknown>;
  /** Before there was a runtime in it. */
  #bare: Facts | null = null;
  #last = 1;
  /** Why nobody answers any more. */
  #ended: Error | null = null;

  private constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    child.on('message', ({ id, facts, event }: FromHost) => {
      if (event !== undefined) {
        this.events.push(event);
        for (const look of this.#waiters) look();
      } else {
        this.#waiting.get(id)?.resolve(facts);
        this.#waiting.delete(id);
      }
    });
    this.#closed = once(child, 'close');
    child.on('close', (code, signal) => {
      this.#ended = new Error(`the host ended with ${signal ?? code}:\n${this.stderr}`);
      for (const look of this.#waiters) look();
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
    });
  }

  /** Resolves when every worker of it listens. */
  static async start(t: Test, runtime: RuntimeOptions, options: HostOptions = {}): Promise<Host> {
    const { under = [], env = {}, flags = [] } = options;
    const hosted = path.join(__dirname, 'hosted.js');
    const program = [process.execPath, ...flags, hosted, JSON.stringify(runtime)];
    const command = [...under, ...program];
    const child = spawn(command[0] as string, command.slice(1), {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, ...env },
    });
    const host = new Host(child);
    t.teardown(async () => {
      // Not what it runs under, which would leave it behind.
      if (host.#ended === null) process.kill(host.pid, 'SIGKILL');
      await host.#closed;
    });
    // These two it says by itself.
    host.#bare = await host.#answer(0);
    await host.#answer(1);
    return host;
  }

  facts(): Promise<Facts> {
    return this.#ask({ ask: 'facts' });
  }

  /**
   * The facts once `holds` does, or, bounded, as they are when it still does not: half a minute and more,
   * since on a machine that is busy with other things a tenth of a CPU may be all there is.
   */
  async factsWhen(holds: (facts: Facts) => boolean, tries = 600): Promise<Facts> {
    for (let i = 0; ; i++) {
      const facts = await this.facts();
      if (holds(facts) || i === tries) return facts;
      await sleep(50);
    }
  }

  /**
   * The facts once `holds` does and nothing is on its way: a connection in a mailbox is nobody's,
   * and one that moves at random is there for most of its time.
   */
  settled(holds: (facts: Facts) => boolean): Promise<Facts> {
    let last: readonly string[] = [];
    let same = 0;
    return this.factsWhen((facts) => {
      same = holds(facts) && isDeepStrictEqual(facts.descriptors, last) ? same + 1 : 0;
      last = facts.descriptors;
      return same === SETTLED;
    });
  }

  /**
   * Closes the runtime, and checks that its process is what it was before, and ends.
   * @param errors those of its workers that the test has caused, or what each of them matches
   * @param refused why the runtime could not close by itself, if the test has caused that
   */
  async close(
    t: Test,
    drainMs: number | null = null,
    errors: readonly string[] | RegExp = [],
    refused: string | null = null,
  ) {
    const bare = this.#bare as Facts;
    let last = await this.#ask({ ask: 'close', drainMs });
    t.equal(last.refused, refused, 'the runtime has closed');
    // The kernel lists a thread a moment longer than it runs.
    if (last.threads.length > bare.threads.length) {
      await this.factsWhen(({ threads }) => threads.length <= bare.threads.length);
      last = await this.facts();
    }
    t.same(
      last.workers.map(({ state }) => state),
      last.workers.map(() => 'exited'),
      'every worker has ended',
    );
    t.same(last.descriptors, bare.descriptors, 'the process has the descriptors it began with');
    t.same(last.threads, bare.threads, 'and its threads');
    const expected =
      errors instanceof RegExp ? last.errors.filter((error) => errors.test(error)) : errors;
    t.same(last.errors, expected, 'no worker failed otherwise');
    this.#send(++this.#last, { ask: 'leave' });
    t.same(await this.#closed, [0, null], 'nothing keeps the process alive');
  }

  /** Resolves when `holds`, which is asked after each event, or when the host has ended. */
  until(holds: (events: readonly HostEvent[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds(this.events) && this.#ended === null) return;
        this.#waiters.delete(look);
        resolve();
      };
      this.#waiters.add(look);
      look();
    });
  }

  /** Whether its process has ended. */
  get over(): boolean {
    return this.#ended !== null;
  }

  /** Resolves when the runtime has closed, or with why it could not. */
  tryToClose(drainMs: number): Promise<Facts> {
    return this.#ask({ ask: 'close', drainMs });
  }

  /** Resolves when every worker was replaced, or with why not. */
  reload(drainMs: number): Promise<Facts> {
    return this.#ask({ ask: 'reload', drainMs });
  }

  resize(workers: number): Promise<Facts> {
    return this.#ask({ ask: 'resize', workers });
  }

  /** Of the runtime's process, whatever that runs under. */
  get pid(): number {
    return this.#bare?.pid ?? (this.child.pid as number);
  }

  #ask(question: Question): Promise<Facts> {
    const id = ++this.#last;
    this.#send(id, question);
    return this.#answer(id);
  }

  #send(id: number, question: Question): void {
    if (this.#ended !== null) throw this.#ended;
    this.child.send({ id, question });
  }

  #answer(id: number): Promise<Facts> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }
}
