/**
 * The simulated machine: CPUs, and an operating system that shares them among threads.
 *
 * Each CPU runs, of its runnable threads, the one that has run least, for a time slice.
 * A thread that wakes is credited up to half a slice for its sleep and preempts one that has
 * run for longer by more than the granularity. That is what Linux's fair schedulers have
 * in common, without their details. A thread that is not bound wakes where it last ran if
 * that CPU is free, else where the fewest are runnable; and a CPU that becomes free pulls
 * such a thread from another. Switching costs nothing.
 *
 * CPUs of one core slow each other down while more than one of them is busy.
 */
import type { Clock } from './clock.js';

export interface Sharing {
  /** How long a thread runs while others wait for its CPU. */
  readonly sliceMs: number;
  /** By how much more the running thread must have run for a waking one to preempt it. */
  readonly granularityMs: number;
  /** Speed of a CPU while another of its core is busy, relative to that alone. */
  readonly smtSpeed: number;
  /** Speed of an efficiency core, relative to the others. */
  readonly efficientSpeed: number;
}

/** What CPUs have to do with each other. */
export interface Layout {
  /** By CPU: the others of its core. */
  readonly siblings: readonly (readonly number[])[];
  /** By CPU: whether it is an efficiency core. */
  readonly efficient: readonly boolean[];
}

/** What is left of a burst below this is rounding. */
const NOTHING_MS = 1e-9;

class Cpu {
  readonly index: number;
  current: Thread | null = null;
  readonly waiting: Thread[] = [];
  /** The least time that a runnable thread here has run. Never falls. */
  leastRunMs = 0;
  startedAtMs = 0;
  sliceEndMs = 0;
  /** The current thread is deciding what it does next. */
  deciding = false;
  /** Others of its core. */
  siblings: readonly Cpu[] = [];
  /** For them it runs something. */
  busy = false;
  /** Ends of earlier schedules are void. */
  generation = 0;

  readonly #sharing: Sharing;
  readonly #speed: number;

  constructor(index: number, sharing: Sharing, efficient: boolean) {
    this.index = index;
    this.#sharing = sharing;
    this.#speed = efficient ? sharing.efficientSpeed : 1;
  }

  get runnable(): number {
    return this.waiting.length + (this.current === null ? 0 : 1);
  }

  /** Work that it does in a ms. */
  get speed(): number {
    return this.crowded ? this.#speed * this.#sharing.smtSpeed : this.#speed;
  }

  /** Another CPU of its core is busy. */
  get crowded(): boolean {
    for (const sibling of this.siblings) if (sibling.busy) return true;
    return false;
  }
}

export class Thread {
  readonly bound: boolean;
  cpu: Cpu;
  /** How long it has run, kept comparable among the threads of a CPU. */
  ranMs = 0;
  /** How long it has run. */
  usedMs = 0;
  /** What is left to do of its burst, on a CPU of speed 1. */
  leftMs = 0;
  blocked = true;
  /** What follows the burst. */
  next: () => void = () => {};

  constructor(cpu: Cpu, bound: boolean) {
    this.cpu = cpu;
    this.bound = bound;
  }
}

export class Machine {
  readonly #clock: Clock;
  readonly #sharing: Sharing;
  readonly #cpus: readonly Cpu[];
  /** Threads that any CPU may run. */
  readonly #unbound: Thread[] = [];

  constructor(clock: Clock, cpus: number, sharing: Sharing, layout: Layout | null = null) {
    this.#clock = clock;
    this.#sharing = sharing;
    this.#cpus = Array.from({ length: cpus }, (_, index) => {
      return new Cpu(index, sharing, layout?.efficient[index] ?? false);
    });
    for (const cpu of this.#cpus) {
      cpu.siblings = (layout?.siblings[cpu.index] ?? []).map((other) => this.#cpus[other] as Cpu);
    }
  }

  /** A thread bound to `cpu`, or to none. */
  thread(cpu: number | null): Thread {
    const thread = new Thread(this.#cpus[cpu ?? 0] as Cpu, cpu !== null);
    if (cpu === null) this.#unbound.push(thread);
    return thread;
  }

  /** Whether nothing runs on the CPU that `thread` last ran on. */
  isFree(thread: Thread): boolean {
    return thread.cpu.current === null;
  }

  /** Whether another CPU of the core that `thread` last ran on is busy. */
  isCrowded(thread: Thread): boolean {
    return thread.cpu.crowded;
  }

  /** For how long `thread` has had a CPU so far. */
  usedMs(thread: Thread): number {
    const { cpu, usedMs } = thread;
    return cpu.current === thread ? usedMs + this.#clock.nowMs - cpu.startedAtMs : usedMs;
  }

  /**
   * A blocked thread needs its CPU for `ms`, and then calls `next`. If that does not call
   * run(), it blocks.
   */
  run(thread: Thread, ms: number, next: () => void): void {
    if (!thread.blocked) throw new Error('the thread runs already');
    thread.blocked = false;
    thread.leftMs = ms;
    thread.next = next;
    if (thread.cpu.deciding && thread.cpu.current === thread) return;
    this.#wake(thread);
  }

  /** What a thread does now takes it `ms` longer. */
  delay(thread: Thread, ms: number): void {
    if (thread.blocked) return;
    const { cpu } = thread;
    if (cpu.current === thread && !cpu.deciding) {
      this.#charge(cpu);
      thread.leftMs += ms;
      this.#schedule(cpu);
    } else {
      thread.leftMs += ms;
    }
  }

  #wake(thread: Thread): void {
    if (!thread.bound && (thread.cpu.current !== null || thread.cpu.crowded)) {
      this.#migrate(thread, this.#quietest());
    }
    const { cpu } = thread;
    thread.ranMs = Math.max(thread.ranMs, cpu.leastRunMs - this.#sharing.sliceMs / 2);
    if (cpu.current === null) {
      this.#start(cpu, thread);
      return;
    }
    cpu.waiting.push(thread);
    if (cpu.deciding) return;
    this.#charge(cpu);
    this.#continue(cpu);
  }

  #quietest(): Cpu {
    let best = this.#cpus[0] as Cpu;
    for (const cpu of this.#cpus) {
      const fewer = best.runnable - cpu.runnable;
      if (fewer > 0 || (fewer === 0 && best.crowded && !cpu.crowded)) best = cpu;
    }
    return best;
  }

  #migrate(thread: Thread, to: Cpu): void {
    thread.ranMs += to.leastRunMs - thread.cpu.leastRunMs;
    thread.cpu = to;
  }

  #charge(cpu: Cpu): void {
    const thread = cpu.current as Thread;
    const ms = this.#clock.nowMs - cpu.startedAtMs;
    cpu.startedAtMs = this.#clock.nowMs;
    thread.leftMs -= ms * cpu.speed;
    thread.ranMs += ms;
    thread.usedMs += ms;
    let least = thread.ranMs;
    for (const other of cpu.waiting) least = Math.min(least, other.ranMs);
    cpu.leastRunMs = Math.max(cpu.leastRunMs, least);
  }

  #start(cpu: Cpu, thread: Thread): void {
    cpu.current = thread;
    cpu.startedAtMs = this.#clock.nowMs;
    cpu.sliceEndMs = this.#clock.nowMs + this.#sharing.sliceMs;
    this.#mark(cpu, true);
    this.#schedule(cpu);
  }

  /** `cpu` becomes busy, or idle: what runs on the others of its core goes slower, or faster. */
  #mark(cpu: Cpu, busy: boolean): void {
    if (cpu.busy === busy) return;
    const affected = cpu.siblings.filter(({ current, deciding }) => current !== null && !deciding);
    for (const sibling of affected) this.#charge(sibling);
    cpu.busy = busy;
    for (const sibling of affected) this.#schedule(sibling);
  }

  #schedule(cpu: Cpu): void {
    const generation = ++cpu.generation;
    let ms = Math.max(0, (cpu.current as Thread).leftMs) / cpu.speed;
    if (cpu.waiting.length > 0) {
      ms = Math.min(ms, Math.max(0, cpu.sliceEndMs - this.#clock.nowMs));
    }
    this.#clock.after(ms, () => {
      if (generation === cpu.generation) this.#end(cpu);
    });
  }

  /** A burst or a slice is over. */
  #end(cpu: Cpu): void {
    this.#charge(cpu);
    const thread = cpu.current as Thread;
    if (thread.leftMs <= NOTHING_MS) {
      thread.leftMs = 0;
      thread.blocked = true;
      cpu.deciding = true;
      thread.next();
      cpu.deciding = false;
      if (thread.blocked) {
        this.#next(cpu);
        return;
      }
    }
    this.#continue(cpu);
  }

  /** Goes on with the current thread, or with one that has more right to the CPU. */
  #continue(cpu: Cpu): void {
    const thread = cpu.current as Thread;
    const isOver = this.#clock.nowMs >= cpu.sliceEndMs - NOTHING_MS;
    const margin = isOver ? 0 : this.#sharing.granularityMs;
    const least = Math.min(...cpu.waiting.map((other) => other.ranMs));
    if (cpu.waiting.length === 0 || thread.ranMs - least <= margin) {
      if (isOver) cpu.sliceEndMs = this.#clock.nowMs + this.#sharing.sliceMs;
      this.#schedule(cpu);
      return;
    }
    cpu.current = null;
    const to = thread.bound ? cpu : this.#quietest();
    if (to.runnable < cpu.runnable) this.#migrate(thread, to);
    if (thread.cpu.current === null && thread.cpu !== cpu) this.#start(thread.cpu, thread);
    else this.#enqueue(thread);
    this.#next(cpu);
  }

  #enqueue(thread: Thread): void {
    const { cpu } = thread;
    cpu.waiting.push(thread);
    if (cpu.current === null || cpu.deciding) return;
    this.#charge(cpu);
    this.#schedule(cpu);
  }

  /** Runs the one of the waiting threads that has run least, or one from elsewhere. */
  #next(cpu: Cpu): void {
    cpu.current = null;
    cpu.generation++;
    let best = 0;
    cpu.waiting.forEach((thread, at) => {
      if (thread.ranMs < (cpu.waiting[best] as Thread).ranMs) best = at;
    });
    const thread = cpu.waiting.splice(best, 1)[0] ?? this.#pull(cpu);
    if (thread !== undefined) this.#start(cpu, thread);
    else this.#mark(cpu, false);
  }

  /** Brings `cpu` a thread that waits for another CPU and may run on any. */
  #pull(cpu: Cpu): Thread | undefined {
    const pulled = this.#unbound.find((thread) => thread.cpu.waiting.includes(thread));
    if (pulled === undefined) return undefined;
    pulled.cpu.waiting.splice(pulled.cpu.waiting.indexOf(pulled), 1);
    this.#migrate(pulled, cpu);
    return pulled;
  }
}
