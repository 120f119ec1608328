/**
 * Debian's haproxy in front of a server, as operators have it: connections to the server are kept
 * alive and shared by all clients, and nothing that fails is tried again. In a folder of its own, in
 * the foreground, and ended by its pid.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { whereIs } from '../support/programs.js';

/** How long it may take to listen; it takes some 10 ms. */
const START_MS = 20_000;

/** What it has counted of the server; see "show stat" in its management guide. */
export interface ServerCounts {
  /** Connections that it has opened, and requests that used one which was open. */
  readonly connect: number;
  readonly reuse: number;
  /** Connects and answers that failed, and transfers that the server cut. */
  readonly econ: number;
  readonly eresp: number;
  readonly srv_abrt: number;
}

function configuration(port: number, upstream: number, admin: string): string {
  return `
global
  nbthread 1
  stats socket ${admin}
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  retries 0
  http-reuse always
frontend front
  bind 127.0.0.1:${port}
  default_backend back
backend back
  server gyre 127.0.0.1:${upstream} pool-purge-delay 1h pool-max-conn -1
`;
}

export class Haproxy {
  readonly port: number;
  readonly #admin: string;
  readonly #child: ChildProcess;

  private constructor(port: number, admin: string, child: ChildProcess) {
    this.port = port;
    this.#admin = admin;
    this.#child = child;
  }

  /** Resolves when it listens; it ends with its test. */
  static async start(t: Test, upstream: number): Promise<Haproxy> {
    const directory = folder(t);
    const port = freePort();
    const admin = path.join(directory, 'admin');
    const file = path.join(directory, 'haproxy.cfg');
    writeFileSync(file, configuration(port, upstream, admin));
    const child = spawn(whereIs('haproxy') ?? 'haproxy', ['-db', '-f', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(child, 'close');
    t.teardown(async () => {
      child.kill('SIGKILL');
      await ended;
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const haproxy = new Haproxy(port, admin, child);
    for (const begun = performance.now(); ; await sleep(10)) {
      if (child.exitCode !== null) throw new Error(`haproxy has ended: ${said}`);
      if (await haproxy.counts().catch(() => null)) return haproxy;
      if (performance.now() - begun > START_MS) throw new Error(`haproxy does not start: ${said}`);
    }
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** As of now. */
  async counts(): Promise<ServerCounts> {
    const socket = net.connect(this.#admin);
    socket.write('show stat\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    const [head = '', ...lines] = text.replace(/^# /, '').split('\n');
    const line = lines.find((each) => each.startsWith('back,gyre,'));
    if (line === undefined) throw new Error(`no server in ${text}`);
    const values = line.split(',');
    const names = head.split(',');
    const count = (name: keyof ServerCounts) => Number(values[names.indexOf(name)]);
    return {
      ...{ connect: count('connect'), reuse: count('reuse'), econ: count('econ') },
      ...{ eresp: count('eresp'), srv_abrt: count('srv_abrt') },
    };
  }
}
