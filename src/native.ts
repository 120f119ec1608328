/**
 * What gyre asks of the native helper: each call turns a result, which is a number or -errno, into a
 * value or a {@link GyreError}, and says what happens where there is no helper. Those that return
 * -errno as it is say so.
 *
 * Any thread may import this. Arguments are checked by their types only: the helper believes them.
 */
import { constants } from 'node:os';
import {
  addon,
  checked,
  hasLinuxParts,
  helper,
  type LoopHooks,
  type NativeQuota,
  type NativeRounds,
  type NativeShared,
  type NativeTimes,
  type QueueWatch,
  type SocketName,
  type Watcher,
} from './native-addon.js';
import type { Usage } from './scheduler/run-delay.js';

export {
  hasHelper,
  hasLinuxParts,
  type LoopHooks,
  missingReason,
  type NativeQuota,
  type NativeRounds,
  type NativeShared,
  type NativeTable,
  type QueueWatch,
  type Watcher,
} from './native-addon.js';

/** What a loop has ready, estimated without pausing it. */
export interface Ready {
  /** Connections with input that may move. */
  readonly movable: number;
  /** Length of its ready accept queues. */
  readonly queued: number;
  /** Anything else. */
  readonly other: number;
  /** Connections in its mailbox. */
  readonly mail: number;
}

/** Instead of the old descriptor, of what {@link take} took out of an accept queue or a mailbox. */
export const FROM_QUEUE = -1;
export const FROM_MAIL = -2;

/** The accept queue of a listening socket. */
interface QueueState {
  /** Connections that wait to be accepted. */
  readonly length: number;
  /** How many may wait; Linux takes one more. */
  readonly limit: number;
  /** Connections ever turned away because there was no room, modulo 2^32. */
  readonly dropped: number;
}

/** One descriptor, watched by the loop of the thread that made this: see {@link watchReady}. */
export interface Poll {
  /** Watches for `events`, {@link READABLE} and {@link WRITABLE}, until {@link stop}. */
  start(events: number): void;
  stop(): void;
  /** From here on the descriptor may be closed. */
  close(): void;
}

/** What a descriptor is ready for, as a sum. */
export const READABLE = 1;
export const WRITABLE = 2;
/** Only of {@link readyNow}: the other end has hung up or writes no more, or it has failed. */
export const HUNG_UP = 4;

/** Bytes of the address of whoever sent a datagram, as the helper keeps it. */
export const PEER_BYTES = 28;

/** Bits of {@link openTcp}'s flags; the first two are libuv's own values. */
export const TCP_IPV6ONLY = 1;
export const TCP_REUSEPORT = 2;
export const TCP_PROBE = 4;

/** Size of `sun_path` in Linux's `sockaddr_un`; only Linux has abstract names. */
const SUN_PATH_BYTES = 108;

// An imported name could be another in each call, for all that TypeScript knows.
const loaded = addon;

/** Kernel thread id of the calling thread, or null where there is none (gettid(2)). */
export function threadId(): number | null {
  return hasLinuxParts ? checked('gettid', helper().threadId()) : null;
}

/** CPUs that thread `tid` (0: the caller) may run on, ascending (sched_getaffinity(2)). */
export function affinity(tid = 0): number[] {
  return checked('sched_getaffinity', helper().getAffinity(tid) as number[] | number);
}

/** Restricts thread `tid` (0: the caller) to `cpus` (sched_setaffinity(2)). */
export function setAffinity(cpus: readonly number[], tid = 0): void {
  checked('sched_setaffinity', helper().setAffinity(tid, cpus));
}

/** Names the calling thread; cut at 15 bytes. Does nothing where threads have no names. */
export function setThreadName(name: string): void {
  if (hasLinuxParts) helper().setThreadName(name);
}

/**
 * Lets children forked by a thread that called {@link markPinned} start on `cpus`
 * instead of inheriting the pin. Process-wide; the first call wins.
 */
export function widenInChildren(cpus: readonly number[]): void {
  checked('pthread_atfork', helper().widenInChildren(cpus));
}

/** Says whether the calling thread is pinned by gyre. */
export function markPinned(pinned: boolean): void {
  helper().markPinned(pinned);
}

/**
 * Lets the calling thread run on `cpus` until {@link tighten}: for the moment in which a worker
 * creates a thread that shall not inherit its pin.
 */
export function loosen(cpus: readonly number[]): void {
  checked('sched_setaffinity', helper().loosen(cpus));
}

/** Binds the calling thread again to what it was, or to what {@link setCpus} has said since. */
export function tighten(): void {
  helper().tighten();
}

/** Binds the thread of `peer` to `cpus`; false if it is gone, or may run on none of them. */
export function setCpus(peer: number, cpus: readonly number[]): boolean {
  return helper().setCpus(peer, cpus) === 0;
}

/**
 * Makes the thread of `peer` nicer by `levels`: who wants its CPU as well gets more of it. It stays so,
 * and this is for a thread that is to end. False if it is gone, or this system has no priorities of threads.
 */
export function stepBack(peer: number, levels: number): boolean {
  return helper().stepBack(peer, levels) === 0;
}

const used = new Float64Array(5);

/** What the thread of `peer` has had of the CPUs since it began; null if it is gone. */
export function usageOf(peer: number): Usage | null {
  if (helper().usageOf(peer, used) !== 0) return null;
  const [runNs = 0, delayNs = 0, runs = 0, cpu = 0, runnable = 0] = used;
  return { runMs: runNs / 1e6, delayMs: delayNs / 1e6, runs, cpu, runnable: runnable !== 0 };
}

/**
 * The one of `cpus` that fewest threads of this process have claimed, and among equals the
 * first. The claim is the calling thread's until it ends; it binds nothing.
 */
export function claimCpu(cpus: readonly number[]): number {
  if (cpus.length === 0) throw new RangeError('there is no CPU to claim');
  return helper().claimCpu(cpus);
}

/** Opens a listening socket; returns its descriptor or -errno. */
export function openTcp(
  address: string,
  port: number,
  family: 4 | 6,
  flags: number,
  backlog: number,
): number {
  return helper().openTcp(address, port, family, flags, backlog);
}

/** Opens a listening Unix socket (abstract if `path` starts with NUL); fd or -errno. */
export function openUnix(path: string, backlog: number): number {
  return helper().openUnix(path.startsWith('\0') ? abstractName(path) : path, backlog);
}

/**
 * An abstract name as this line of node spells it, so that its clients find it: up to
 * Node 20 it is padded with NULs to the size of `sun_path`.
 */
function abstractName(name: string): string {
  if (Number.parseInt(process.versions.node, 10) > 20) return name;
  return name + '\0'.repeat(Math.max(0, SUN_PATH_BYTES - Buffer.byteLength(name)));
}

/**
 * From now on nobody begins a connection to the listening TCP socket `fd`, whatever has begun goes on.
 * Returns whether that is so; it cannot be undone.
 */
export function dropHandshakes(fd: number): boolean {
  return hasLinuxParts && helper().dropHandshakes(fd) === 0;
}

/**
 * The listening socket `fd` listens no more, through whatever descriptor: who waits in its queue is
 * reset, and who connects is refused. Returns whether that is so.
 */
export function stopListening(fd: number): boolean {
  return helper().stopListening(fd) === 0;
}

/**
 * The number that the next descriptor will have, or -errno: the lowest that is free. Nothing is left
 * open, even if the thread is ended meanwhile.
 *
 * @param any one that is open
 */
export function nextDescriptor(any: number): number {
  return helper().nextDescriptor(any);
}

/** Another descriptor, close-on-exec and at least 3, for what `fd` refers to; or -errno. */
export function duplicate(fd: number): number {
  return helper().duplicate(fd);
}

/**
 * Closes a descriptor that the helper opened or duplicated and nobody else has closed. Calls nothing
 * after that: src/scheduler/hand.ts says why.
 */
export function close(fd: number): void {
  const result = helper().close(fd);
  if (result < 0) checked('close', result);
}

/** What `fd` is bound to; throws if it is not an internet or Unix socket. */
export function nameOf(fd: number): SocketName {
  return checked('getsockname', helper().nameOf(fd));
}

/**
 * Opens a bound datagram socket; returns its descriptor or -errno. `flags` as of {@link openTcp}.
 *
 * @param receiveBufferBytes SO_RCVBUF, which the kernel doubles and limits; 0: its default
 */
export function openUdp(
  address: string,
  port: number,
  family: 4 | 6,
  flags: number,
  receiveBufferBytes: number,
): number {
  return helper().openUdp(address, port, family, flags, receiveBufferBytes);
}

/** What datagram socket `fd` is bound to. */
export function udpNameOf(fd: number): SocketName {
  return checked('getsockname', helper().udpNameOf(fd));
}

/**
 * Takes a datagram from `fd`, if one waits, and counts it into `words[index]`: its length, or
 * -errno. `peer`, of {@link PEER_BYTES}, gets who sent it. Never blocks.
 */
export function receiveDatagram(
  fd: number,
  data: Uint8Array,
  peer: Uint8Array,
  words: Int32Array,
  index: number,
): number {
  return helper().receiveDatagram(fd, data, peer, words, index);
}

/** Sends `data` from `fd` to `peer`: its length, or -errno. Never blocks. */
export function sendDatagram(fd: number, data: Uint8Array, peer: Uint8Array): number {
  return helper().sendDatagram(fd, data, peer);
}

/** Who sent a datagram, in words. */
export function peerNameOf(peer: Uint8Array): SocketName {
  return checked('getnameinfo', helper().peerNameOf(peer));
}

/** Datagrams that the kernel has dropped at `fd`, modulo 2^32; null where it does not tell. */
export function droppedAt(fd: number): number | null {
  const dropped = helper().droppedAt(fd);
  return dropped < 0 ? null : dropped;
}

/**
 * Watches descriptor `fd`, which it makes non-blocking and which must stay open until the result
 * is closed. `onReady` is called once in each iteration of this thread's loop while `fd` is
 * ready, with 0 and events, or with -errno after it has failed. Never keeps the loop alive.
 *
 * @throws GyreError `ERR_GYRE_NATIVE` if `fd` is closed (EBADF), cannot be polled (EPERM), or is
 *   watched by this loop already (EEXIST)
 */
export function watchReady(fd: number, onReady: (status: number, events: number) => void): Poll {
  const native = checked('uv_poll_init', helper().createPoll(fd, onReady));
  let open = true;
  return {
    start(events) {
      if (open) checked('uv_poll_start', native.start(events));
    },
    stop() {
      if (open) native.stop();
    },
    close() {
      if (open) native.close();
      open = false;
    },
  };
}

/**
 * What `fd` is ready for now: a sum of {@link READABLE}, which it is not at its end, {@link WRITABLE}
 * and {@link HUNG_UP}.
 */
export function readyNow(fd: number): number {
  return checked('poll', helper().pollNow(fd));
}

/** The kernel's name of the socket behind `fd`, or null where it has none (SO_COOKIE, Linux 4.6). */
export function cookieOf(fd: number): bigint | null {
  if (!hasLinuxParts) return null;
  const cookie = helper().cookieOf(fd);
  // What only speaks like a kernel (QEMU's user mode) does not know it, either.
  const unknown = [-constants.errno.ENOPROTOOPT, -constants.errno.EINVAL].includes(Number(cookie));
  return unknown ? null : checked('getsockopt', cookie);
}

/** The lower half of that name, which two sockets of one time do not share; 0: it has none. */
export function socketOf(fd: number): number {
  return hasLinuxParts ? helper().socketOf(fd) : 0;
}

/** Closes `fd` if it still refers to the socket named `cookie`; returns whether it did. */
export function closeIfSame(fd: number, cookie: bigint): boolean {
  return checked('close', helper().closeIfSame(fd, cookie)) === 1;
}

/** Bytes by which a view's memory is past a multiple of `alignmentBytes`; null without helper. */
export const misalignmentOf =
  loaded === null
    ? null
    : (view: Int32Array, alignmentBytes: number) => loaded.misalignmentOf(view, alignmentBytes);

/**
 * The accept queue of the listening TCP socket `fd`; null of any other, and where the system does
 * not tell (tcp(7): TCP_INFO; SO_MEMINFO, Linux 4.12).
 */
export function queueOf(fd: number): QueueState | null {
  const state = hasLinuxParts ? helper().queueOf(fd) : 0;
  if (typeof state === 'number') return null;
  const [length, limit, dropped] = state;
  return { length, limit, dropped };
}

/**
 * Asks for huge pages of `hugeBytes` where `view` has room for whole ones, when they are first
 * touched (madvise(2)).
 *
 * @returns how many bytes that is
 * @throws GyreError ERR_GYRE_NATIVE where the kernel has none
 */
export function adviseHuge(view: Int32Array, hugeBytes: number): number {
  return checked('madvise', helper().adviseHuge(view, hugeBytes));
}

/**
 * Counts this loop's iterations into `words[loopsIndex]` and its clock into
 * `words[heartbeatIndex]`, and calls `onWake` here after {@link wake} anywhere, and what
 * `rounds` says when that says so. `times` says where to count how long the iterations were.
 * Keeps `words` alive, but never the loop.
 */
export function attachLoop(
  words: Int32Array,
  loopsIndex: number,
  heartbeatIndex: number,
  onWake: () => void,
  rounds: NativeRounds | null = null,
  times: NativeTimes | null = null,
): LoopHooks {
  const hooks = checked(
    'uv_async_init',
    helper().attachLoop(words, loopsIndex, heartbeatIndex, onWake, rounds, times),
  );
  let attached = true;
  return {
    wakeId: hooks.wakeId,
    detach() {
      if (attached) hooks.detach();
      attached = false;
    },
  };
}

/**
 * Makes this thread's loop change its epoll set by itself and not through a ring (io_uring(7)), as
 * {@link attachLoop} does, for whoever may be paused must. False where gyre does not know how.
 */
export function stopBatching(): boolean {
  return helper().stopBatching();
}

/** Wakes the loop that `wakeId` names. False if it is gone. Never blocks for long. */
export function wake(wakeId: number): boolean {
  return helper().wake(wakeId);
}

/** Installs the process's safepoint handler (SIGURG), once; chains to an earlier one. */
export function installSafepoint(): void {
  checked('sigaction', helper().installSafepoint());
}

const peeked = new Int32Array(4);

/** What the loop of `peer`, which is `worker`, has ready now, or null if it is gone. */
export function peek(peer: number, worker: number, shared: NativeShared): Ready | null {
  if (helper().peek(peer, worker, shared, peeked) !== 0) return null;
  const [movable = 0, queued = 0, other = 0, mail = 0] = peeked;
  return { movable, queued, other, mail };
}

/** Whether the loop of `peer` sleeps in epoll_wait at this moment. */
export function inPoll(peer: number): boolean {
  return helper().inPoll(peer);
}

/**
 * For how long `peer` has not returned to its loop, in ms; 0 while it sleeps there, or if it is
 * gone. Counted from when it woke up last, not from when it went to sleep.
 */
export function stuckMs(peer: number): number {
  return helper().stuckNs(peer) / 1e6;
}

/**
 * Whether the thread of `peer` runs, or waits for something that a signal interrupts, as seen within
 * `timeoutUs`: not one that a tracer or the kernel holds. That one is not answered for.
 */
export function responds(peer: number, timeoutUs: number): boolean {
  return helper().responds(peer, timeoutUs);
}

/**
 * How long the loop of `peer` has slept without having anything to do, in ms; NaN if it is gone
 * or being paused. Only differences mean something.
 */
export function idleMs(peer: number): number {
  return helper().idleNs(peer) / 1e6;
}

/**
 * Whether the kernel confirms that exactly `boundary` bytes were read from `fd`, and, of a
 * `fresh` connection, that nothing was written to it.
 */
export function atBoundary(fd: number, boundary: number, fresh: boolean): boolean {
  return helper().atBoundary(fd, boundary, fresh);
}

/**
 * A function that adds one to `words[index]`, modulo 2^32, and in which V8 does not look whether its
 * thread is to be terminated. Whoever calls it keeps `words`.
 */
export function counterOf(words: Int32Array, index: number): () => void {
  if (!(index in words)) throw new RangeError(`there is no word ${index}`);
  return helper().counterOf(words, index);
}

/** listen(2) on `fd`, which is bound or listens already; 0 or -errno. */
export function listenOn(fd: number, backlog: number): number {
  return helper().listenOn(fd, backlog);
}

/** Watches the accept queue of `fd`, which is the watch's from now on; or -errno. Not started yet. */
export function watchQueue(fd: number, onReady: () => void): QueueWatch | number {
  const accepted = new Int32Array(1);
  const watch = helper().watchQueue(fd, accepted, onReady);
  return typeof watch === 'number' ? watch : Object.assign(watch, { accepted });
}

/** Takes a connection from the queue of listening socket `fd`: its descriptor, or -errno. */
export function acceptOne(fd: number): number {
  return helper().acceptOne(fd);
}

/**
 * Watches loops in `slots` slots. `onStall` is called on this thread's loop, and so is `onSample`,
 * every `sampleUs` while any of them has something to do; 0: never.
 */
export function createWatcher(
  slots: number,
  tickUs: number,
  onStall: () => void,
  sampleUs = 0,
  onSample = () => {},
): Watcher {
  return checked('eventfd', helper().createWatcher(slots, tickUs, onStall, sampleUs, onSample));
}

/**
 * Pauses the thread of `peer`, which is `worker`, takes at most `max` things from it, and lets
 * it go on: connections with input, its mailbox, accept queues within `quota`, and if `idleFrom` is not -1,
 * idle connections with descriptors from there on.
 * Each is 8 words in `out`: kind, fd, old fd or FROM_QUEUE or FROM_MAIL, listener,
 * generation, unused, boundary as a double. `stats` gets mismatches, failures and the pause in
 * ns. Returns how many were taken, or -errno when the thread is gone or could not be paused.
 */
export function take(
  peer: number,
  worker: number,
  shared: NativeShared,
  neverFd: number,
  max: number,
  quota: NativeQuota,
  timeoutUs: number,
  idleFrom: number,
  out: Int32Array,
  stats: Float64Array,
): number {
  const args = [
    peer,
    worker,
    shared,
    neverFd,
    max,
    quota,
    timeoutUs,
    idleFrom,
    out,
    stats,
  ] as const;
  return helper().take(...args);
}

/**
 * Pauses the thread of `peer`, which is about to end, and takes its listening descriptor `fd` away, if
 * that is still the socket named `cookie`: the number stays in use, and leads nowhere. False if it was
 * another, the thread is gone or could not be paused, or no descriptor is left.
 */
export function withdraw(peer: number, fd: number, cookie: bigint, timeoutUs: number): boolean {
  return helper().withdraw(peer, fd, cookie, timeoutUs) === 0;
}

/** eax, ebx, ecx and edx of CPUID on the CPU that the caller is on; null where there is none. */
export function cpuid(leaf: number, subleaf: number): [number, number, number, number] | null {
  const registers = new Uint32Array(4);
  if (loaded === null || loaded.cpuid(leaf, subleaf, registers) !== 0) return null;
  return [...registers] as [number, number, number, number];
}
