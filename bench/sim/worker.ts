/**
 * A simulated worker: a thread with an event loop. In each iteration it handles first its
 * mail, then the connections that were ready when the iteration began, in order, each to
 * its end; as node does.
 */
import type { Clock } from './clock.js';
import type { Connection } from './connection.js';
import type { Machine, Thread } from './machine.js';

export interface Loop {
  /** CPU time to return from epoll, each time. */
  readonly pollMs: number;
  /** Connections that one iteration handles at most. */
  readonly batchMax: number;
  /** A request is interrupted after this long if others are ready. Infinity in node. */
  readonly quantumMs: number;
  /** CPU time for each connection that it is given. */
  readonly adoptMs: number;
}

/** What a worker tells the simulation. */
export interface Events {
  /** A request was served. */
  served(connection: Connection, worker: Worker): void;
  /** A worker stands between two iterations, of which the last handled `handled` events in `ms`. */
  iterated(worker: Worker, ms: number, handled: number): void;
  /** A worker has nothing to do. */
  idle(worker: Worker): void;
}

export class Worker {
  readonly index: number;
  readonly thread: Thread;
  /** Connections with a request that nobody has begun with, oldest first. May be shared. */
  readonly ready: Connection[];
  /** Connections that it was given. */
  readonly mail: Connection[] = [];
  /** It waits in epoll. What wakes it is not over before it has a CPU. */
  inPoll = true;
  /** Loop iterations. */
  loops = 0;
  /** When the last one began: its heartbeat. */
  heartbeatMs = 0;
  /** Requests that it has begun with. */
  messages = 0;
  readonly #clock: Clock;
  readonly #machine: Machine;
  readonly #loop: Loop;
  readonly #events: Events;
  /** How many more of `ready` belong to this iteration. */
  #batch = 0;
  /** CPU time that it was asked to spend before it goes on. */
  #choreMs = 0;
  #sleptMs = 0;
  /** Since when it sleeps; null: it does not, or was woken. */
  #sleepsSinceMs: number | null = 0;
  /** Requests that it had begun with when this iteration began. */
  #before = 0;

  constructor(
    index: number,
    thread: Thread,
    ready: Connection[],
    environment: { clock: Clock; machine: Machine; loop: Loop; events: Events },
  ) {
    this.index = index;
    this.thread = thread;
    this.ready = ready;
    this.#clock = environment.clock;
    this.#machine = environment.machine;
    this.#loop = environment.loop;
    this.#events = environment.events;
  }

  /** Something is ready, or there is mail. */
  wake(): void {
    if (!this.inPoll || !this.thread.blocked) return;
    if (this.#sleepsSinceMs !== null) this.#sleptMs += this.#clock.nowMs - this.#sleepsSinceMs;
    this.#sleepsSinceMs = null;
    this.#poll();
  }

  /** For how long it has slept so far. */
  get idleMs(): number {
    return this.#sleptMs + (this.#clock.nowMs - (this.#sleepsSinceMs ?? this.#clock.nowMs));
  }

  /** Takes up to `count` of the connections that are ready. */
  take(count: number, from: 'oldest' | 'latest'): Connection[] {
    const { ready } = this;
    const taken =
      from === 'oldest' ? ready.splice(0, count) : ready.splice(Math.max(0, ready.length - count));
    if (from === 'oldest') this.#batch = Math.max(0, this.#batch - taken.length);
    else this.#batch = Math.min(this.#batch, ready.length);
    return taken;
  }

  /** Takes up to `count` of what is in its mailbox. */
  recall(count: number): Connection[] {
    return this.mail.splice(0, count);
  }

  /** What it does costs this worker `ms` before it goes on. Only in `iterated` and `served`. */
  spend(ms: number): void {
    this.#choreMs += ms;
  }

  #poll(): void {
    this.#machine.run(this.thread, this.#loop.pollMs, this.#iterate);
  }

  #iterate = (): void => {
    this.inPoll = false;
    this.heartbeatMs = this.#clock.nowMs;
    this.#before = this.messages;
    const adopted = this.mail.splice(0);
    this.#batch = Math.min(this.ready.length, this.#loop.batchMax);
    if (adopted.length === 0) {
      this.#handle();
      return;
    }
    const ms = adopted.reduce(
      (sum, { coldMs }) => sum + coldMs,
      adopted.length * this.#loop.adoptMs,
    );
    this.#machine.run(this.thread, ms, () => {
      for (const connection of adopted) {
        connection.moving = false;
        if (connection.request !== null) this.ready.push(connection);
      }
      this.#handle();
    });
  };

  #handle = (): void => {
    const connection = this.#batch > 0 ? this.ready.shift() : undefined;
    if (connection === undefined) {
      this.#end();
      return;
    }
    this.#batch--;
    this.messages++;
    this.#serve(connection);
  };

  #serve(connection: Connection): void {
    const ms = Math.min(connection.leftMs, this.#loop.quantumMs);
    this.#machine.run(this.thread, ms, () => {
      connection.leftMs -= ms;
      if (connection.leftMs <= 0) {
        this.#events.served(connection, this);
      } else if (this.ready.length === 0) {
        this.#serve(connection);
        return;
      } else {
        this.ready.push(connection);
      }
      this.#do(this.#handle);
    });
  }

  #end(): void {
    this.loops++;
    const ms = this.#clock.nowMs - this.heartbeatMs;
    this.#events.iterated(this, ms, this.messages - this.#before);
    this.#do(() => {
      if (this.ready.length > 0 || this.mail.length > 0) {
        this.#poll();
        return;
      }
      this.inPoll = true;
      this.#sleepsSinceMs = this.#clock.nowMs;
      this.#events.idle(this);
    });
  }

  /** Spends what it was asked to, and then `then`. */
  #do(then: () => void): void {
    const ms = this.#choreMs;
    this.#choreMs = 0;
    if (ms === 0) then();
    else this.#machine.run(this.thread, ms, then);
  }
}
