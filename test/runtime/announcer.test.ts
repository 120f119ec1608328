/** What the user of a runtime hears, out of what its parts tell. */
import { EventEmitter } from 'node:events';
import t, { type Test } from 'tap';
import { type ErrorCode, GyreError } from '../../src/errors.js';
import type { TracedMove } from '../../src/protocol.js';
import { Announcer } from '../../src/runtime/announcer.js';
import type { RuntimeEvents, WorkerMove } from '../../src/runtime/api.js';
import { Slots } from '../../src/runtime/slots.js';

/** Of two workers and a spare, which have slots 0 to 3, and 4. */
function announced() {
  const emitter = new EventEmitter<RuntimeEvents>();
  const rings = [[[1]], [[0]]];
  const announcer = new Announcer(emitter, { name: 'shop', slots: new Slots(2, 1), rings });
  return { emitter, announcer };
}

const MOVE: TracedMove = {
  ...{ from: 0, to: 1, reason: 'round', events: 4, moved: 2, outstanding: 0 },
  ...{ roundsSinceGave: 3, candidates: 1, best: 1, pauseUs: 0 },
};

t.test('a move is told with the numbers of workers, and its ring', async (t) => {
  const { emitter, announcer } = announced();
  const moves: Pick<WorkerMove, 'from' | 'to' | 'ring'>[] = [];
  emitter.on('move', ({ from, to, ring }) => moves.push({ from, to, ring }));
  announcer.moved({ ...MOVE, from: 2 });
  announcer.moved({ ...MOVE, from: 3, to: 4 });
  t.same(moves, [
    { from: 0, to: 1, ring: 1 },
    { from: 1, to: 2, ring: null },
  ]);
});

t.test('an error that nobody listens for is written to stderr, with its cause', async (t) => {
  const { emitter, announcer } = announced();
  const written = t.capture(process.stderr, 'write', () => true);
  const cause = new Error('boom');
  const error = new GyreError('ERR_GYRE_WORKER_FAILED', 'worker 1: boom', { worker: 1, cause });
  announcer.error(error, 3);
  const [{ args: [text] = [] } = {}] = written();
  t.match(text, /^shop: worker 1 on CPU 3 died of an uncaught error:\nError: boom\n/);
  const heard: GyreError[] = [];
  emitter.on('error', (error) => heard.push(error));
  announcer.error(error);
  t.same(heard, [error]);
  t.same(written(), [], 'somebody listens');
});

function failed(announcer: Announcer, name: string, code: ErrorCode): void {
  const error = new GyreError(code, `${name} has failed`);
  announcer.failure({ name, kind: 'emit', id: 1, times: 1, error, payload: null });
}

/** Texts of the warnings that `work` makes. */
function warnings(t: Test, work: () => void): unknown[] {
  const emitted = t.capture(process, 'emitWarning', () => {});
  work();
  return emitted().map(({ args: [text] }) => text);
}

t.test('a failure that nobody listens for is a warning, once for each name and code', async (t) => {
  const { emitter, announcer } = announced();
  const texts = warnings(t, () => {
    failed(announcer, 'a', 'ERR_GYRE_EVENT_LOST');
    failed(announcer, 'a', 'ERR_GYRE_EVENT_LOST');
    failed(announcer, 'a', 'ERR_GYRE_EVENT_FAILED');
    failed(announcer, 'b', 'ERR_GYRE_EVENT_LOST');
    failed(announcer, 'c', 'ERR_GYRE_CLOSED');
  });
  t.same(texts, ['a has failed', 'a has failed', 'b has failed']);
  emitter.on('failure', () => {});
  t.same(
    warnings(t, () => failed(announcer, 'd', 'ERR_GYRE_EVENT_LOST')),
    [],
  );
});
