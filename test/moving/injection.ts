/**
 * Makes system calls of one thread of another process fail, or come late, with strace(1).
 * One thread, because others fail for good reasons of their own: libuv aborts a process in
 * which epoll_ctl(2) does.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { threads } from '../support/proc.js';

/** Why this system has no such thing, or null. */
export function reasonAgainst(): string | null {
  const { error, status, stderr } = spawnSync('strace', ['-o', '/dev/null', 'true'], {
    encoding: 'utf8',
  });
  if (error !== undefined) return 'strace is not installed';
  return status === 0 ? null : `strace cannot trace here: ${stderr}`;
}

/** The thread of process `pid` whose name matches. */
export function threadOf(pid: number, name: RegExp): number {
  const found = threads(pid).filter((thread) => name.test(thread.name));
  if (found.length !== 1) throw new Error(`${found.length} threads are called ${name}`);
  return (found[0] as { tid: number }).tid;
}

export class Injection {
  readonly #strace: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #file: string;

  private constructor(strace: ChildProcess, file: string) {
    this.#strace = strace;
    this.#ended = once(strace, 'close');
    this.#file = file;
  }

  /**
   * Resolves when it is at work.
   * @param faults as `strace -e inject=` takes them, say `accept4:error=EMFILE:when=1+2`
   * @param file where to write what it sees
   */
  static async start(
    t: Test,
    tids: readonly number[],
    faults: readonly string[],
    file: string,
  ): Promise<Injection> {
    const calls = faults.map((fault) => fault.split(':', 1)[0]).join();
    const strace = spawn(
      'strace',
      [
        ...['-o', file, '-e', `trace=${calls}`, '-e', 'signal=none'],
        ...faults.flatMap((fault) => ['-e', `inject=${fault}`]),
        ...tids.flatMap((tid) => ['-p', String(tid)]),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const injection = new Injection(strace, file);
    t.teardown(() => injection.stop());
    let said = '';
    strace.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    let over = false;
    const ended = injection.#ended.then(() => {
      over = true;
    });
    while ((said.match(/attached/g) ?? []).length < tids.length) {
      if (over) throw new Error(`strace ended: ${said}`);
      await Promise.race([ended, once(strace.stderr as NodeJS.EventEmitter, 'data')]);
    }
    return injection;
  }

  /** How many calls were tampered with so far, and are over. */
  count(): number {
    return (readFileSync(this.#file, 'utf8').match(/INJECTED|DELAYED/g) ?? []).length;
  }

  /** Lets go of the threads. Resolves with the number of calls that were tampered with. */
  async stop(): Promise<number> {
    if (this.#strace.exitCode === null && this.#strace.signalCode === null) {
      this.#strace.kill('SIGINT');
    }
    await this.#ended;
    return this.count();
  }
}
