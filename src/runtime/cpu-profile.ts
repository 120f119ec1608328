/**
 * CPU profiles of every thread of this process at once, through the inspector, as one trace. Main
 * thread only.
 *
 * Profiles begin and end when a thread gets to it: one that waits in a system call or in
 * Atomics.wait does so late, or not at all. Each has its own track.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Inspected, ThreadInspector } from './inspected.js';
import { profileTrace, type ThreadProfile, type Trace, type V8Profile } from './profile-trace.js';

/** Between two samples, in µs: V8's own default. */
const INTERVAL_US = 1_000;
/** Longest wait for a thread's profile when time is up. */
const ANSWER_MS = 5_000;

/** A thread of which its operator knows more than the inspector does. */
export interface Named {
  readonly threadId: number;
  /** Of its track. */
  readonly label: string;
  /** As the kernel knows it; null: unknown. */
  readonly tid: number | null;
}

interface ProfileRequest {
  readonly seconds: number;
  /** Of the process. */
  readonly name: string;
  /** Ends it before its time, with what there is. */
  readonly signal: AbortSignal;
  /** The threads that have a name when it ends; others are called what the inspector calls them. */
  named(): readonly Named[];
}

/** Null: this Node has no inspector. */
export async function profileThreads(request: ProfileRequest): Promise<Trace | null> {
  const inspector = await ThreadInspector.open();
  if (inspector === null) return null;
  try {
    const { threads } = inspector;
    await begin(inspector, threads);
    await sleep(request.seconds * 1e3, undefined, { signal: request.signal }).catch(() => {});
    const [own, ...others] = await Promise.all([
      inspector.askOwn('Profiler.stop'),
      ...threads.map((thread) => inspector.ask(thread, 'Profiler.stop', {}, ANSWER_MS)),
    ]);
    const named = new Map(request.named().map((each) => [each.threadId, each]));
    const ids = [0, ...threads.map(({ threadId }) => threadId)];
    const titles = ['main', ...threads.map(({ title }) => title)];
    const profiles = [own, ...others].flatMap((result, i): ThreadProfile[] => {
      const { profile } = (result ?? {}) as { profile?: V8Profile };
      if (profile === undefined) return []; // it has ended, or does not answer
      const threadId = ids[i] as number;
      const { label, tid } = named.get(threadId) ?? {};
      return [{ threadId, label: label ?? titles[i] ?? '', tid: tid ?? null, profile }];
    });
    return profileTrace(request.name, profiles);
  } finally {
    await inspector.askOwn('Profiler.disable');
    for (const thread of inspector.threads) inspector.tell(thread, 'Profiler.disable');
    inspector.close();
  }
}

/** Every thread is told before any is waited for, so that they begin together. */
async function begin(inspector: ThreadInspector, threads: readonly Inspected[]): Promise<void> {
  const interval = { interval: INTERVAL_US };
  for (const thread of threads) {
    inspector.tell(thread, 'Profiler.enable');
    inspector.tell(thread, 'Profiler.setSamplingInterval', interval);
    inspector.tell(thread, 'Profiler.start');
  }
  await inspector.askOwn('Profiler.enable');
  await inspector.askOwn('Profiler.setSamplingInterval', interval);
  await inspector.askOwn('Profiler.start');
}
