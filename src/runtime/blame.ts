/**
 * Which functions workers stand still in: the option `blame`. Main thread only.
 *
 * When the governor says that a worker stands still, its stack is sampled (stack.ts). The worker may
 * have gone on before the sample was taken; its heartbeat tells, and then nobody is blamed.
 */
import type { Scoreboard } from '../scheduler/scoreboard.js';
import { type Frame, StackSampler, shown } from './stack.js';
import type { WorkerHandle } from './worker-handle.js';

/** Samples a second, of all workers: each takes some ms of main's time. No evidence for more or less. */
const RATE = 10;
/** Functions that are told apart; further ones are not counted. */
const FUNCTIONS_MAX = 1_000;

/** A function that workers stood still in. */
export interface Blamed {
  /** As `function (url:line)`, where it begins: the innermost that was not Node's own. */
  readonly where: string;
  /** Samples in which it was so. */
  readonly count: number;
}

export class Blame {
  readonly #board: Scoreboard;
  readonly #found: (worker: WorkerHandle, stack: readonly string[]) => void;
  readonly #counts = new Map<string, number>();
  #sampler: Promise<StackSampler | null> | null = null;
  /** Samples that may be taken now. */
  #left = RATE;
  #refilledAt = 0;

  /** @param found hears of each stack that was seen */
  constructor(board: Scoreboard, found: (worker: WorkerHandle, stack: readonly string[]) => void) {
    this.#board = board;
    this.#found = found;
  }

  /** Ordered by count, the greatest first. */
  get blamed(): readonly Blamed[] {
    return [...this.#counts]
      .map(([where, count]) => ({ where, count }))
      .sort((a, b) => b.count - a.count);
  }

  /** Attaches to the workers there are, so that the first sample takes no longer than others. */
  async open(): Promise<void> {
    this.#sampler ??= StackSampler.open();
    await this.#sampler;
  }

  /** `worker` stands still since its loop's iteration at `heartbeat`. */
  async stalled(worker: WorkerHandle, heartbeat: number): Promise<void> {
    if (!this.#mayAsk()) return;
    const sampler = await this.#sampler;
    const stack = (await sampler?.sample(worker.threadId)) ?? null;
    if (stack === null || stack.length === 0) return;
    if (this.#board.heartbeat(worker.slot) !== heartbeat) return;
    const blamed = stack.find(isOfTheProgram) ?? (stack[0] as Frame);
    const where = shown({ ...blamed, line: blamed.from });
    const count = this.#counts.get(where) ?? 0;
    if (count > 0 || this.#counts.size < FUNCTIONS_MAX) this.#counts.set(where, count + 1);
    this.#found(worker, stack.map(shown));
  }

  async close(): Promise<void> {
    (await this.#sampler)?.close();
  }

  #mayAsk(): boolean {
    const now = performance.now();
    if (now - this.#refilledAt >= 1_000) {
      this.#left = RATE;
      this.#refilledAt = now;
    }
    return this.#left-- > 0;
  }
}

function isOfTheProgram({ url }: Frame): boolean {
  return url !== '?' && !url.startsWith('node:');
}
