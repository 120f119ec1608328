/**
 * The load generator: wrk, a closed loop over keep-alive connections, in a process of
 * its own on the same CPUs as the server.
 */
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { CannotRun, VoidRun } from './harness.js';
import { ROOT } from './root.js';

/** After how long a request has failed. Wrk's 2 s is a slow answer on a crowded machine. */
const TIMEOUT_S = 10;

const SCRIPT = path.join(ROOT, 'bench', 'wrk.lua');

export interface Load {
  readonly connections: number;
  /** A whole number: wrk takes no other. */
  readonly seconds: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** What bench/wrk.lua prints. */
interface Output {
  readonly requests: number;
  readonly durationUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly errors: Readonly<Record<'connect' | 'read' | 'write' | 'status' | 'timeout', number>>;
}

/** @throws CannotRun if wrk is not there. */
export function checkWrk(): void {
  if (spawnSync('wrk', ['--version']).error === undefined) return;
  throw new CannotRun(
    'it needs the load generator wrk: apt-get install wrk (Debian, Ubuntu), dnf install wrk (Fedora)',
  );
}

/** By its name, as a report has it. */
export function wrkVersion(): { wrk: string } {
  const { stdout } = spawnSync('wrk', ['--version'], { encoding: 'utf8' });
  return { wrk: /^wrk (\S+)/.exec(stdout)?.[1] ?? 'unknown' };
}

/** @throws VoidRun if any request failed. */
export async function runWrk(port: number, { connections, seconds }: Load): Promise<LoadResult> {
  const { stdout } = await promisify(execFile)('wrk', [
    ...['--threads', '1', '--connections', String(connections)],
    ...['--duration', `${seconds}s`, '--script', SCRIPT],
    ...['--timeout', `${TIMEOUT_S}s`],
    `http://127.0.0.1:${port}/`,
  ]);
  const json = stdout.split('\n').find((line) => line.startsWith('{'));
  if (json === undefined) throw new CannotRun(`wrk said:\n${stdout}`);
  const { requests, durationUs, p50Us, p99Us, errors } = JSON.parse(json) as Output;
  if (requests === 0 || Object.values(errors).some((count) => count > 0)) {
    throw new VoidRun(`${requests} requests, errors ${JSON.stringify(errors)}`);
  }
  return {
    requests,
    requestsPerSecond: (requests * 1e6) / durationUs,
    p50Ms: p50Us / 1e3,
    p99Ms: p99Us / 1e3,
  };
}
