/** Which signals the process handles, and who gets them. */
import t from 'tap';
import { Signals } from '../../src/runtime/signals.js';
import type { WorkerHandle } from '../../src/runtime/worker-handle.js';

/** One thread that listens for what is in `wanted`, and the signals of a runtime that has it. */
function oneThread(handleSignals: boolean) {
  const wanted = new Set<NodeJS.Signals>();
  const [handed, closing]: NodeJS.Signals[][] = [[], []];
  const thread = {
    state: 'serving',
    handles: (signal: NodeJS.Signals) => wanted.has(signal),
    signal: (signal: NodeJS.Signals) => handed?.push(signal),
  } as unknown as WorkerHandle;
  const signals = new Signals({
    ...{ handleSignals, threads: () => [thread] },
    closes: (signal) => closing?.push(signal),
  });
  return { wanted, handed, closing, thread, signals };
}

/** How many handlers of `signal` there are more than at first. */
function handlersOf(signal: NodeJS.Signals): () => number {
  const before = process.listenerCount(signal);
  return () => process.listenerCount(signal) - before;
}

t.test('a signal is handled while some thread listens for it, and handed on', async (t) => {
  const handlers = handlersOf('SIGUSR2');
  const { wanted, handed, thread, signals } = oneThread(false);
  signals.begin();
  t.equal(handlers(), 0);
  wanted.add('SIGUSR2');
  signals.interestChanged('SIGUSR2');
  signals.interestChanged('SIGUSR2');
  t.equal(handlers(), 1, 'once');
  t.same(signals.handled, ['SIGUSR2']);
  process.emit('SIGUSR2', 'SIGUSR2');
  t.same(handed, ['SIGUSR2']);
  Object.assign(thread, { state: 'exited' });
  signals.ended(thread);
  t.equal(handlers(), 0, 'it has its default action again');
});

t.test('those that close the runtime do only that, if it handles them', async (t) => {
  const handlers = handlersOf('SIGINT');
  const { wanted, handed, closing, signals } = oneThread(true);
  t.same(signals.ours, ['SIGTERM', 'SIGINT']);
  signals.begin();
  wanted.add('SIGINT');
  signals.interestChanged('SIGINT');
  t.equal(handlers(), 1);
  const ours = process.listeners('SIGINT').at(-1) as () => void;
  ours();
  t.same(closing, ['SIGINT']);
  t.same(handed, []);
  wanted.clear();
  signals.interestChanged('SIGINT');
  t.equal(handlers(), 1, 'whether an application listens or not');
  signals.close();
  t.equal(handlers(), 0);
});

t.test('a signal that nobody can handle is no error', async (t) => {
  const { wanted, signals } = oneThread(false);
  wanted.add('SIGKILL');
  signals.interestChanged('SIGKILL');
  t.same(signals.handled, ['SIGKILL'], 'a worker can listen for it all the same');
  signals.close();
});
