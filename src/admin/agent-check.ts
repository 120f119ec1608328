/**
 * Tells a HAProxy how much of its traffic this runtime wants: the agent-check of its
 * configuration manual. Whoever connects gets one line and is hung up on. Main thread only.
 *
 *     up ready 63%   of its weight: the share of the workers' time that was idle lately, at least 1%
 *     drain          it closes: no new connections, those that there are may go on
 *     down           no worker listens
 */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import type { ListenAddress } from '../protocol.js';
import type { WorkerHandle } from '../runtime/worker-handle.js';
import { type Opened, openServer } from './listening.js';
import type { Observed } from './observed.js';
import type { AdminAddress } from './options.js';

/** A balancer has one connection at a time. */
const CONNECTIONS_MAX = 16;
/** How long a peer may take to read one line. */
const LIMIT_MS = 2_000;
/** The share is of no shorter time. */
const WINDOW_MS = 100;
/**
 * How much of the last answer is in the next one. Without, two servers that are asked at the same
 * time would hand the traffic to and fro.
 */
const MEMORY = 0.5;

export class AgentCheck {
  readonly #address: AdminAddress;
  readonly #observed: Observed;
  readonly #idleness: Idleness;
  readonly #sockets = new Set<Socket>();
  readonly #server: net.Server;
  #opened: Opened | null = null;

  constructor(address: AdminAddress, observed: Observed) {
    this.#address = address;
    this.#observed = observed;
    this.#idleness = new Idleness();
    this.#server = net.createServer((socket) => this.#tell(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Where it listens; null before it does. */
  get address(): ListenAddress | null {
    return this.#opened?.address ?? null;
  }

  /** @throws GyreError with the system's code if it cannot listen there */
  async open(): Promise<void> {
    this.#opened = await openServer('agentCheck', this.#server, this.#address, 0o600);
  }

  /** Resolves when no connection, descriptor or timer is left. */
  async close(): Promise<void> {
    if (this.#opened === null) return;
    this.#opened = null;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #tell(socket: Socket): void {
    this.#sockets.add(socket);
    const timer = setTimeout(() => socket.destroy(), LIMIT_MS).unref();
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
    socket.on('error', () => {}); // 'close' follows
    socket.resume(); // HAProxy may be told to send something
    socket.end(`${this.#line()}\n`);
  }

  #line(): string {
    const { state, ready, workers } = this.#observed.runtime;
    if (state === 'closing' || state === 'closed') return 'drain';
    if (!ready) return 'down';
    const serving = new Set(workers.map(({ threadId }) => threadId));
    const threads = this.#observed.threads().filter(({ threadId }) => serving.has(threadId));
    // A weight of 0 would mean that it wants no request at all.
    return `up ready ${Math.max(1, Math.round(this.#idleness.of(threads) * 100))}%`;
  }
}

/** The share of their time that threads slept in epoll, since it was last asked for. */
class Idleness {
  readonly #slept = new Map<WorkerHandle, { readonly idleMs: number; readonly atMs: number }>();
  #atMs = Number.NEGATIVE_INFINITY;
  #share: number | null = null;

  of(threads: readonly WorkerHandle[]): number {
    const now = performance.now();
    if (now - this.#atMs < WINDOW_MS) return this.#share ?? 1;
    this.#atMs = now;
    for (const thread of this.#slept.keys()) {
      if (!threads.includes(thread)) this.#slept.delete(thread);
    }
    const shares = threads.map((thread) => {
      const idleMs = thread.loopIdleMs() ?? 0;
      const before = this.#slept.get(thread);
      this.#slept.set(thread, { idleMs, atMs: now });
      // One of which nothing is known yet counts as free.
      if (before === undefined) return 1;
      return Math.min(1, Math.max(0, (idleMs - before.idleMs) / (now - before.atMs)));
    });
    const share = shares.reduce((sum, each) => sum + each, 0) / (shares.length || 1);
    this.#share = this.#share === null ? share : MEMORY * this.#share + (1 - MEMORY) * share;
    return this.#share;
  }
}
