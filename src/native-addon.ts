/**
 * The only file that loads the native helper: what that exports, as types, and what to do where
 * there is none. src/native.ts, which alone imports this, is what everybody else calls.
 *
 * Any thread may import this; each environment gets its own instance of the addon over the same
 * process-wide state. Nothing throws here but {@link helper} and {@link checked}.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { getSystemErrorName } from 'node:util';
import { GyreError } from './errors.js';
import { advice, candidates, target } from './native-file.js';

/** What native/addon.cc exports. A number below zero is -errno. */
export interface Addon {
  readonly linux: boolean;
  threadId(): number;
  getAffinity(tid: number): number[] | number;
  setAffinity(tid: number, cpus: readonly number[]): number;
  setThreadName(name: string): number;
  widenInChildren(cpus: readonly number[]): number;
  markPinned(pinned: boolean): number;
  loosen(cpus: readonly number[]): number;
  tighten(): number;
  setCpus(peer: number, cpus: readonly number[]): number;
  stepBack(peer: number, levels: number): number;
  usageOf(peer: number, out: Float64Array): number;
  claimCpu(cpus: readonly number[]): number;
  openTcp(address: string, port: number, family: number, flags: number, backlog: number): number;
  openUnix(path: string, backlog: number): number;
  dropHandshakes(fd: number): number;
  stopListening(fd: number): number;
  duplicate(fd: number): number;
  nextDescriptor(any: number): number;
  close(fd: number): number;
  nameOf(fd: number): SocketName | number;
  openUdp(address: string, port: number, family: number, flags: number, bytes: number): number;
  udpNameOf(fd: number): SocketName | number;
  receiveDatagram(
    fd: number,
    data: Uint8Array,
    peer: Uint8Array,
    words: Int32Array,
    index: number,
  ): number;
  sendDatagram(fd: number, data: Uint8Array, peer: Uint8Array): number;
  peerNameOf(peer: Uint8Array): SocketName | number;
  droppedAt(fd: number): number;
  createPoll(fd: number, onReady: (status: number, events: number) => void): NativePoll | number;
  pollNow(fd: number): number;
  cookieOf(fd: number): bigint | number;
  socketOf(fd: number): number;
  closeIfSame(fd: number, cookie: bigint): number;
  queueOf(fd: number): [length: number, limit: number, dropped: number] | number;
  misalignmentOf(view: Int32Array, alignmentBytes: number): number;
  adviseHuge(view: Int32Array, hugeBytes: number): number;
  attachLoop(
    words: Int32Array,
    loopsIndex: number,
    heartbeatIndex: number,
    onWake: () => void,
    rounds: NativeRounds | null,
    times: NativeTimes | null,
  ): LoopHooks | number;
  stopBatching(): boolean;
  wake(id: number): boolean;
  installSafepoint(): number;
  peek(peer: number, worker: number, shared: NativeShared, out: Int32Array): number;
  inPoll(peer: number): boolean;
  stuckNs(peer: number): number;
  responds(peer: number, timeoutUs: number): boolean;
  idleNs(peer: number): number;
  atBoundary(fd: number, boundary: number, fresh: boolean): boolean;
  counterOf(words: Int32Array, index: number): () => void;
  listenOn(fd: number, backlog: number): number;
  acceptOne(fd: number): number;
  watchQueue(
    fd: number,
    accepted: Int32Array,
    onReady: () => void,
  ): Omit<QueueWatch, 'accepted'> | number;
  createWatcher(
    slots: number,
    tickUs: number,
    onStall: () => void,
    sampleUs: number,
    onSample: () => void,
  ): Watcher | number;
  take(
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
  ): number;
  withdraw(peer: number, fd: number, cookie: bigint, timeoutUs: number): number;
  cpuid(leaf: number, subleaf: number, out: Uint32Array): number;
}

/** A connection table and where its words are, as native/connection_table.h's TableLayout lists them. */
export interface NativeTable {
  readonly words: Int32Array;
  readonly layout: Int32Array;
}

/** What the governor works on; `mail.layout` lists native/mail.h's MailLayout. */
export interface NativeShared {
  readonly table: NativeTable;
  readonly mail: { readonly words: Int32Array; readonly layout: Int32Array };
}

/** When a loop calls `onRound`, and with what; see native/rounds.h's RoundSettings. */
export interface NativeRounds {
  readonly table: NativeTable;
  /** Owner in the table: index of the worker + 1. */
  readonly owner: number;
  /** After an iteration that was busy for so long. */
  readonly busyUs: number;
  /** If at least so many events wait that could be given away; 0: after every iteration. */
  readonly eventsMin: number;
  /** Messages are not followed when more events than that come in 100 ms. */
  readonly fastEvents: number;
  /** Of the word that gets how many events wait. */
  readonly outstandingIndex: number;
  /** Of the row that says which connections are new. */
  readonly newcomersIndex: number;
  /** Of the word that counts messages. */
  readonly messagesIndex: number;
  /** Of the word that says whether messages are followed. */
  readonly armedIndex: number;
  /**
   * Gets movable, queued, other, connections, listeners, 1 if the events are short and the loop
   * is overloaded with them, 0 for `onRound` to set if messages should be followed, and then
   * descriptors of connections and listeners.
   */
  readonly out: Int32Array;
  readonly onRound: () => void;
  /** Messages are to be followed, or no longer. */
  readonly onArm: () => void;
}

/** Where a loop counts how long its iterations were; see native/loop.h's TimesSettings. */
export interface NativeTimes {
  readonly sumIndex: number;
  readonly countIndex: number;
  readonly bucketsIndex: number;
  readonly buckets: number;
}

/** The thread that notices workers which stand still; see native/watcher.h. */
export interface Watcher {
  /** A socket that is never readable, for {@link take}. */
  readonly neverFd: number;
  /** Watches `peer` in `slot` from the next tick on; 0: nobody. */
  set(slot: number, peer: number): void;
  /** Whether the peer in `slot` stood still at the report. */
  still(slot: number): boolean;
  /** Whether besides something waited for it. */
  stalled(slot: number): boolean;
  /** Goes on watching, after a report. */
  continue(): void;
  stop(): void;
}

/** How connections are counted: words of the scoreboard, see native/taking.h's Quota. */
export interface NativeQuota {
  readonly words: Int32Array;
  /** Index of the word that counts the places taken of all workers together. */
  readonly places: number;
  /** No place is taken beyond so many. */
  readonly placesMax: number;
  /** Most connections to accept. */
  readonly acceptMax: number;
  /** Index of the word that counts the connections taken from this worker. */
  readonly taken: number;
}

/**
 * Calls back, in each iteration of the loop in which connections wait in the accept queue of
 * a listening socket, while it is started. It owns the descriptor.
 */
export interface QueueWatch {
  /** 0, or -errno: then it is not started. */
  start(): number;
  stop(): void;
  /** As of timers: whether it keeps the loop alive while it is started. */
  ref(): void;
  unref(): void;
  /** Takes a connection: its descriptor, or -errno. */
  accept(): number;
  /**
   * One word: what was accepted last, until its owner is found and writes -1 there. If the thread
   * ends before, it is closed. No call may lie between: the thread can be terminated at each.
   */
  readonly accepted: Int32Array;
  /** Closes the descriptor, too. Nothing may be called after that. */
  close(): void;
}

/** What a descriptor is bound to: `text` is an address, or a path when family is 1. */
export interface SocketName {
  readonly family: 1 | 4 | 6;
  readonly port: number;
  readonly text: string;
}

/** A poll handle; see native/readiness.h. */
export interface NativePoll {
  start(events: number): number;
  stop(): void;
  close(): void;
}

/** The helper's handles in one event loop. */
export interface LoopHooks {
  /** Pass it to {@link wake} on any thread. */
  readonly wakeId: number;
  detach(): void;
}

function load(): { addon: Addon | null; reason: string } {
  // GYRE_NATIVE names another build of the helper (sanitizers, the POSIX-only
  // build), or is `none` to run without one.
  const wanted = process.env.GYRE_NATIVE;
  if (wanted === 'none') return { addon: null, reason: 'GYRE_NATIVE=none' };
  let failure = '';
  for (const file of wanted === undefined ? candidates() : [path.resolve(wanted)]) {
    if (!existsSync(file)) continue;
    try {
      return { addon: require(file) as Addon, reason: '' };
    } catch (error) {
      failure ||= `the native helper does not load: ${(error as Error).message}`;
    }
  }
  if (wanted !== undefined) return { addon: null, reason: failure || `there is no ${wanted}` };
  return { addon: null, reason: (failure || `no native helper for ${target()}`) + advice() };
}

const { addon: loaded, reason } = load();

/** The helper, or null. */
export const addon = loaded;

/** Why there is no helper, or an empty string. */
export const missingReason = reason;
/** Whether the helper is loaded. */
export const hasHelper = addon !== null;
/** Whether it has the Linux parts: affinity, thread ids, SO_REUSEPORT, socket cookies. */
export const hasLinuxParts = addon?.linux ?? false;

/** The helper, or an error that says why there is none. */
export function helper(): Addon {
  if (addon === null) throw new GyreError('ERR_GYRE_CAPABILITY', missingReason);
  return addon;
}

/** What `syscall` returned through the helper, or an error of it. */
export function checked<T>(syscall: string, result: T | number): T {
  if (typeof result !== 'number' || result >= 0) return result as T;
  const name = getSystemErrorName(result);
  throw new GyreError('ERR_GYRE_NATIVE', `${syscall}: ${name}`, { syscall, errno: result });
}
