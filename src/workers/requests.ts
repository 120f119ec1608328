/**
 * Requests of a worker to main that block until answered.
 *
 * Called on the worker's thread, from within `server.listen()`,
 * `server.close()` and `arena()`. Blocking, bounded by TIMEOUT_MS: main never waits for a worker,
 * so the two cannot wait for each other; only a main thread that is itself stuck in
 * user code makes a worker wait that long.
 */
import { constants } from 'node:os';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { ArenaHandle, ArenaRequest } from '../arena-registry.js';
import { GyreError } from '../errors.js';
import type { ArenaReply, ListenRequest, OpenReply, Reply, Request } from '../protocol.js';

const TIMEOUT_MS = 30_000;

export class Requests {
  readonly #port: MessagePort;
  /** Answers that main has posted. Written by main only; the worker waits on it. */
  readonly #answered: Int32Array;
  #sequence = 0;

  constructor(port: MessagePort, answered: Int32Array) {
    this.#port = port;
    this.#answered = answered;
  }

  open(listen: ListenRequest): OpenReply {
    const reply = this.#ask({ kind: 'open', listen });
    if (reply === null) {
      return { ok: false, errno: -constants.errno.ETIMEDOUT, address: null, family: 4, port: 0 };
    }
    return reply as OpenReply;
  }

  release(grant: number | null, fds: readonly number[]): void {
    this.#ask({ kind: 'release', grant, fds });
  }

  /** @throws GyreError */
  arena(arena: ArenaRequest): ArenaHandle {
    const reply = this.#ask({ kind: 'arena', arena }) as ArenaReply | null;
    if (reply?.ok) return reply.arena;
    if (reply !== null) throw new GyreError(reply.code, reply.message);
    throw new GyreError('ETIMEDOUT', `main has not answered for ${TIMEOUT_MS} ms`);
  }

  #ask(request: Request): Reply | null {
    const sequence = this.#post(request);
    const deadline = performance.now() + TIMEOUT_MS;
    for (;;) {
      // Read before the port: an answer that is posted in between changes it, and
      // the wait below returns at once.
      const seen = Atomics.load(this.#answered, 0);
      let received = receiveMessageOnPort(this.#port);
      while (received !== undefined) {
        const { sequence: to, reply } = received.message as { sequence: number; reply: Reply };
        if (to === sequence) return reply;
        this.#dropLate(reply);
        received = receiveMessageOnPort(this.#port);
      }
      const left = deadline - performance.now();
      if (left <= 0) return null;
      Atomics.wait(this.#answered, 0, seen, left);
    }
  }

  #post(request: Request): number {
    const sequence = ++this.#sequence;
    this.#port.postMessage({ sequence, request });
    return sequence;
  }

  /** The answer to a request that timed out: nobody wants the socket, and main closes it. */
  #dropLate(reply: Reply): void {
    if (!reply.ok || !('fd' in reply)) return;
    this.#post({ kind: 'release', grant: reply.grant, fds: [] });
  }
}
