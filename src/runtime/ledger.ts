/**
 * The ledger of descriptors that workers own and that lead to listening sockets: who was given which
 * number. Main thread only; everything here is synchronous.
 *
 * Main makes every duplicate, also that for a server's handle. So a number and a cookie tell whether a
 * dead worker's descriptor is still open: one of the same socket that somebody else had made under its
 * number would be taken for it. Where the system has no cookies such a descriptor stays open until
 * the process ends.
 *
 * "Worker" here is a slot, that is one thread of a worker (src/runtime/slots.ts).
 */
import { close, closeIfSame, cookieOf, duplicate, withdraw } from '../native.js';
import type { Socket } from './listening-socket.js';

/**
 * How long a thread that is about to be ended may take to be paused. It may share its CPU with its
 * replacement and with other processes: 8 ms were often too short on a machine with four runnable
 * threads for each CPU.
 */
const WITHDRAW_TIMEOUT_US = 100_000;

/** A duplicate that a worker owns. */
interface Copy {
  readonly worker: number;
  readonly grant: number;
  readonly socket: Socket;
  /** Whether connections are accepted from it, and not only a handle is over it. */
  readonly accepts: boolean;
}

export class Ledger {
  /** By descriptor number. A number can be in use only once, so neither can a key. */
  readonly #copies = new Map<number, Copy>();
  /** Workers that closed a number, as its return shows, and have not said so yet. */
  readonly #unsaid = new Map<number, number[]>();

  /** Duplicates from which connections are accepted. */
  get accepting(): number {
    return [...this.#copies.values()].filter(({ accepts }) => accepts).length;
  }

  /** A duplicate that is `worker`'s from here on, or -errno. */
  give(worker: number, grant: number, socket: Socket, accepts = true): number {
    const fd = duplicate(socket.fd);
    if (fd < 0) return fd;
    // The kernel gave this number out, so any older entry for it is history: its
    // worker has closed it and just not said so yet. When it does, it does not mean
    // the new copy, even if that is its own.
    const earlier = this.#copies.get(fd);
    if (earlier !== undefined) {
      this.#unsaid.set(fd, [...(this.#unsaid.get(fd) ?? []), earlier.worker]);
    }
    this.#copies.set(fd, { worker, grant, socket, accepts });
    return fd;
  }

  /** Closes a duplicate of which its worker was not told. */
  takeBack(fd: number): void {
    this.#copies.delete(fd);
    close(fd);
  }

  /** The same with all that `worker` has for `grant`. */
  takeBackFor(worker: number, grant: number): void {
    for (const [fd, copy] of this.#copies) {
      if (copy.worker === worker && copy.grant === grant) this.takeBack(fd);
    }
  }

  /** The duplicates of `socket` that `worker` has. */
  of(worker: number, socket: Socket): number[] {
    return [...this.#copies]
      .filter(([, copy]) => copy.worker === worker && copy.socket === socket)
      .map(([fd]) => fd);
  }

  /** `worker` has closed `fds`. */
  closed(worker: number, fds: readonly number[]): void {
    for (const fd of fds) {
      const unsaid = this.#unsaid.get(fd) ?? [];
      const late = unsaid.indexOf(worker);
      if (late >= 0) unsaid.splice(late, 1);
      else if (this.#copies.get(fd)?.worker === worker) this.#copies.delete(fd);
      if (unsaid.length === 0) this.#unsaid.delete(fd);
    }
  }

  /**
   * The thread of `worker`, which `peer` wakes, does not answer and is about to be ended: it accepts
   * nothing more, in the moment between, what nobody would answer.
   */
  withdraw(worker: number, peer: number): void {
    for (const [fd, copy] of this.#copies) {
      const { cookie } = copy.socket;
      if (copy.worker !== worker || !copy.accepts || cookie === null) continue;
      if (!withdraw(peer, fd, cookie, WITHDRAW_TIMEOUT_US)) continue;
      // What is there now is still that worker's to close, or main's after its end.
      this.#copies.set(fd, { ...copy, socket: { fd, cookie: cookieOf(fd) } });
    }
  }

  /** The thread of `worker` has ended: whatever it still owned is closed. */
  abandon(worker: number): void {
    // Its own teardown closed the descriptors that had become handles. What it
    // never turned into one is still open, and only the socket's cookie can tell.
    // No number here can lead to the same socket again for somebody else: main alone
    // makes duplicates, and that would have replaced its entry (give).
    for (const [fd, unsaid] of this.#unsaid) {
      this.#unsaid.set(
        fd,
        unsaid.filter((each) => each !== worker),
      );
    }
    for (const [fd, copy] of this.#copies) {
      if (copy.worker !== worker) continue;
      this.#copies.delete(fd);
      if (copy.socket.cookie !== null) closeIfSame(fd, copy.socket.cookie);
    }
  }
}
