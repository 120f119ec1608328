/**
 * What only workers themselves can tell: asked over their control ports, and not waited for for
 * long. Of a worker that stands still the last answer counts. Main thread only.
 */
import type { MetricObject, Report } from '../protocol.js';
import type { WorkerHandle } from '../runtime/worker-handle.js';
import { addUp } from './application.js';

/**
 * Longest wait for all answers together: an order below the time-outs of those who ask (10 s for
 * Prometheus). A worker that takes longer is busy, and answers before it is asked again.
 */
const WAIT_MS = 250;

interface LastReport {
  readonly report: Report;
  /** When it came, by `performance.now()`. */
  readonly atMs: number;
}

interface Asked {
  /** Of the question that it has not answered; null: there is none. */
  pending: number | null;
  last: LastReport | null;
  /** It has answered or ended. */
  answered: (() => void) | null;
}

export class Reports {
  readonly #asked = new Map<WorkerHandle, Asked>();
  #idLast = 0;
  /** What threads that have ended counted last. */
  #departed: readonly MetricObject[] = [];

  /**
   * Asks `threads`; resolves when all have answered, or after WAIT_MS.
   *
   * @param metrics whether those of the application are wanted, too
   */
  async collect(threads: readonly WorkerHandle[], metrics: boolean): Promise<void> {
    const waits = threads.map((thread) => this.#ask(thread, metrics));
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, WAIT_MS);
    });
    await Promise.race([Promise.all(waits), over]);
    clearTimeout(timer);
  }

  /** What `thread` said last. */
  last(thread: WorkerHandle): LastReport | null {
    return this.#asked.get(thread)?.last ?? null;
  }

  /** The applications' metrics: of each thread its last, and what ended ones have counted. */
  applicationMetrics(): readonly (readonly MetricObject[])[] {
    const lasts = [...this.#asked.values()].map(({ last }) => last?.report.metrics ?? []);
    return [this.#departed, ...lasts].filter((metrics) => metrics.length > 0);
  }

  #ask(thread: WorkerHandle, metrics: boolean): Promise<void> {
    const asked = this.#asked.get(thread) ?? this.#follow(thread);
    const answer = new Promise<void>((resolve) => {
      const before = asked.answered;
      asked.answered = () => {
        before?.();
        resolve();
      };
    });
    // One that has not answered yet is not asked again: it would have to answer all at once.
    if (asked.pending === null) {
      asked.pending = ++this.#idLast;
      thread.send({ kind: 'report', id: asked.pending, metrics });
    }
    return answer;
  }

  #follow(thread: WorkerHandle): Asked {
    const asked: Asked = { pending: null, last: null, answered: null };
    this.#asked.set(thread, asked);
    const answered = () => {
      asked.pending = null;
      asked.answered?.();
      asked.answered = null;
    };
    thread.on('message', (message) => {
      if (message.kind !== 'report' || message.id !== asked.pending) return;
      const { metrics = null, failure = null } = asked.last?.report ?? {};
      // One that was not asked for them has not lost them.
      const report = message.metrics === null ? { ...message, metrics, failure } : message;
      asked.last = { report, atMs: performance.now() };
      answered();
    });
    thread.on('exit', () => {
      this.#asked.delete(thread);
      this.#departed = addUp(this.#departed, asked.last?.report.metrics ?? []);
      answered();
    });
    return asked;
  }
}
