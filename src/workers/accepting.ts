/**
 * When this worker accepts: as connections come, or not until there is room for them, which is
 * what waits in the kernel's queue then. Worker's thread only.
 *
 * libuv's own listening handles accept by themselves. They cannot be asked to wait, and where
 * descriptors run out they accept whatever waits only to close it. So here a listening socket is
 * watched (native/queue_watch.h) and accept(2) is called when that is wanted: what it says of
 * descriptors and memory is heard, and nobody is reset for it.
 *
 *     accepts --- as many as there may be ------------> at-limit
 *        ^    --- no descriptor but the reserve's,
 *        |        or none, or no memory --------------> no-descriptors
 *        '--- one of its own ended, or somebody says so, or RETRY_MS later, if there is room then
 *
 * At its own limit it gives what waits to a worker that has room, where connections move; else,
 * with `overload: 'refuse'`, it refuses.
 *
 * ## Whose turn it is
 *
 * Where the limit is of all workers together, a worker with many connections has one that ends
 * all the time, and would always be the first to notice that there is room. What waits for the
 * others would wait for ever. So whoever has had one end gives the place to the next that waits.
 */
import { constants } from 'node:os';
import { wake, watchQueue } from '../native.js';
import type { AcceptingState } from '../scheduler/layout.js';
import type { Capacity } from '../scheduler/limits.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import type { WorkerWriter } from '../scheduler/worker-writer.js';
import type { Connections } from './connections.js';
import { Door, type Entrance } from './door.js';
import type { Overflow } from './overflow.js';
import { Reserve } from './reserve.js';
import { cancelTimeout, scheduleTimeout } from './timers.js';

/** How soon it looks again whether there is room, in ms. No evidence for more or less. */
const RETRY_MS = 25;

/** Most connections that are refused in one turn of the loop. No evidence for more or less. */
const REFUSALS_PER_TURN = 64;

const { errno } = constants;

/**
 * Errors of accept(2) that are about one connection, or nothing: there may be another. The
 * network's own are reported there on Linux (accept(2), "Error handling").
 */
const PASSING: ReadonlySet<number> = new Set([
  ...[errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN],
  ...[errno.ENOPROTOOPT, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH],
]);

interface AcceptingInit {
  readonly slot: number;
  readonly overload: 'wait' | 'refuse';
  /** Soft limit of the process on descriptors. */
  readonly descriptorsMax: number;
  readonly board: Scoreboard;
  readonly row: WorkerWriter;
  readonly capacity: Capacity;
  readonly connections: Connections;
}

type Obstacle = Exclude<AcceptingState, 'accepts'>;

export class Accepting {
  readonly #init: AcceptingInit;
  readonly #board: Scoreboard;
  readonly #row: WorkerWriter;
  readonly #capacity: Capacity;
  readonly #connections: Connections;
  readonly #reserve: Reserve;
  /** Whether a connection that ends here may make room elsewhere. */
  readonly #shares: boolean;
  readonly #doors = new Set<Door>();
  #overflow: Overflow | null = null;
  #state: AcceptingState = 'accepts';
  #timer: NodeJS.Timeout | undefined;
  #lastTurn: number;

  constructor(init: AcceptingInit) {
    const { board, row, capacity, connections } = init;
    this.#init = init;
    this.#board = board;
    this.#row = row;
    this.#capacity = capacity;
    this.#connections = connections;
    this.#reserve = new Reserve(init.descriptorsMax);
    const { limits } = capacity;
    const shared = Math.min(limits.connections.total, limits.outstanding.total);
    this.#shares = shared < Number.POSITIVE_INFINITY && init.overload === 'wait';
    this.#lastTurn = init.slot;
  }

  /** Where what waits here goes while others have room. */
  set overflow(overflow: Overflow) {
    this.#overflow = overflow;
  }

  get overload(): 'wait' | 'refuse' {
    return this.#init.overload;
  }

  /** Whether there are as many connections or requests as there may be. */
  get isAtLimit(): boolean {
    return this.#capacity.room(this.#init.slot) <= 0;
  }

  /** Counts one that was refused. */
  refused(): void {
    this.#row.shed();
  }

  /** A door over `fd`, which is the door's from now on; or -errno. It is shut until {@link begin}. */
  open(fd: number): Door | number {
    const ready = () => this.#onReady(door);
    const watch = watchQueue(fd, ready);
    if (typeof watch === 'number') return watch;
    const door: Door = new Door(fd, watch, (closed) => this.#forget(closed));
    this.#reserve.took(fd);
    return door;
  }

  begin(door: Door, entrance: Entrance): void {
    door.entrance = entrance;
    this.#doors.add(door);
    if (this.#state !== 'accepts') return;
    if (door.start() < 0) this.#wait('no-descriptors');
  }

  /** A connection or a request of this worker has ended. */
  eased(): void {
    if (this.#shares) {
      const turn = this.#turn();
      const others = turn !== null && turn !== this.#init.slot;
      if (others && wake(this.#board.waker(turn))) return;
    }
    this.lookAgain();
  }

  /** There may be room again. */
  lookAgain(): void {
    if (this.#state === 'accepts') return;
    const obstacle = this.#obstacle();
    if (obstacle === null || (obstacle === 'at-limit' && this.#somebodyHasRoom())) this.#go();
    else this.#is(obstacle);
  }

  #onReady(door: Door): void {
    const { entrance } = door;
    if (entrance === null) return;
    const obstacle = this.#obstacle();
    if (obstacle === 'no-descriptors') this.#wait(obstacle);
    else if (obstacle === null && this.#connections.expect()) this.#admit(door, entrance);
    else this.#turnAway(door, entrance);
  }

  #admit(door: Door, entrance: Entrance): void {
    try {
      const fd = this.#take(door);
      if (fd >= 0) entrance.accept(fd);
    } finally {
      this.#connections.settle();
    }
  }

  /** There is no room here. */
  #turnAway(door: Door, entrance: Entrance): void {
    const { listener } = entrance;
    const recipient = listener === null ? null : (this.#overflow?.recipient() ?? null);
    if (recipient !== null && listener !== null && this.#connections.expect()) {
      const fd = this.#take(door);
      if (fd >= 0) {
        this.#connections.sent();
        this.#overflow?.give(fd, door.accepted, listener, recipient);
      }
      this.#connections.settle();
      return;
    }
    if (this.#init.overload === 'wait') {
      this.#wait('at-limit');
      return;
    }
    // More than one, unlike of those that are served: they cost little, and whoever waits to be told
    // while this worker is busy could as well ask somebody else.
    for (let i = 0; i < REFUSALS_PER_TURN; i++) {
      const fd = this.#take(door);
      if (fd < 0) return;
      this.refused();
      entrance.refuse(fd);
    }
  }

  /** The next connection, or -errno. */
  #take(door: Door): number {
    const fd = door.accept();
    if (fd >= 0) this.#reserve.took(fd);
    else if (!PASSING.has(-fd)) this.#wait('no-descriptors');
    return fd;
  }

  #obstacle(): Obstacle | null {
    const { slot } = this.#init;
    // One that has no connection may always have one: others may keep the reserve for ever.
    if (this.#board.connections(slot) > 0) {
      const [any] = this.#doors;
      if (any !== undefined && this.#reserve.isNext(any.fd)) return 'no-descriptors';
    }
    return this.isAtLimit ? 'at-limit' : null;
  }

  #somebodyHasRoom(): boolean {
    if (this.#overflow === null || this.#overflow.recipient() === null) return false;
    return [...this.#doors].some(({ entrance }) => entrance?.listener !== null);
  }

  #wait(state: Obstacle): void {
    if (this.#state === 'accepts') for (const door of this.#doors) door.stop();
    this.#is(state);
    this.#lookLater();
  }

  #lookLater(): void {
    cancelTimeout(this.#timer);
    this.#timer = scheduleTimeout(() => {
      this.lookAgain();
      if (this.#state !== 'accepts') this.#lookLater();
    }, RETRY_MS);
    // In place of the doors, of which nobody watches any now.
    if (![...this.#doors].some(({ referenced }) => referenced)) this.#timer.unref();
  }

  #go(): void {
    cancelTimeout(this.#timer);
    this.#is('accepts');
    for (const door of this.#doors) {
      if (door.start() >= 0) continue;
      this.#wait('no-descriptors');
      return;
    }
  }

  #is(state: AcceptingState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#row.accepting(state);
  }

  #forget(door: Door): void {
    this.#doors.delete(door);
    if (this.#doors.size > 0) return;
    cancelTimeout(this.#timer);
    this.#is('accepts');
  }

  /** Who waits and has room now, this worker included, the next after the last one; null: nobody. */
  #turn(): number | null {
    const count = this.#board.workers;
    for (let i = 1; i <= count; i++) {
      const slot = (this.#lastTurn + i) % count;
      if (this.#board.accepting(slot) !== 'at-limit' || !this.#board.lives(slot)) continue;
      if (this.#capacity.room(slot) <= 0) continue;
      this.#lastTurn = slot;
      return slot;
    }
    return null;
  }
}
