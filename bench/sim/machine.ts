/**
 * The simulated machine: CPUs, and an operating system that shares them among threads.
 *
 * Each CPU runs, of its runnable threads, the one that has run least, for a time slice.
 * A thread that wakes is credited up to half a slice for its sleep and preempts one that has
 * run for longer by more than the granularity. That is what Linux's fair schedulers have
 * in common, without their details. A thread that is not bound wakes where it last ran if
 * that CPU is free, else where the fewest are runnable; and a CPU that becomes free pulls
 * such a thread from another. Switching costs nothing.
 */
import type { Clock } from './clock.js';

export interface Sharing {
  /** How long a thread runs while others wait for its CPU. */
  readonly sliceMs: number;
  /** By how much more the running thread must have run for a waking one to preempt it. */
  readonly granularityMs: number;
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
  /** Ends of earlier schedules are void. */
  generation = 0;

  constructor(index: number) {
    this.index = index;
  }

  get runnable(): number {
    return this.waiting.length + (this.current === null ? 0 : 1);
  }
}

export class Thread {
  readonly bound: boolean;
  cpu: Cpu;
  /** How long it has run, kept comparable among the threads of a CPU. */
  ranMs = 0;
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

  constructor(clock: Clock, cpus: number, sharing: Sharing) {
    this.#clock = clock;
    this.#sharing = sharing;
    this.#cpus = Array.from({ length: cpus }, (_, index) => new Cpu(index));
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
    if (!thread.bound && thread.cpu.current !== null) this.#migrate(thread, this.#quietest());
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
    for (const cpu of this.#cpus) if (cpu.runnable < best.runnable) best = cpu;
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
    thread.leftMs -= ms;
    thread.ranMs += ms;
    let least = thread.ranMs;
    for (const other of cpu.waiting) least = Math.min(least, other.ranMs);
    cpu.leastRunMs = Math.max(cpu.leastRunMs, least);
  }

  #start(cpu: Cpu, thread: Thread): void {
    cpu.current = thread;
    cpu.startedAtMs = this.#clock.nowMs;
    cpu.sliceEndMs = this.#clock.nowMs + this.#sharing.sliceMs;
    this.#schedule(cpu);
  }

  #schedule(cpu: Cpu): void {
    const generation = ++cpu.generation;
    let ms = Math.max(0, (cpu.current as Thread).leftMs);
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
