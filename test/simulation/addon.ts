/**
 * The native helper on the simulated kernel: what native/*.cc exports, call by call. What the C++
 * does to shared memory and with descriptors is done here in the same order.
 */
import { constants } from 'node:os';
import type { NativeQuota, NativeRounds, NativeShared } from '../../src/native.js';
import { type File, type Stream, Violation } from './kernel.js';
import { point } from './points.js';
import { QueueWatch } from './queue-watch.js';
import type { Choice, Thread } from './thread.js';
import type { World } from './world.js';

const { EBADF, EINVAL, EMFILE, ENFILE, ENOENT, EAGAIN, ESRCH, ETIMEDOUT } = constants.errno;

const FROM_QUEUE = -1;
const FROM_MAIL = -2;
/** As in native/taking.h. */
const TAKE_MAX = 256;
const IDLE_SCAN_MAX = 1024;
const LISTENERS_MAX = 16;
const NEWCOMERS = 31;
/** As in native/watcher.cc. */
const ALONE_MS = 150;
const COUNTS = 7;

/** An entry of the connection table, as native/connection_table.h reads it. */
class Entry {
  readonly #words: Int32Array;
  readonly #layout: Int32Array;
  readonly #at: number;

  constructor({ words, layout }: NativeRounds['table'], fd: number) {
    this.#words = words;
    this.#layout = layout;
    this.#at = fd * (layout[0] as number);
  }

  #word(index: number): number {
    return this.#words[this.#at + (this.#layout[index] as number)] ?? 0;
  }
  ownedBy(owner: number): boolean {
    return this.#word(1) === owner;
  }
  get state(): number {
    return this.#word(2);
  }
  get listener(): number {
    return this.#word(3);
  }
  get generation(): number {
    return this.#word(4);
  }
  get boundary(): number {
    const { buffer, byteOffset } = this.#words;
    const at = byteOffset + 4 * (this.#at + (this.#layout[5] as number));
    return new Float64Array(buffer, at, 1)[0] as number;
  }
  get socket(): number {
    return this.#word(6);
  }
  get fresh(): boolean {
    return this.state === this.#layout[7];
  }
  get movable(): boolean {
    return this.fresh || this.state === this.#layout[8];
  }
  get listening(): boolean {
    return this.state === this.#layout[10];
  }
  mark(state: 'in message' | 'taken'): void {
    const value = this.#layout[state === 'taken' ? 11 : 9] as number;
    Atomics.store(this.#words, this.#at + (this.#layout[2] as number), value);
  }
}

/** One event loop: what `attachLoop` makes of a thread. */
export class Loop implements Choice {
  readonly label = 'mail';
  readonly id: number;
  readonly thread: Thread;
  readonly #words: Int32Array;
  readonly #loops: number;
  readonly #heartbeat: number;
  readonly #onWake: () => void;
  readonly rounds: NativeRounds | null;
  woken = false;
  alive = true;
  /** Iterations, and how many there were when the watcher last looked. */
  iterations = 0;
  seen = -1;
  iteratedAt: number;
  /** Since when it has not returned to its loop; null: it sleeps there, or was not run since. */
  busySince: number | null;
  /** The iteration that goes on is a long one. */
  long = false;

  constructor(
    id: number,
    thread: Thread,
    [words, loops, heartbeat, onWake, rounds]: readonly [
      ...[Int32Array, number, number, () => void, NativeRounds | null],
    ],
  ) {
    this.id = id;
    this.thread = thread;
    this.#words = words;
    this.#loops = loops;
    this.#heartbeat = heartbeat;
    this.#onWake = onWake;
    this.rounds = rounds;
    this.iteratedAt = thread.world.now;
    this.busySince = thread.world.now;
    if (rounds !== null) words[rounds.armedIndex] = 1;
  }

  happen(): void {
    this.woken = false;
    this.#onWake();
  }

  detach(): void {
    this.alive = false;
  }

  /** Descriptors of the last connections that it opened. */
  newcomers(): number[] {
    const row = this.rounds?.newcomersIndex;
    if (row === undefined) return [];
    const found: number[] = [];
    for (let at = row + 1; at <= row + NEWCOMERS; at++) {
      const fd = this.#words[at] as number;
      if (fd > 0) found.push(fd);
    }
    return found;
  }

  /** The end of an iteration: it may have something to say, to be called as a callback. */
  iterate(arms: boolean): Choice | null {
    const { rounds, thread } = this;
    const words = this.#words;
    words[this.#loops] = ((words[this.#loops] as number) + 1) | 0;
    words[this.#heartbeat] = Math.floor(thread.world.now) | 0;
    this.iterations++;
    this.iteratedAt = thread.world.now;
    this.busySince = thread.sleeps ? null : thread.world.now;
    const { long } = this;
    this.long = false;
    for (const handle of thread.handles) handle.watched = true;
    if (rounds === null) return null;
    const policy = rounds.eventsMin > 0;
    if (policy && arms) {
      words[rounds.armedIndex] = 1 - (words[rounds.armedIndex] as number);
      return { label: 'arms', happen: rounds.onArm };
    }
    const follows = words[rounds.armedIndex] !== 0;
    if (policy && !(long && follows)) {
      words[rounds.outstandingIndex] = 0;
      return null;
    }
    const { connections, listeners, queued, other } = peekOwn(thread, rounds.owner, rounds.table);
    const waiting = connections.length + queued;
    words[rounds.outstandingIndex] = waiting + other;
    if (waiting < rounds.eventsMin) return null;
    const { out } = rounds;
    const fds = [...connections.slice(0, out.length - COUNTS), ...listeners];
    fds.length = Math.min(fds.length, out.length - COUNTS);
    const shown = Math.min(connections.length, fds.length);
    out.set([connections.length, queued, other, shown, fds.length - shown, 0, 0, ...fds]);
    return { label: 'round', happen: rounds.onRound };
  }
}

/** What the loop of `thread` has ready. */
function peekOwn(thread: Thread, owner: number, table: NativeRounds['table']) {
  const connections: number[] = [];
  const listeners: number[] = [];
  let queued = 0;
  let other = thread.loop?.woken ? 1 : 0;
  for (const handle of thread.handles) {
    if (!handle.watched || !handle.readable) continue;
    const entry = new Entry(table, handle.fd);
    const file = thread.world.kernel.fileAt(handle.fd);
    if (!entry.ownedBy(owner)) other++;
    else if (entry.listening && file?.kind === 'listening') {
      queued += file.queue.length;
      if (listeners.length < LISTENERS_MAX) listeners.push(handle.fd);
    } else if (entry.movable && !handle.atEnd) connections.push(handle.fd);
    else other++;
  }
  return { connections, listeners, queued, other };
}

interface MailEntry {
  readonly kind: number;
  readonly fd: number;
  readonly listener: number;
  readonly generation: number;
  readonly boundary: number;
}

/** native/mail.cc: what waits in the mailbox of `recipient` and could be taken back. */
function waitingMail(
  { words, layout }: NativeShared['mail'],
  recipient: number,
  visit: (entry: MailEntry, recall: () => void) => boolean,
): void {
  // Not by destructuring, which takes ten times as long of a typed array.
  const givers = layout[0] as number;
  const first = layout[2] as number;
  const ring = layout[3] as number;
  const busy = layout[4] as number;
  const tail = layout[5] as number;
  for (let giver = 0; giver < givers - 1; giver++) {
    const head = first + (recipient * givers + giver) * ring;
    const until = words[head + tail] as number;
    let at = words[head] as number;
    if (at === until) continue;
    const [, capacity = 0, , , , , entries = 0, entryWords = 0, kindAt = 0, fd = 0, listener = 0] =
      layout;
    const [generation = 0, boundary = 0, nothing = 0, connection = 0, accepted = 0] =
      layout.subarray(11);
    const floats = new Float64Array(words.buffer, words.byteOffset, words.length >> 1);
    if (words[head + busy] !== 0) at = (at + 1) | 0;
    for (; at !== until; at = (at + 1) | 0) {
      const entry = head + entries + (at & (capacity - 1)) * entryWords;
      const kind = words[entry + kindAt] as number;
      if (kind !== connection && kind !== accepted) continue;
      const found = {
        ...{ kind, fd: words[entry + fd] as number, listener: words[entry + listener] as number },
        generation: words[entry + generation] as number,
        boundary: floats[(entry + boundary) / 2] as number,
      };
      const recall = () => Atomics.store(words, entry + kindAt, nothing);
      if (!visit(found, recall)) return;
    }
  }
}

/** native/taking.cc's Replace: `fd` under a new number, and a socket that is never readable here. */
function replace(world: World, fd: number, watched: boolean, fdEnd: number, never: File): number {
  const { kernel } = world;
  const by = 'the governor';
  const copy = kernel.duplicate(fd);
  point('call');
  if (copy < 0) return copy;
  const undo = (error: number) => {
    kernel.close(copy, by);
    return error;
  };
  if (copy >= fdEnd) return undo(-EMFILE);
  const removed = world.fails('epoll_ctl');
  if (removed !== 0) return undo(removed);
  point('call');
  const replaced = kernel.replace(fd, never, by);
  if (replaced < 0) return undo(replaced);
  point('call');
  const added = watched ? world.fails('epoll_ctl') : 0;
  if (added === 0) return copy;
  kernel.restore(fd, kernel.fileAt(copy) as Stream, by);
  return undo(added);
}

class Taking {
  readonly taken: { entry: MailEntry; oldFd: number }[] = [];
  mismatches = 0;
  failures = 0;
  #stop = false;
  readonly #world: World;
  readonly #victim: Thread;
  readonly #owner: number;
  readonly #shared: NativeShared;
  readonly #never: File;
  readonly #max: number;
  readonly #quota: NativeQuota;
  #acceptMax: number;

  constructor(
    ...[world, victim, worker, shared, never, max, quota]: readonly [
      ...[World, Thread, number, NativeShared, File, number, NativeQuota],
    ]
  ) {
    this.#world = world;
    this.#victim = victim;
    this.#owner = worker + 1;
    this.#shared = shared;
    this.#never = never;
    this.#max = max;
    this.#quota = quota;
    this.#acceptMax = quota.acceptMax;
  }

  get full(): boolean {
    return this.#stop || this.taken.length >= this.#max;
  }

  connection(fd: number): void {
    const { table, mail } = this.#shared;
    const entry = new Entry(table, fd);
    if (this.full || !entry.ownedBy(this.#owner) || !entry.movable) return;
    const { socket } = entry;
    if (socket !== 0 && socket !== socketOf(this.#world.kernel, fd)) return;
    if (!atBoundary(this.#world, fd, entry.boundary, entry.fresh)) {
      entry.mark('in message');
      this.mismatches++;
      return;
    }
    const own = [...this.#victim.handles].filter((each) => each.fd === fd);
    if (own.length === 0) throw new Violation(`the governor takes descriptor ${fd}, another's`);
    const watched = own.some((each) => each.watched);
    const copy = replace(this.#world, fd, watched, table.layout[12] as number, this.#never);
    if (copy < 0) {
      this.failures++;
      this.#stop = copy === -EMFILE || copy === -ENFILE;
      return;
    }
    entry.mark('taken');
    Atomics.add(this.#quota.words, this.#quota.taken, 1);
    const kind = mail.layout[14] as number;
    const { listener, generation, boundary } = entry;
    this.taken.push({ entry: { kind, fd: copy, listener, generation, boundary }, oldFd: fd });
  }

  queue(fd: number): void {
    const { table, mail } = this.#shared;
    const entry = new Entry(table, fd);
    if (!entry.ownedBy(this.#owner) || !entry.listening) return;
    for (; !this.full && this.#acceptMax > 0 && this.#takePlace(); this.#acceptMax--) {
      point('call');
      const accepted = this.#world.kernel.accept(fd);
      if (accepted < 0) {
        if (accepted !== -EAGAIN) this.failures++;
        Atomics.sub(this.#quota.words, this.#quota.places, 1);
        return;
      }
      point('call');
      const kind = mail.layout[15] as number;
      const { listener } = entry;
      const taken = { kind, fd: accepted, listener, generation: 0, boundary: 0 };
      this.taken.push({ entry: taken, oldFd: FROM_QUEUE });
      if (accepted >= (table.layout[11] as number)) this.#stop = true;
    }
  }

  #takePlace(): boolean {
    const { words, places, placesMax } = this.#quota;
    if (Atomics.load(words, places) >= placesMax) return false;
    Atomics.add(words, places, 1);
    return true;
  }

  mailbox(): void {
    if (this.full) return;
    waitingMail(this.#shared.mail, this.#owner - 1, (entry, recall) => {
      recall();
      this.taken.push({ entry, oldFd: FROM_MAIL });
      return !this.full;
    });
  }
}

function socketOf(kernel: World['kernel'], fd: number): number {
  return Number(BigInt.asIntN(32, kernel.fileAt(fd)?.cookie ?? 0n));
}

function atBoundary(world: World, fd: number, boundary: number, fresh: boolean): boolean {
  const file = world.kernel.fileAt(fd);
  if (file?.kind !== 'stream') return false;
  return file.consumed === boundary && (!fresh || file.written === 0);
}

/** The governor's watcher. */
export class Watcher {
  readonly neverFd: number;
  readonly thread: Thread;
  readonly #loops: (Loop | null)[];
  readonly #still: boolean[] = [];
  readonly #stalled: boolean[] = [];
  /** Since when each stands still, and whether that was told although nothing is ready. */
  readonly #since: number[] = [];
  readonly #told: boolean[] = [];
  readonly #onStall: () => void;
  reporting = false;
  stopped = false;

  constructor(thread: Thread, slots: number, onStall: () => void) {
    this.thread = thread;
    this.#loops = new Array(slots).fill(null);
    this.#onStall = onStall;
    this.neverFd = thread.world.kernel.other();
    thread.cleanups.push(() => this.stop());
  }

  set(slot: number, peer: number): void {
    this.#loops[slot] = this.thread.world.loops.get(peer) ?? null;
  }
  still(slot: number): boolean {
    return this.#still[slot] === true;
  }
  stalled(slot: number): boolean {
    return this.#stalled[slot] === true;
  }
  continue(): void {
    this.reporting = false;
  }
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.thread.world.kernel.close(this.neverFd, this.thread.name);
  }

  /** Whether a tick would find something. */
  get sees(): boolean {
    if (this.stopped || this.reporting) return false;
    return this.#loops.some(
      (loop, slot) =>
        loop !== null && standsStill(loop) && (hasReady(loop) || this.#told[slot] !== true),
    );
  }

  /** It looks at each loop, and reports those that stand still while something waits, or for long. */
  tick(): void {
    const { now } = this.thread.world;
    for (const [slot, loop] of this.#loops.entries()) {
      const still = loop !== null && loop.iterations === loop.seen && standsStill(loop);
      if (loop !== null) loop.seen = loop.iterations;
      this.#still[slot] = still;
      if (!still) {
        this.#since[slot] = now;
        this.#told[slot] = false;
      }
      const ready = still && hasReady(loop);
      const alone = still && !ready && !this.#told[slot];
      if (alone) this.#told[slot] = now - (this.#since[slot] as number) >= ALONE_MS;
      this.#stalled[slot] = ready || (alone && this.#told[slot] === true);
    }
    if (!this.#stalled.includes(true)) return;
    this.reporting = true;
    this.thread.post('stall', () => this.#onStall());
  }
}

function standsStill({ alive, thread, woken }: Loop): boolean {
  return alive && (thread.busy !== null || thread.onStack || !thread.lives || woken);
}

function hasReady({ woken, thread }: Loop): boolean {
  return woken || [...thread.handles].some(({ readable }) => readable);
}

/** What `require('gyre.node')` gives on `thread`. */
export function addonOf(thread: Thread): object {
  const { world } = thread;
  const { kernel } = world;
  const by = thread.name;
  const loopOf = (peer: number) => {
    const loop = world.loops.get(peer);
    return loop?.alive ? loop : null;
  };
  const call = <Arguments extends readonly unknown[], Result>(
    work: (...args: Arguments) => Result,
  ) => {
    return (...args: Arguments): Result => {
      point('call');
      const result = work(...args);
      world.afterCall();
      return result;
    };
  };
  return {
    linux: true,
    threadId: () => thread.id + 1000,
    getAffinity: () => [0, 1],
    setAffinity: () => 0,
    setThreadName: () => 0,
    widenInChildren: () => 0,
    loosen: () => 0,
    tighten: () => 0,
    setCpus: () => 0,
    stepBack: () => 0,
    usageOf: () => -ESRCH,
    claimCpu: () => 0,
    adviseHuge: () => 0,
    dropHandshakes: () => 0, // no client connects any more when the runtime closes
    markPinned: () => 0,
    misalignmentOf: () => 0,
    installSafepoint: () => 0,
    cpuid: () => -1,
    openTcp: call((_: string, port: number, family: number) => kernel.listen(port, family)),
    openUnix: () => -EINVAL,
    stopListening: call((fd: number) => kernel.stopListening(fd, by)),
    listenOn: call((fd: number) => (kernel.fileAt(fd)?.kind === 'listening' ? 0 : -EINVAL)),
    watchQueue: call((fd: number, accepted: Int32Array, onReady: () => void) => {
      const error = world.fails('epoll_ctl');
      return error !== 0 ? error : new QueueWatch(thread, fd, accepted, onReady).methods;
    }),
    duplicate: call((fd: number) => kernel.duplicate(fd)),
    nextDescriptor: call(() => kernel.next()),
    close: call((fd: number) => {
      kernel.close(fd, by);
      return 0;
    }),
    nameOf: (fd: number) => {
      const file = kernel.fileAt(fd);
      if (file?.kind !== 'listening') return -EBADF;
      const { family, port } = file;
      return { family, text: family === 6 ? '::' : '0.0.0.0', port };
    },
    cookieOf: (fd: number) => kernel.fileAt(fd)?.cookie ?? -EBADF,
    socketOf: (fd: number) => socketOf(kernel, fd),
    closeIfSame: call((fd: number, cookie: bigint) => {
      if (kernel.fileAt(fd)?.cookie !== cookie) return 0;
      kernel.close(fd, by);
      return 1;
    }),
    attachLoop: (...given: ConstructorParameters<typeof Loop>[2]) => {
      const loop = new Loop(world.loops.size + 1, thread, given);
      world.loops.set(loop.id, loop);
      thread.loop = loop;
      return { wakeId: loop.id, detach: () => loop.detach() };
    },
    stopBatching: () => true,
    wake: call((peer: number) => {
      const loop = loopOf(peer);
      if (loop === null) return false;
      loop.woken = true;
      return true;
    }),
    inPoll: call((peer: number) => {
      const loop = loopOf(peer);
      return loop?.thread.sleeps ?? false;
    }),
    responds: call((peer: number) => loopOf(peer)?.thread.paused === false),
    stuckNs: call((peer: number) => {
      const loop = loopOf(peer);
      if (loop === null || loop.thread.sleeps) return 0;
      return 1e6 * (world.now - (loop.busySince ?? world.now));
    }),
    idleNs: (peer: number) => {
      const loop = loopOf(peer);
      if (loop === null) return Number.NaN;
      return loop.thread.sleeps ? world.now * 1e6 : 0;
    },
    atBoundary: call((fd: number, boundary: number, fresh: boolean) =>
      atBoundary(world, fd, boundary, fresh),
    ),
    counterOf: (words: Int32Array, index: number) => () => {
      words[index] = ((words[index] as number) + 1) | 0;
    },
    acceptOne: call((fd: number) => {
      const accepted = kernel.accept(fd);
      const file = kernel.fileAt(accepted);
      if (file?.kind === 'stream') file.connection.hadBy = thread;
      return accepted;
    }),
    // Pins are off, so nobody is sampled.
    createWatcher: (slots: number, _tickUs: number, onStall: () => void) => {
      const watcher = new Watcher(thread, slots, onStall);
      world.watcher = watcher;
      return watcher;
    },
    peek: call((peer: number, worker: number, shared: NativeShared, out: Int32Array) => {
      const loop = loopOf(peer);
      if (loop === null) return -ESRCH;
      const own = peekOwn(loop.thread, worker + 1, shared.table);
      let mail = 0;
      waitingMail(shared.mail, worker, () => ++mail > 0);
      let movable = own.connections.length;
      for (const fd of loop.newcomers()) {
        const entry = new Entry(shared.table, fd);
        if (!entry.ownedBy(worker + 1) || !entry.movable || own.connections.includes(fd)) continue;
        if (world.readable(fd)) movable++;
      }
      out.set([movable, own.queued, own.other, mail]);
      return 0;
    }),
    take: call(
      (
        ...[peer, worker, shared, neverFd, max, quota, , idleFrom, out, stats]: readonly [
          ...[number, number, NativeShared, number, number, NativeQuota, number, number],
          ...[Int32Array, Float64Array],
        ]
      ) => {
        const loop = loopOf(peer);
        if (loop === null) return -ESRCH;
        if (world.cannotPause()) return -ETIMEDOUT;
        const victim = loop.thread;
        if (victim.paused) throw new Violation(`${victim.name} is paused twice`);
        const never = kernel.fileAt(neverFd) as File;
        const most = Math.min(max, TAKE_MAX);
        const taking = new Taking(world, victim, worker, shared, never, most, quota);
        victim.paused = true;
        const ready = [...victim.handles].filter(({ watched, readable }) => watched && readable);
        for (const handle of ready) if (!handle.atEnd) taking.connection(handle.fd);
        for (const fd of loop.newcomers()) if (world.readable(fd)) taking.connection(fd);
        taking.mailbox();
        for (const { fd } of ready) taking.queue(fd);
        const to = idleFrom < 0 ? 0 : Math.min(idleFrom + IDLE_SCAN_MAX, kernel.descriptorsMax);
        for (let fd = idleFrom; fd >= 0 && fd < to && !taking.full; fd++) taking.connection(fd);
        victim.paused = false;
        const boundaries = new Float64Array(out.buffer, out.byteOffset, out.length >> 1);
        for (const [i, { entry, oldFd }] of taking.taken.entries()) {
          const { kind, fd, listener, generation, boundary } = entry;
          out.set([kind, fd, oldFd, listener, generation, 0], 8 * i);
          boundaries[4 * i + 3] = boundary;
        }
        stats.set([taking.mismatches, taking.failures, 1000]);
        return taking.taken.length;
      },
    ),
    withdraw: call((peer: number, fd: number, cookie: bigint) => {
      const loop = loopOf(peer);
      if (loop === null) return -ESRCH;
      const never = kernel.other();
      if (never < 0) return never;
      let error = world.cannotPause() ? -ETIMEDOUT : 0;
      if (error === 0 && kernel.fileAt(fd)?.cookie !== cookie) error = -ENOENT;
      if (error === 0) error = Math.min(kernel.replace(fd, kernel.fileAt(never) as File, by), 0);
      kernel.close(never, by);
      return error;
    }),
  };
}
