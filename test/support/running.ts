/** Commands that a test runs as processes, and that end with it; the CLI is one. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';
import { CLI, ROOT } from './app.js';

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
