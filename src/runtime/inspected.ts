/**
 * The worker threads of this process as the inspector knows them: what is said to each, and what
 * each says. Main thread only.
 *
 * The inspector interrupts JavaScript, an endless loop too, but nothing that waits in a system
 * call or in Atomics.wait: then there is no answer until the thread runs again. Session.disconnect()
 * leaves worker threads attached, so each is detached from before.
 */
import type { Session } from 'node:inspector';

/** A thread that is attached to. */
export interface Inspected {
  /** Node's number of it. */
  readonly threadId: number;
  /** As the inspector calls it. */
  readonly title: string;
}

interface InspectorEvents {
  /** A thread has said something that is no answer. */
  heard(thread: Inspected, method: string, params: unknown): void;
  /** A thread has ended. */
  gone(thread: Inspected): void;
}

interface Said {
  readonly id?: number;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
}

interface Target extends Inspected {
  readonly sessionId: string;
  /** Who waits for an answer, by the number of the question. */
  readonly waiting: Map<number, (result: unknown) => void>;
}

const NOBODY: InspectorEvents = { heard: () => {}, gone: () => {} };

export class ThreadInspector {
  readonly #session: Session;
  readonly #events: InspectorEvents;
  readonly #byThread = new Map<number, Target>();
  readonly #bySession = new Map<string, Target>();
  #id = 0;

  private constructor(session: Session, events: InspectorEvents) {
    this.#session = session;
    this.#events = events;
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      const { sessionId, workerInfo } = params;
      // There is no other way to tell which one it is, in Node 20 to 26.
      const [, number, title = ''] = /^\[worker (\d+)\] ?(.*)$/.exec(workerInfo.title) ?? [];
      const target: Target = { threadId: Number(number), title, sessionId, waiting: new Map() };
      this.#byThread.set(target.threadId, target);
      this.#bySession.set(sessionId, target);
    });
    session.on('NodeWorker.detachedFromWorker', ({ params }) => {
      const target = this.#bySession.get(params.sessionId);
      if (target === undefined) return;
      this.#bySession.delete(params.sessionId);
      this.#byThread.delete(target.threadId);
      this.#abandon(target);
      events.gone(target);
    });
    session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
      const target = this.#bySession.get(params.sessionId);
      if (target !== undefined) this.#hear(target, JSON.parse(params.message) as Said);
    });
  }

  /** Attached to every thread there is, and to each that starts. Null: this Node has no inspector. */
  static async open(events: InspectorEvents = NOBODY): Promise<ThreadInspector | null> {
    try {
      const inspector = await import('node:inspector');
      const session = new inspector.Session();
      session.connect();
      const opened = new ThreadInspector(session, events);
      session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
      return opened;
    } catch {
      return null;
    }
  }

  /** Those that run. */
  get threads(): readonly Inspected[] {
    return [...this.#byThread.values()];
  }

  /** Null: there is no such thread. */
  thread(threadId: number): Inspected | null {
    return this.#byThread.get(threadId) ?? null;
  }

  /** Without waiting for an answer. Nothing happens if the thread has ended. */
  tell({ threadId }: Inspected, method: string, params: object = {}): void {
    const target = this.#byThread.get(threadId);
    if (target !== undefined) this.#send(target, ++this.#id, method, params);
  }

  /**
   * What `thread` answers; undefined if that is an error, the thread ends, or `limitMs` pass.
   * What was asked may still be carried out after that.
   */
  ask(thread: Inspected, method: string, params: object, limitMs: number): Promise<unknown> {
    const target = this.#byThread.get(thread.threadId);
    if (target === undefined) return Promise.resolve(undefined);
    const id = ++this.#id;
    return new Promise((resolve) => {
      const settle = (result: unknown) => {
        clearTimeout(timer);
        target.waiting.delete(id);
        resolve(result);
      };
      const timer = setTimeout(settle, limitMs, undefined);
      target.waiting.set(id, settle);
      this.#send(target, id, method, params);
    });
  }

  /** The same of the thread that this runs on; undefined if it is an error. */
  askOwn(method: string, params: object = {}): Promise<unknown> {
    return new Promise((resolve) => {
      this.#session.post(method, params, (error, result) =>
        resolve(error === null ? result : undefined),
      );
    });
  }

  /** Detaches from every thread. Who waits for an answer gets none. */
  close(): void {
    for (const target of this.#bySession.values()) this.#abandon(target);
    this.#session.post('NodeWorker.disable');
    for (const sessionId of this.#bySession.keys()) {
      this.#session.post('NodeWorker.detach', { sessionId });
    }
    this.#session.disconnect();
    this.#byThread.clear();
    this.#bySession.clear();
  }

  #send({ sessionId }: Target, id: number, method: string, params: object): void {
    const message = JSON.stringify({ id, method, params });
    this.#session.post('NodeWorker.sendMessageToWorker', { sessionId, message });
  }

  #hear(target: Target, { id, method, params, result }: Said): void {
    if (id !== undefined) target.waiting.get(id)?.(result);
    else if (method !== undefined) this.#events.heard(target, method, params);
  }

  #abandon({ waiting }: Target): void {
    for (const settle of [...waiting.values()]) settle(undefined);
  }
}
