/**
 * Profiles of threads as one trace: each on a track of its own, with its samples as they were.
 */
import t from 'tap';
import {
  profileTrace,
  type ThreadProfile,
  type TraceEvent,
} from '../../src/runtime/profile-trace.js';

const frame = (functionName: string) => ({
  ...{ functionName, scriptId: '1', url: 'file:///a.js', lineNumber: 3, columnNumber: 0 },
});

function profiled(threadId: number, tid: number | null, label: string): ThreadProfile {
  return {
    ...{ threadId, tid, label },
    profile: {
      nodes: [
        { id: 1, callFrame: frame('(root)'), children: [2, 3] },
        { id: 2, callFrame: frame('outer'), children: [4] },
        { id: 3, callFrame: frame('(idle)') },
        { id: 4, callFrame: frame(`of ${label}`) },
      ],
      ...{ startTime: 1_000, endTime: 5_000 },
      ...{ samples: [3, 4, 4], timeDeltas: [1_000, 1_000, 2_000] },
    },
  };
}

const named = (events: readonly TraceEvent[], name: string) =>
  events.filter((event) => event.name === name);

t.test('each thread has a track with its name and its samples', async (t) => {
  const profiles = [profiled(0, 100, 'main'), profiled(1, 101, 'one'), profiled(2, null, 'two')];
  const { traceEvents } = profileTrace('shop', profiles, 100);
  const tracks = named(traceEvents, 'thread_name');
  t.same(
    tracks.map(({ args }) => args.name),
    ['main', 'one', 'two'],
  );
  t.equal(new Set(tracks.map(({ tid }) => tid)).size, 3, 'also of one whose number is unknown');
  t.match(named(traceEvents, 'process_name'), [{ pid: 100, args: { name: 'shop' } }]);
  for (const { tid, args } of tracks) {
    const own = traceEvents.filter((event) => event.tid === tid);
    const [begun] = named(own, 'Profile');
    const [chunk] = named(own, 'ProfileChunk');
    t.match(begun, { ts: 1_000, args: { data: { startTime: 1_000 } } });
    t.equal(begun?.id, chunk?.id);
    t.match(chunk?.args.data, {
      timeDeltas: [1_000, 1_000, 2_000],
      cpuProfile: {
        samples: [3, 4, 4],
        nodes: [
          { id: 1, parent: undefined },
          { id: 2, parent: 1 },
          { id: 3, parent: 1 },
          { id: 4, parent: 2, callFrame: { functionName: `of ${args.name}` } },
        ],
      },
    });
  }
});

t.test('no thread, no track', async (t) => {
  t.same(named(profileTrace('shop', []).traceEvents, 'thread_name'), []);
});
