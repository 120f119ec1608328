/** What is compared: each way to run an application, by its name, and what it needs. */
import os from 'node:os';
import path from 'node:path';
import type { SchedulerOptions } from '../src/runtime/options.js';
import {
  type Command,
  goServer,
  goVersion,
  missingGo,
  missingNewerNode,
  missingWatt,
  newerNode,
  newerNodeVersion,
  watt,
  wattVersion,
} from './rivals.js';
import { ROOT } from './root.js';

const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');
const APPS = path.join(ROOT, 'bench', 'apps');

/** Limit of the variants that have one. No evidence: more than one for each worker, and few. */
const CONNECTIONS_MAX = 16;

/** One runs at a time; what a killed one leaves is replaced. */
export const ADMIN_SOCKET = path.join(os.tmpdir(), `gyre-bench-${process.pid}.sock`);

export type AppName = 'hello' | 'express' | 'stall';

/** One way to run an application. */
export interface System {
  readonly command: (app: AppName, workers: number) => Command;
  /**
   * How it is known that all its workers listen. announced: it writes
   * `{"event":"listening"}` to stderr. sockets: there is one listening socket for each.
   * answered: it has but one.
   */
  readonly ready: 'announced' | 'sockets' | 'answered';
  /** Why this machine cannot run it, or null. Absent: any can. */
  readonly missing?: () => string | null;
  /** Versions of what runs it, where that is not this node. */
  readonly programs?: () => Readonly<Record<string, string>>;
  /** It answers `Server.snapshot`. */
  readonly hosted?: boolean;
}

const pathOf = (app: AppName) => path.join(APPS, `${app}.js`);

const script = (name: string, ...more: string[]): System => ({
  command: (app, workers) => ({
    file: process.execPath,
    args: [path.join(APPS, `${name}.js`), pathOf(app), String(workers), ...more],
  }),
  ready: 'announced',
});
const gyre = (...flags: string[]): System => ({
  command: (app, workers) => ({
    file: process.execPath,
    args: [CLI, 'run', pathOf(app), '--json', '--workers', `${workers}`, ...flags],
  }),
  ready: 'announced',
});
const hosted = (scheduler: SchedulerOptions, pin: 'soft' | 'hard' | 'off' = 'soft'): System => ({
  ...script('host', JSON.stringify({ scheduler, pin, require: ['move'] })),
  hosted: true,
});

/**
 * - gyre: as it comes, each worker pinned to a CPU, connections moving
 * - gyre-still: the same with moving off
 * - gyre-unpinned: as it comes, but without pins
 * - gyre-admin: as it comes, with its admin endpoint on ADMIN_SOCKET
 * - gyre-spares-N: as it comes, but with at most N spares
 * - gyre-refuse: with a limit on connections, beyond which they are told 503
 * - gyre-wait: with the same limit, and room for a quarter as many in each worker's accept queue
 * - hosted, hosted-still: gyre and gyre-still through the API, which tells what was moved
 * - hosted-hard, hosted-unpinned: hosted with pins that never give way, or none
 * - hosted-chaos: connections move at random, idle ones too, as fast as they can
 * - cluster-rr: node:cluster whose primary accepts and hands connections out in turn
 * - cluster-none: node:cluster whose workers all accept from one socket
 * - single: plain node, one process, one thread
 * - threads: plain worker threads, each with an SO_REUSEPORT socket
 * - transfer: node's own transfer of a new connection to the thread that has fewest
 * - watt: Platformatic Watt, as many workers
 * - go: a net/http server in Go, with as many processors as workers
 */
export const SYSTEMS = {
  gyre: gyre(),
  'gyre-still': gyre('--no-move'),
  'gyre-unpinned': gyre('--pin', 'off'),
  'gyre-admin': gyre('--admin', `unix:${ADMIN_SOCKET}`),
  'gyre-spares-0': gyre('--spares', '0'),
  'gyre-spares-1': gyre('--spares', '1'),
  'gyre-spares-2': gyre('--spares', '2'),
  'gyre-spares-8': gyre('--spares', '8'),
  'gyre-refuse': gyre('--max-connections', `${CONNECTIONS_MAX}`, '--overload', 'refuse'),
  'gyre-wait': script(
    'host',
    JSON.stringify({ maxConnections: CONNECTIONS_MAX, backlog: CONNECTIONS_MAX / 4 }),
  ),
  hosted: hosted({ move: true }),
  'hosted-still': hosted({ move: false }),
  'hosted-hard': hosted({ move: true }, 'hard'),
  'hosted-unpinned': hosted({ move: true }, 'off'),
  'hosted-chaos': hosted({ move: true, chaos: true }),
  'cluster-rr': script('cluster', 'rr'),
  'cluster-none': script('cluster', 'none'),
  single: {
    command: (app) => ({ file: process.execPath, args: [pathOf(app)] }),
    ready: 'answered',
  },
  threads: script('threads'),
  transfer: {
    command: (app, workers) => ({ ...script('transfer').command(app, workers), file: newerNode() }),
    ready: 'announced',
    missing: missingNewerNode,
    programs: () => ({ 'Node of transfer': newerNodeVersion() }),
  },
  watt: {
    ...{ command: watt, ready: 'sockets', missing: missingWatt },
    programs: () => ({ Watt: wattVersion(), 'Node of watt': newerNodeVersion() }),
  },
  go: {
    ...{ command: goServer, ready: 'answered', missing: missingGo },
    programs: () => ({ Go: goVersion() }),
  },
} as const satisfies Record<string, System>;

export type SystemName = keyof typeof SYSTEMS;

/** Why this machine cannot run a system, or null. */
export function missingSystem(name: SystemName): string | null {
  const { missing }: System = SYSTEMS[name];
  return missing?.() ?? null;
}

/** Versions of what runs these systems besides this node. */
export function programsOf(names: readonly SystemName[]): Record<string, string> {
  const found = names.map((name) => {
    const { programs }: System = SYSTEMS[name];
    return programs?.() ?? {};
  });
  return Object.assign({}, ...found);
}
