/**
 * The machine that figures are taken on, and what runs on it.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Machine } from './report.js';
import { ROOT } from './root.js';

/** Where results are kept: to write one changes nothing that is measured. */
const RESULTS = 'docs/benchmarks';

/** 'unknown' outside a git repository. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const changed = git('status', '--porcelain', '-uno', '--', '.', `:!${RESULTS}*`);
    return `${git('rev-parse', '--short=12', 'HEAD').trim()}${changed === '' ? '' : '+'}`;
  } catch {
    return 'unknown';
  }
}

export function describeMachine(programs: Readonly<Record<string, string>> = {}): Machine {
  const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
  };
  let allowedCpus = 'unknown';
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    allowedCpus = /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? allowedCpus;
  } catch {
    // not Linux
  }
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cpus: os.cpus().length,
    allowedCpus,
    memoryMb: Math.round(os.totalmem() / 2 ** 20),
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    programs,
    gyre: version,
    commit: commit(),
    loadBefore: os.loadavg()[0] ?? 0,
  };
}
