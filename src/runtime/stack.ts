/**
 * What a thread is executing, seen from outside: for a worker that does not answer. Main
 * thread only.
 *
 * The inspector interrupts JavaScript, an endless loop too, but nothing that waits in a system
 * call or in Atomics.wait: then there is no answer, and nobody waits for it for long.
 */
import type { Session } from 'node:inspector';

/** Longest wait for an answer. It takes 30 to 60 ms; no evidence for the bound. */
const TIMEOUT_MS = 500;
/** Innermost frames that are of interest. */
const FRAMES_MAX = 10;

interface CallFrame {
  readonly functionName: string;
  readonly location: { readonly scriptId: string; readonly lineNumber: number };
}

interface FromWorker {
  readonly method?: string;
  readonly params?: {
    readonly scriptId?: string;
    readonly url?: string;
    readonly callFrames?: readonly CallFrame[];
  };
}

/**
 * The stack of the thread that Node knows as `threadId`, innermost first, as
 * `function (url:line)`; null if it cannot be seen.
 */
export async function stackOf(threadId: number): Promise<string[] | null> {
  let session: Session;
  try {
    const { Session: InspectorSession } = await import('node:inspector');
    session = new InspectorSession();
    session.connect();
  } catch {
    return null; // this Node has no inspector
  }
  try {
    return await askFor(session, threadId);
  } finally {
    session.post('NodeWorker.disable');
    session.disconnect();
  }
}

function askFor(session: Session, threadId: number): Promise<string[] | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), TIMEOUT_MS);
    const urls = new Map<string, string>();
    let sessionId: string | null = null;
    let id = 0;
    const send = (method: string) => {
      const message = JSON.stringify({ id: ++id, method });
      session.post('NodeWorker.sendMessageToWorker', { sessionId: sessionId as string, message });
    };
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      // There is no other way to tell which one it is, in Node 20 to 26.
      if (!params.workerInfo.title.startsWith(`[worker ${threadId}]`)) return;
      sessionId = params.sessionId;
      send('Debugger.enable');
      send('Debugger.pause');
    });
    session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
      if (params.sessionId !== sessionId) return;
      const { method, params: said } = JSON.parse(params.message) as FromWorker;
      if (method === 'Debugger.scriptParsed') urls.set(said?.scriptId ?? '', said?.url ?? '');
      if (method !== 'Debugger.paused') return;
      send('Debugger.resume');
      send('Debugger.disable');
      clearTimeout(timer);
      const frames = (said?.callFrames ?? []).slice(0, FRAMES_MAX);
      resolve(frames.map((frame) => shown(frame, urls)));
    });
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false }, (error) => {
      if (error === null) return;
      clearTimeout(timer);
      resolve(null);
    });
  });
}

function shown({ functionName, location }: CallFrame, urls: ReadonlyMap<string, string>): string {
  const url = urls.get(location.scriptId) ?? '?';
  return `${functionName || '(anonymous)'} (${url}:${location.lineNumber + 1})`;
}
