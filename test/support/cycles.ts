/**
 * Starts and closes runtimes, as many as its one argument says, and says as JSON what
 * that left behind. In a process of its own, where nothing else comes and goes.
 */
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createRuntime } from '../../src/index.js';
import { app, get, portOf } from './app.js';
import { descriptors } from './proc.js';

/** Enough for what is made once and kept: the thread pool, code, file caches. */
const WARM_UP = 8;

interface Left {
  readonly descriptors: number;
  readonly threads: number;
  readonly resources: readonly string[];
  readonly listeners: readonly string[];
  readonly rssMb: number;
}

async function left(): Promise<Left> {
  // What was closed in this turn of the loop is gone after the next.
  await nextTurn();
  await nextTurn();
  global.gc?.();
  return {
    descriptors: descriptors().size,
    threads: readdirSync('/proc/self/task').length,
    resources: process.getActiveResourcesInfo().sort(),
    listeners: process.eventNames().map((name) => `${String(name)} ${process.listenerCount(name)}`),
    rssMb: Math.round(process.memoryUsage.rss() / 1e6),
  };
}

async function cycle(index: number): Promise<void> {
  const runtime = await createRuntime({ entry: app('mortal.js'), workers: 2, handleSignals: true });
  const port = portOf(runtime);
  const agent = new http.Agent({ keepAlive: true });
  // A connection that is idle, or in the middle of an answer, or none.
  if (index % 3 === 0) await get({ port, agent });
  const cut = index % 3 === 1 ? get({ port, path: '/never' }).catch(() => {}) : null;
  await runtime.close({ drainMs: cut === null ? 10_000 : 0 });
  await cut;
  agent.destroy();
  // What waits to be collected would count as memory: some 13 MB of each runtime.
  global.gc?.();
}

async function main(): Promise<void> {
  const count = Number(process.argv[2]);
  const begunMs = performance.now();
  for (let index = 0; index < WARM_UP; index++) await cycle(index);
  const before = await left();
  for (let index = 0; index < count; index++) await cycle(index);
  const after = await left();
  const seconds = Math.round((performance.now() - begunMs) / 1000);
  process.stdout.write(JSON.stringify({ before, after, seconds }));
}

void main();
