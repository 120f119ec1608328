/**
 * The load generator: wrk, a closed loop over keep-alive connections, in a process of
 * its own on the same CPUs as the server.
 */
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { CannotRun, VoidRun } from './failures.js';
import type { Measured } from './harness.js';
import type { Metric } from './report.js';
import { ROOT } from './root.js';
import type { Server } from './server.js';

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
  readonly p99Ms: number;
}

/** What bench/wrk.lua prints. */
interface Output {
  readonly requests: number;
  readonly durationUs: number;
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

/** What loads of {@link measureWrk} are measured by. */
export const CLOSED_LOOP_METRICS = {
  throughput: { unit: 'requests/s', digits: 0, better: 'more' },
  cpu: { unit: 'µs of CPU per request', digits: 2, better: 'less' },
  p99: { unit: 'ms', digits: 2, better: 'less' },
} as const satisfies Record<string, Metric>;

/**
 * Loads `server` after a warm-up.
 *
 * @param during what goes on besides the load that counts: it calls what it is given, and returns its result
 */
export async function measureWrk(
  server: Server,
  { warmup, ...load }: Load & { readonly warmup: number },
  during: (loaded: () => Promise<LoadResult>) => Promise<LoadResult> = (loaded) => loaded(),
): Promise<Measured<keyof typeof CLOSED_LOOP_METRICS>> {
  await runWrk(server.port, { ...load, seconds: warmup });
  const before = server.cpuUs();
  const { requests, requestsPerSecond, p99Ms } = await during(() => runWrk(server.port, load));
  const cpu = (server.cpuUs() - before) / requests;
  return { throughput: requestsPerSecond, cpu, p99: p99Ms };
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
  const { requests, durationUs, p99Us, errors } = JSON.parse(json) as Output;
  if (requests === 0 || Object.values(errors).some((count) => count > 0)) {
    throw new VoidRun(`${requests} requests, errors ${JSON.stringify(errors)}`);
  }
  return {
    requests,
    requestsPerSecond: (requests * 1e6) / durationUs,
    p99Ms: p99Us / 1e3,
  };
}
