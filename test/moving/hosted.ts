/**
 * The process of a host (host.ts): a runtime with the options that are its one argument, which answers
 * questions, tells what it hears, and ends with whoever started it.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import workerThreads from 'node:worker_threads';
import {
  createRuntime,
  type Runtime,
  type RuntimeOptions,
  type WorkerInfo,
} from '../../src/index.js';
import '../support/no-preloads.js';
import { descriptors, threads } from '../support/proc.js';
import type { Facts, HostEvent, Question } from './host.js';

async function serve(options: RuntimeOptions): Promise<void> {
  const errors: string[] = [];
  let leaving = false;
  const events: HostEvent[] = [];
  const tell = (id: number, runtime: Runtime | null, refused: string | null = null) => {
    // In this order: a thread that has ended has closed what was its own.
    const running = threads();
    const open = descriptors();
    const facts: Facts = {
      pid: process.pid,
      addresses: runtime?.addresses ?? [],
      workers: runtime?.workers ?? [],
      spares: runtime?.spares ?? [],
      snapshot: runtime?.snapshot() ?? {
        ...{ takenAtMs: 0, workers: [], spares: [], moves: [], blamed: [], sources: [] },
        jobs: null as never,
      },
      descriptors: [...open.values()].sort(),
      numbers: [...open.keys()],
      threads: running.map(({ name }) => name).sort(),
      move: runtime?.capabilities.move ?? { available: false },
      ...{ errors, events, refused },
      ...{ state: runtime?.state ?? 'closed', ready: runtime?.ready ?? false },
    };
    process.send?.({ id, facts });
  };
  await warmUp();
  tell(0, null);
  const runtime = await createRuntime(options);
  runtime.on('error', ({ message }) => errors.push(message));
  follow(runtime, events);
  process.on('message', async ({ id, question }: { id: number; question: Question }) => {
    if (question.ask === 'leave') {
      leaving = true;
      process.disconnect();
      return;
    }
    let refused: string | null = null;
    try {
      if (question.ask === 'close') {
        const { drainMs } = question;
        await runtime.close(drainMs === null ? {} : { drainMs });
      }
      if (question.ask === 'reload') await runtime.reload({ drainMs: question.drainMs });
      if (question.ask === 'resize') await runtime.resize(question.workers);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      refused = `${code}: ${message}`;
    }
    tell(id, runtime, refused);
  });
  // Whoever started it has died: nobody else would end it, or whatever its workers do.
  process.on('disconnect', () => {
    if (!leaving) process.kill(process.pid, 'SIGKILL');
  });
  tell(1, runtime);
}

function follow(runtime: Runtime, events: HostEvent[]): void {
  const tell = (
    name: HostEvent['name'],
    worker: WorkerInfo | null,
    more: Partial<HostEvent> = {},
  ) => {
    const { index = null, threadId = null } = worker ?? {};
    const at = performance.timeOrigin + performance.now();
    const event = { at, name, worker: index, threadId, ...more };
    events.push(event);
    process.send?.({ event });
  };
  runtime.on('worker', (worker) => tell('worker', worker));
  runtime.on('listening', (_, worker) => tell('listening', worker));
  runtime.on('exit', ({ worker, restartInMs }) => tell('exit', worker, { restartInMs }));
  runtime.on('hang', ({ worker, stack }) => tell('hang', worker, { stack }));
  runtime.on('recycle', ({ worker }) => tell('recycle', worker));
  runtime.on('reload', () => tell('reload', null));
}

/** What a process has for good after its first file access and its first worker thread. */
async function warmUp(): Promise<void> {
  process.stdout.write('');
  process.stderr.write('');
  await access('.');
  const script = `
    const task = require('node:fs').readlinkSync('/proc/thread-self');
    require('node:worker_threads').parentPort.postMessage('/proc/' + task);`;
  const worker = new workerThreads.Worker(script, { eval: true });
  const [[task]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  // The kernel lists a thread a moment longer than it runs.
  while (existsSync(task)) await setImmediate();
}

serve(JSON.parse(process.argv[2] as string));
