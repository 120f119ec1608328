/**
 * The C++ trials of test/native: their builds, and what they and the sanitizers say.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ROOT } from '../support/app.js';

export type Sanitizer = 'none' | 'thread' | 'address';

export interface Outcome {
  /** Exit code; null: a signal, or the time was up. */
  readonly code: number | null;
  readonly output: string;
}

/** Far above the slowest, so that nothing outlasts a test. */
const RUN_MS = 120_000;

/** Why there is nothing to test with `sanitizer` here, or false. */
export function absent(sanitizer: Sanitizer): string | false {
  if (process.platform !== 'linux') return 'pausing needs Linux';
  try {
    execFileSync('cmake', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'cmake is not installed';
  }
  const folder = mkdtempSync(path.join(os.tmpdir(), 'gyre-sanitizer-'));
  try {
    const program = path.join(folder, 'program');
    writeFileSync(`${program}.cc`, 'int main() { return 0; }\n');
    const options = sanitizer === 'none' ? [] : [`-fsanitize=${sanitizer}`];
    execFileSync('c++', [...options, '-o', program, `${program}.cc`], { stdio: 'ignore' });
    // A kernel whose addresses are too random for the sanitizer lets it build and not run.
    execFileSync(program, { stdio: 'ignore' });
    return false;
  } catch {
    return sanitizer === 'none'
      ? 'there is no C++ compiler'
      : `the C++ compiler has no -fsanitize=${sanitizer} that works here`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs `command` to its end, and collects what it prints. */
export async function outcome(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: RUN_MS,
    killSignal: 'SIGKILL',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  return { code, output };
}

/** Builds the trials, or them and their mutants, and returns their folder. */
export async function build(sanitizer: Sanitizer, mutants: boolean): Promise<string> {
  const folder = path.join(ROOT, 'build', 'trials', mutants ? 'mutants' : sanitizer);
  mkdirSync(folder, { recursive: true });
  const source = path.join(ROOT, 'test', 'native');
  const options = [`-DSANITIZER=${sanitizer}`, `-DMUTANTS=${mutants ? 'ON' : 'OFF'}`];
  for (const args of [
    ['-S', source, '-B', folder, ...options],
    ['--build', folder, '--parallel', String(os.availableParallelism())],
  ]) {
    const { code, output } = await outcome('cmake', args);
    if (code !== 0) throw new Error(`cmake ended with ${code}: ${output.slice(-2000)}`);
  }
  return folder;
}

export function mutantsIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => /^mutant-\w+-[A-Z_]+$/.test(name));
}

/** @param boundMs how long one thread of it may stand still */
export function run(
  folder: string,
  trial: string,
  steps: number,
  boundMs: number,
): Promise<Outcome> {
  // Seed 0: by chance. Each prints the one it took.
  return outcome(path.join(folder, trial), ['0', String(steps), String(boundMs)], {
    TSAN_OPTIONS: 'halt_on_error=1',
  });
}
