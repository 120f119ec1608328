/**
 * Pins that give way: binds the threads of a starved worker to more CPUs than its own, ring by
 * ring, and back (src/scheduler/widening.ts decides). The governor's thread only.
 *
 * A worker is judged as a whole, whichever thread of it runs: what competes for its CPU is there
 * for the next one, too. Its second thread, workers that are bound to the same CPU, workers that were
 * widened onto it and spares compete for it as well, but that is our own doing.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { setCpus, usageOf } from '../native.js';
import type { Repinning, SoftPinsInit } from '../protocol.js';
import { type CpuTime, cpuTimes, idlest } from '../scheduler/cpu-idle.js';
import { cpuRings } from '../scheduler/neighbourhood.js';
import { delaysByOthers, Meter, type OwnThread } from '../scheduler/run-delay.js';
import type { Scoreboard } from '../scheduler/scoreboard.js';
import { type Idle, SAMPLE_MS, WINDOW_MS, Widening } from '../scheduler/widening.js';

/**
 * How often /proc/stat is read, while that matters: it takes the kernel up to ms on a machine with
 * many CPUs, and counts in steps of 10 ms.
 */
const IDLE_MS = WINDOW_MS / 2;
const IDLE_URGENT_MS = 2 * SAMPLE_MS;

/** A thread of a worker, or a spare. */
interface Thread {
  readonly peer: number;
  readonly meter: Meter;
}

interface Pinned {
  readonly home: number;
  /** Around its CPU, nearest first. */
  readonly rings: readonly (readonly number[])[];
  readonly widening: Widening;
}

/** How much the CPUs have idled, if that was measured just now. */
interface IdleTimes {
  of(cpus: readonly number[]): number | null;
  readonly overMs: number;
}

export class SoftPins {
  readonly #init: SoftPinsInit;
  readonly #board: Scoreboard;
  readonly #changed: (repinning: Repinning) => void;
  /** By slot. */
  readonly #threads: (Thread | null)[];
  /** By number of the worker; null until its first thread runs. */
  readonly #pinned: (Pinned | null)[];
  #idleBefore: { readonly atMs: number; readonly times: ReadonlyMap<number, CpuTime> } | null =
    null;

  /** @param changed is told of each worker that has other CPUs now */
  constructor(init: SoftPinsInit, board: Scoreboard, changed: (repinning: Repinning) => void) {
    this.#init = init;
    this.#board = board;
    this.#changed = changed;
    this.#threads = new Array(board.workers).fill(null);
    this.#pinned = new Array(init.workers).fill(null);
  }

  /** The thread that has `slot` is `peer` from now on; 0: there is none. */
  watch(slot: number, peer: number): void {
    this.#threads[slot] = peer === 0 ? null : { peer, meter: new Meter() };
    const home = this.#board.cpu(slot);
    if (peer === 0 || home === null) return;
    const { cpus, machine, workers } = this.#init;
    const worker = slot % workers;
    if (this.#pinned[worker] === null) {
      const rings = cpuRings(home, cpus, machine);
      // A governor before this one may have widened it.
      const widening = new Widening(rings.length, performance.now(), this.#board.rings(slot));
      this.#pinned[worker] = { home, rings, widening };
    }
    // It was born on its worker's CPU.
    const pinned = this.#pinned[worker] as Pinned;
    if (pinned.widening.rings > 0) setCpus(peer, cpusWithin(pinned, pinned.widening.rings));
  }

  /** Looks at all of them. To be called every SAMPLE_MS while any has something to do. */
  sample(): void {
    const atMs = performance.now();
    const slots: number[] = [];
    const shares: OwnThread[] = [];
    this.#threads.forEach((thread, slot) => {
      const usage = thread === null ? null : usageOf(thread.peer);
      const share = usage === null ? null : thread?.meter.read(usage, atMs);
      if (usage === null || !share) return;
      slots.push(slot);
      shares.push({ ...share, home: this.#board.cpu(slot), cpu: usage.cpu });
    });
    const delays = delaysByOthers(shares);
    const idle = this.#measureIdle(atMs);
    this.#pinned.forEach((pinned, worker) => {
      if (pinned === null) return;
      const own = slots.flatMap((slot, at) => {
        const share = shares[at] as OwnThread;
        const mine = share.home !== null && slot % this.#init.workers === worker;
        return mine ? [{ ...share, delayMs: delays[at] as number }] : [];
      });
      if (own.length > 0) this.#judge(worker, pinned, own, { atMs, idle });
    });
  }

  #judge(
    worker: number,
    pinned: Pinned,
    threads: readonly OwnThread[],
    { atMs, idle }: { readonly atMs: number; readonly idle: IdleTimes | null },
  ): void {
    const { widening } = pinned;
    const sum = (key: 'runMs' | 'delayMs' | 'runs') =>
      threads.reduce((total, thread) => total + thread[key], 0);
    const inner = cpusWithin(pinned, Math.max(0, widening.rings - 1));
    const rings = widening.sample({
      ...{ atMs, runMs: sum('runMs'), delayMs: sum('delayMs'), runs: sum('runs') },
      within: threads.every(({ cpu }) => inner.includes(cpu)),
      inside: idle && share(idle, inner),
      outside: idle && this.#outside(pinned, idle),
    });
    if (rings === widening.rings) return;
    const cpus = cpusWithin(pinned, rings);
    const slots = this.#slotsOf(worker);
    const bound = slots.filter((slot) => {
      const thread = this.#threads[slot] ?? null;
      return thread !== null && setCpus(thread.peer, cpus);
    });
    // They have ended, or somebody has taken these CPUs away from the process.
    if (bound.length === 0) return;
    const wider = rings > widening.rings;
    widening.changed(rings, atMs);
    for (const slot of slots) this.#board.governor(slot).rings(rings);
    this.#board.governor(bound[0] as number).pinned(wider);
    this.#changed({ worker, wider, rings, cpus });
  }

  #slotsOf(worker: number): readonly number[] {
    return [worker, worker + this.#init.workers];
  }

  #outside(pinned: Pinned, idle: IdleTimes): Idle | null {
    // What was while the process slept does not matter.
    if (!pinned.widening.wantsRoom || idle.overMs > WINDOW_MS) return null;
    const bound = cpusWithin(pinned, pinned.widening.rings);
    const cpus = this.#init.cpus.filter((cpu) => !bound.includes(cpu));
    // Where nobody can know there may be room.
    return share(idle, cpus) ?? { share: 1, overMs: idle.overMs };
  }

  /** It matters only while somebody is away from his CPU, or wants to be. */
  #measureIdle(atMs: number): IdleTimes | null {
    const all = this.#pinned.flatMap((pinned) => pinned?.widening ?? []);
    const urgent = all.some(({ wantsRoom }) => wantsRoom);
    if (!urgent && !all.some(({ rings }) => rings > 0)) {
      this.#idleBefore = null;
      return null;
    }
    const before = this.#idleBefore;
    const overMs = before === null ? 0 : atMs - before.atMs;
    if (before !== null && overMs < (urgent ? IDLE_URGENT_MS : IDLE_MS)) return null;
    const times = readTimes();
    this.#idleBefore = { atMs, times };
    return before && { overMs, of: (cpus) => idlest(before.times, times, cpus) };
  }
}

function share(idle: IdleTimes, cpus: readonly number[]): Idle | null {
  const idled = idle.of(cpus);
  return idled === null ? null : { share: idled, overMs: idle.overMs };
}

/** The CPU of a worker and those of its first `rings` rings, ascending. */
function cpusWithin({ home, rings: all }: Pinned, rings: number): number[] {
  return [home, ...all.slice(0, rings).flat()].sort((a, b) => a - b);
}

function readTimes(): ReadonlyMap<number, CpuTime> {
  try {
    const niceYields = os.getPriority() <= 0;
    return cpuTimes(readFileSync('/proc/stat', 'utf8'), niceYields);
  } catch {
    return new Map(); // hidden: then what is known is where a worker runs
  }
}
