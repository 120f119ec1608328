/**
 * Makes a worker thread look to its program like the process that `node app.js`
 * would be: arguments, terminal, signals, CPU count, and pins that do not leak
 * to children and threads of the application. Worker's thread only, before any
 * user code. What cannot be made alike is listed in
 * docs/limits.md.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import tty from 'node:tty';
import workerThreads from 'node:worker_threads';
import { loosen, markPinned, tighten } from '../native.js';
import type { TerminalShape } from '../protocol.js';

export function setArguments(entry: string, args: readonly string[]): void {
  process.argv = [process.argv[0] ?? process.execPath, entry, ...args];
}

/**
 * A worker's stdout and stderr are streams to main, which writes them out in whole
 * chunks. They have the number of main's, and if main's is a terminal they say so and do
 * what one can be told to do.
 */
export function describeStream(name: 'stdout' | 'stderr', shape: TerminalShape | null): void {
  const stream = process[name];
  Object.assign(stream, { fd: name === 'stdout' ? 1 : 2 });
  sendAtOnce(stream);
  if (shape === null) return;
  const { clearLine, clearScreenDown, cursorTo, getColorDepth, hasColors, moveCursor } =
    tty.WriteStream.prototype;
  Object.assign(stream, {
    isTTY: true,
    columns: shape.columns,
    rows: shape.rows,
    getWindowSize: () => [shape.columns, shape.rows],
    ...{ clearLine, clearScreenDown, cursorTo, getColorDepth, hasColors, moveCursor },
  });
}

/** What this file uses of a worker's output stream. */
interface OutputStream {
  _writev?: (chunks: unknown, callback: (error?: Error | null) => void) => void;
  [acknowledge: symbol]: () => void;
}

/**
 * Node sends one write of a worker to main and the next one when main has asked for
 * it, which this thread hears in a later turn of its loop. So the two streams overtake
 * each other on a terminal, and a worker that never returns does not show what it wrote.
 * Here main's asking is anticipated, and each write leaves at once, as from a process
 * that writes to a terminal or a file. Like there, `write()` never pushes back.
 */
function sendAtOnce(stream: NodeJS.WriteStream): void {
  const output = stream as unknown as OutputStream;
  const asked = Object.getOwnPropertySymbols(Object.getPrototypeOf(stream)).find(
    ({ description }) => description === 'kStdioWantsMoreDataCallback',
  );
  const send = output._writev;
  if (asked === undefined || send === undefined) return; // then as node has it
  output._writev = function (this: OutputStream, chunks, callback) {
    send.call(this, chunks, callback);
    this[asked]?.();
  };
}

/**
 * Node delivers signals to the main thread only. Main listens for those that the
 * application listens for here, and `deliver` emits them.
 */
export class SignalInterest {
  readonly #report: (signal: NodeJS.Signals, on: boolean) => void;

  constructor(report: (signal: NodeJS.Signals, on: boolean) => void) {
    this.#report = report;
  }

  install(): void {
    const isSignal = (name: unknown): name is NodeJS.Signals =>
      typeof name === 'string' && Object.hasOwn(os.constants.signals, name);
    process.on('newListener', (name: string | symbol) => {
      if (isSignal(name) && process.listenerCount(name) === 0) this.#report(name, true);
    });
    process.on('removeListener', (name: string | symbol) => {
      if (isSignal(name) && process.listenerCount(name) === 0) this.#report(name, false);
    });
  }

  deliver(signal: NodeJS.Signals): void {
    (process as NodeJS.EventEmitter).emit(signal, signal, os.constants.signals[signal]);
  }
}

/**
 * The pin is for this thread alone. Threads and child processes that the
 * application starts begin on all CPUs of the process, and the number of CPUs
 * that it is told is theirs, too.
 */
export function containPin(inherited: readonly number[], parallelism: number): void {
  markPinned(true); // children: the addon's fork handler
  os.availableParallelism = () => parallelism;

  const NodeWorker = workerThreads.Worker;
  workerThreads.Worker = class Worker extends NodeWorker {
    constructor(...args: ConstructorParameters<typeof NodeWorker>) {
      // A thread inherits the mask of the thread that creates it.
      loosen(inherited);
      try {
        super(...args);
      } finally {
        tighten();
      }
    }
  };
  syncBuiltinESMExports();
}
