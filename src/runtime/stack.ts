/**
 * What a thread is executing, seen from outside: for a worker that does not answer. Main
 * thread only.
 *
 * The inspector interrupts JavaScript, an endless loop too, but nothing that waits in a system
 * call or in Atomics.wait: then there is no answer, and nobody waits for it for long. What was
 * asked is still carried out when the thread runs again, so it is told to go on in any case. And
 * it is detached from: a thread that pauses for a session that nobody reads does so for ever,
 * whoever wants to terminate it. The thread is paused for as long as the answer travels, a
 * millisecond or so; the first time in each thread some 50 ms pass, because the inspector tells
 * of every script.
 */
import { type Inspected, ThreadInspector } from './inspected.js';

/** Longest wait for an answer. No evidence for more or less. */
const TIMEOUT_MS = 500;
/** Innermost frames that are of interest. */
const FRAMES_MAX = 10;

/** A place in a script, with lines counted from 0. */
interface Place {
  readonly scriptId: string;
  readonly lineNumber: number;
}

interface CallFrame {
  readonly functionName: string;
  /** Where the function begins. */
  readonly functionLocation?: Place;
  readonly location: Place;
}

/** A function that was being executed. */
export interface Frame {
  readonly name: string;
  /** Of its script; `node:…` for one of Node's own. */
  readonly url: string;
  /** What was being executed, counted from 1. */
  readonly line: number;
  /** Where the function begins. */
  readonly from: number;
}

/** What is known of one thread. */
interface Target {
  readonly thread: Inspected;
  /** Of its scripts. */
  readonly urls: Map<string, string>;
  /** Who waits for its stack. */
  asked: ((stack: Frame[] | null) => void) | null;
}

export class StackSampler {
  readonly #inspector: ThreadInspector;
  /** Those that were asked before, by Node's number of the thread. */
  readonly #targets: Map<number, Target>;

  private constructor(inspector: ThreadInspector, targets: Map<number, Target>) {
    this.#inspector = inspector;
    this.#targets = targets;
  }

  /** Null: this Node has no inspector. */
  static async open(): Promise<StackSampler | null> {
    const targets = new Map<number, Target>();
    const inspector = await ThreadInspector.open({
      heard: ({ threadId }, method, params) => {
        const target = targets.get(threadId);
        // Whoever has a target has the inspector.
        if (target !== undefined && inspector !== null) hear(inspector, target, method, params);
      },
      gone: ({ threadId }) => {
        targets.get(threadId)?.asked?.(null);
        targets.delete(threadId);
      },
    });
    return inspector === null ? null : new StackSampler(inspector, targets);
  }

  /**
   * The stack of the thread that Node knows as `threadId`, innermost first; null if it cannot be
   * seen, or is being asked for already.
   */
  async sample(threadId: number): Promise<Frame[] | null> {
    const target = this.#targets.get(threadId) ?? this.#begin(threadId);
    if (target === null || target.asked !== null) return null;
    const { thread } = target;
    const stack = new Promise<Frame[] | null>((resolve) => {
      const timer = setTimeout(() => target.asked?.(null), TIMEOUT_MS);
      target.asked = (found) => {
        target.asked = null;
        clearTimeout(timer);
        // Too late to be of use, it must not stand still for that.
        if (found === null) this.#inspector.tell(thread, 'Debugger.resume');
        resolve(found);
      };
    });
    this.#inspector.tell(thread, 'Debugger.pause');
    return stack;
  }

  close(): void {
    for (const { thread, asked } of this.#targets.values()) {
      // In this order: it may pause, or have paused, at any moment.
      this.#inspector.tell(thread, 'Debugger.resume');
      this.#inspector.tell(thread, 'Debugger.disable');
      asked?.(null);
    }
    this.#inspector.close();
    this.#targets.clear();
  }

  #begin(threadId: number): Target | null {
    const thread = this.#inspector.thread(threadId);
    if (thread === null) return null;
    const target: Target = { thread, urls: new Map(), asked: null };
    this.#targets.set(threadId, target);
    this.#inspector.tell(thread, 'Debugger.enable');
    return target;
  }
}

interface Said {
  readonly scriptId?: string;
  readonly url?: string;
  readonly callFrames?: readonly CallFrame[];
}

function hear(inspector: ThreadInspector, target: Target, method: string, said: unknown): void {
  const { scriptId = '', url = '', callFrames = [] } = said as Said;
  if (method === 'Debugger.scriptParsed') target.urls.set(scriptId, url);
  if (method !== 'Debugger.paused') return;
  // Also after a `debugger` statement of the application, of which nobody has asked to hear.
  inspector.tell(target.thread, 'Debugger.resume');
  const frames = callFrames.slice(0, FRAMES_MAX);
  target.asked?.(frames.map((frame) => frameOf(frame, target.urls)));
}

/** {@link StackSampler.sample} once. */
export async function stackOf(threadId: number): Promise<Frame[] | null> {
  const sampler = await StackSampler.open();
  if (sampler === null) return null;
  try {
    return await sampler.sample(threadId);
  } finally {
    sampler.close();
  }
}

function frameOf(frame: CallFrame, urls: ReadonlyMap<string, string>): Frame {
  const { functionName, location, functionLocation } = frame;
  return {
    name: functionName || '(anonymous)',
    url: urls.get(location.scriptId) || '?',
    line: location.lineNumber + 1,
    from: (functionLocation ?? location).lineNumber + 1,
  };
}

/** `function (url:line)`. */
export function shown({ name, url, line }: Frame): string {
  return `${name} (${url}:${line})`;
}
