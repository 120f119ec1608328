/**
 * CPU profiles of several threads as one trace, in the Trace Event Format that Chrome's DevTools
 * (Performance) and speedscope open: one track for each thread. Pure.
 *
 * @see https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 * @see https://chromedevtools.github.io/devtools-protocol/v8/Profiler/#type-Profile
 */

/** What V8's profiler gives, as far as it is used here. Times are in µs of one clock for all threads. */
export interface V8Profile {
  readonly nodes: readonly ProfileNode[];
  readonly startTime: number;
  readonly endTime: number;
  readonly samples?: readonly number[];
  readonly timeDeltas?: readonly number[];
}

export interface ProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly scriptId: string;
    readonly url: string;
    readonly lineNumber: number;
    readonly columnNumber: number;
  };
  readonly children?: readonly number[];
}

export interface ThreadProfile {
  /** Node's number of the thread; 0 is main. */
  readonly threadId: number;
  /** Of its track. */
  readonly label: string;
  /** As the kernel knows it; null: unknown. */
  readonly tid: number | null;
  readonly profile: V8Profile;
}

export interface TraceEvent {
  readonly name: string;
  readonly cat: string;
  readonly ph: 'M' | 'P' | 'X';
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly id?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

export interface Trace {
  readonly traceEvents: readonly TraceEvent[];
}

const PROFILER = 'disabled-by-default-v8.cpu_profiler';
const TASKS = 'disabled-by-default-devtools.timeline';

/** @param name of the process */
export function profileTrace(
  name: string,
  profiles: readonly ThreadProfile[],
  pid = process.pid,
): Trace {
  const meta = { cat: '__metadata', ph: 'M', pid, ts: 0 } as const;
  return {
    traceEvents: [
      { ...meta, name: 'process_name', tid: pid, args: { name } },
      ...profiles.flatMap((each, order) => {
        // Threads whose kernel's number is unknown get one that no other thread has.
        const tid = each.tid ?? (each.threadId === 0 ? pid : -each.threadId);
        return [
          { ...meta, name: 'thread_name', tid, args: { name: each.label } },
          { ...meta, name: 'thread_sort_index', tid, args: { sort_index: order } },
          ...profileEvents(each.profile, `0x${each.threadId.toString(16)}`, pid, tid),
        ];
      }),
    ],
  };
}

function profileEvents(profile: V8Profile, id: string, pid: number, tid: number): TraceEvent[] {
  const { nodes, startTime, endTime, samples = [], timeDeltas = [] } = profile;
  const common = { pid, tid, ts: startTime };
  const cpuProfile = { nodes: withParents(nodes), samples };
  return [
    // DevTools shows a thread's samples where it has done something at all.
    { ...common, name: 'RunTask', cat: TASKS, ph: 'X', dur: endTime - startTime, args: {} },
    { ...common, name: 'Profile', cat: PROFILER, ph: 'P', id, args: { data: { startTime } } },
    {
      ...{ ...common, name: 'ProfileChunk', cat: PROFILER, ph: 'P', id },
      args: { data: { cpuProfile, timeDeltas, endTime } },
    },
  ];
}

/** A chunk's nodes name their parents, where a profile's name their children. */
function withParents(nodes: readonly ProfileNode[]): object[] {
  const parents = new Map<number, number>();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  return nodes.map(({ id, callFrame }) => {
    const parent = parents.get(id);
    return { id, callFrame, ...(parent !== undefined && { parent }) };
  });
}
