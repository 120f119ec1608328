/**
 * What a thread is executing, seen from outside: for a worker that does not answer. Main
 * thread only.
 *
 * The inspector interrupts JavaScript, an endless loop too, but nothing that waits in a system
 * call or in Atomics.wait: then there is no answer, and nobody waits for it for long. What was
 * asked is still carried out when the thread runs again, so it is told to go on in any case. And
 * it is detached from: Session.disconnect() leaves worker threads attached, and one that pauses
 * for a session that nobody reads does so for ever, whoever wants to terminate it. The thread
 * is paused for as long as the answer travels, a millisecond or so; the first time in each thread some
 * 50 ms pass, because the inspector tells of every script.
 */
import type { Session } from 'node:inspector';

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

interface Said {
  readonly method?: string;
  readonly params?: {
    readonly scriptId?: string;
    readonly url?: string;
    readonly callFrames?: readonly CallFrame[];
  };
}

/** One worker thread as the inspector knows it. */
interface Target {
  readonly sessionId: string;
  readonly urls: Map<string, string>;
  enabled: boolean;
  /** Who waits for its stack. */
  asked: ((stack: Frame[] | null) => void) | null;
}

export class StackSampler {
  readonly #session: Session;
  /** By Node's number of the thread. */
  readonly #targets = new Map<number, Target>();
  readonly #bySession = new Map<string, Target>();
  #id = 0;

  private constructor(session: Session) {
    this.#session = session;
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      // There is no other way to tell which one it is, in Node 20 to 26.
      const thread = Number(/^\[worker (\d+)\]/.exec(params.workerInfo.title)?.[1]);
      const { sessionId } = params;
      const target: Target = { sessionId, urls: new Map(), enabled: false, asked: null };
      this.#targets.set(thread, target);
      this.#bySession.set(sessionId, target);
    });
    session.on('NodeWorker.detachedFromWorker', ({ params }) => {
      const target = this.#bySession.get(params.sessionId);
      this.#bySession.delete(params.sessionId);
      for (const [thread, each] of this.#targets) if (each === target) this.#targets.delete(thread);
      target?.asked?.(null);
    });
    session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
      const target = this.#bySession.get(params.sessionId);
      if (target !== undefined) this.#hear(target, JSON.parse(params.message) as Said);
    });
  }

  /** Null: this Node has no inspector. */
  static async open(): Promise<StackSampler | null> {
    try {
      const inspector = await import('node:inspector');
      const session = new inspector.Session();
      session.connect();
      const sampler = new StackSampler(session);
      session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
      return sampler;
    } catch {
      return null;
    }
  }

  /**
   * The stack of the thread that Node knows as `threadId`, innermost first; null if it cannot be
   * seen, or is being asked for already.
   */
  async sample(threadId: number): Promise<Frame[] | null> {
    const target = this.#targets.get(threadId);
    if (target === undefined || target.asked !== null) return null;
    const stack = new Promise<Frame[] | null>((resolve) => {
      const timer = setTimeout(() => target.asked?.(null), TIMEOUT_MS);
      target.asked = (found) => {
        target.asked = null;
        clearTimeout(timer);
        // Too late to be of use, it must not stand still for that.
        if (found === null) this.#send(target, 'Debugger.resume');
        resolve(found);
      };
    });
    if (!target.enabled) this.#send(target, 'Debugger.enable');
    target.enabled = true;
    this.#send(target, 'Debugger.pause');
    return stack;
  }

  close(): void {
    for (const target of this.#bySession.values()) {
      // In this order: it may pause, or have paused, at any moment.
      if (target.enabled) {
        for (const method of ['Debugger.resume', 'Debugger.disable']) this.#send(target, method);
      }
      target.asked?.(null);
    }
    this.#session.post('NodeWorker.disable');
    for (const sessionId of this.#bySession.keys()) {
      this.#session.post('NodeWorker.detach', { sessionId });
    }
    this.#session.disconnect();
    this.#targets.clear();
    this.#bySession.clear();
  }

  #send({ sessionId }: Target, method: string): void {
    const message = JSON.stringify({ id: ++this.#id, method });
    this.#session.post('NodeWorker.sendMessageToWorker', { sessionId, message });
  }

  #hear(target: Target, { method, params }: Said): void {
    if (method === 'Debugger.scriptParsed')
      target.urls.set(params?.scriptId ?? '', params?.url ?? '');
    if (method !== 'Debugger.paused') return;
    // Also after a `debugger` statement of the application, of which nobody has asked to hear.
    this.#send(target, 'Debugger.resume');
    const frames = (params?.callFrames ?? []).slice(0, FRAMES_MAX);
    target.asked?.(frames.map((frame) => frameOf(frame, target.urls)));
  }
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
