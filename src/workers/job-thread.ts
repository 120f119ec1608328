/**
 * What a thread of the job pool runs: Piscina loads this file when the thread starts, and then calls
 * it for each job. It places the thread, loads the user's function and hands it the value.
 *
 * A job of the main thread brings its value along, and its result goes back the same way. A
 * job of a worker brings a port that leads to that worker: the value waits in it and the
 * result goes into it, so the main thread handles neither.
 */
import os from 'node:os';
import { pathToFileURL } from 'node:url';
import { inspect, types } from 'node:util';
import {
  type MessagePort,
  threadId as nodeThreadId,
  parentPort,
  receiveMessageOnPort,
  type Transferable,
  workerData,
} from 'node:worker_threads';
import { claimCpu, hasLinuxParts, setAffinity, setThreadName, threadId } from '../native.js';
import type { FromJobThread, JobOutcome, JobTask, JobThreadInit } from '../protocol.js';
import { containPin } from './thread-process.js';

type JobFunction = (value: unknown) => unknown;

const { name, cpus, inherited, parallelism, niceIncrement } = workerData as JobThreadInit;

setThreadName(`${name}-j`);
let cpu: number | null = null;
if (cpus !== null && inherited !== null) {
  cpu = claimCpu(cpus);
  setAffinity([cpu]);
  containPin(inherited, parallelism);
}
// On Linux that is this thread's alone. Elsewhere it would be the whole process's.
if (niceIncrement > 0 && hasLinuxParts) os.setPriority(0, os.getPriority(0) + niceIncrement);
const facts: FromJobThread = { kind: 'job-thread', thread: nodeThreadId, tid: threadId(), cpu };
parentPort?.postMessage(facts);

/** By file and export. As many as there are jobs in the program. */
const functions = new Map<string, JobFunction>();

async function load(file: string, name: string): Promise<JobFunction> {
  const key = `${file}#${name}`;
  const known = functions.get(key);
  if (known !== undefined) return known;
  const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  // Of CommonJS the default is module.exports, in which a compiler may have put a default.
  const exports = module.default as Record<string, unknown> | undefined;
  const found = [module[name], exports?.[name]].find((each) => typeof each === 'function');
  if (found === undefined) throw new TypeError(`${file} exports no function ${name}`);
  functions.set(key, found as JobFunction);
  return found as JobFunction;
}

/** What `Piscina.move()` marks a value with: its documented symbols. */
const TRANSFERABLE = Symbol.for('Piscina.transferable');
const VALUE = Symbol.for('Piscina.valueOf');

/** Sends the outcome. @throws what postMessage() does */
function post(port: MessagePort, outcome: JobOutcome): void {
  if (outcome.ok && typeof outcome.value === 'object' && outcome.value !== null) {
    const moved = outcome.value as Record<symbol, unknown>;
    if (TRANSFERABLE in moved && VALUE in moved) {
      const transfer = [moved[TRANSFERABLE]].flat() as Transferable[];
      port.postMessage({ ok: true, value: moved[VALUE] }, transfer);
      return;
    }
  }
  port.postMessage(outcome);
}

/**
 * What was thrown, as another thread can have it. A DOMException, as postMessage() throws, would
 * arrive as an object without anything, and null is no error to Piscina.
 */
function cloneable(error: unknown): unknown {
  if (error === null || error === undefined) return new Error(`${error} was thrown`);
  if (!(error instanceof Error) || types.isNativeError(error)) return error;
  const { name, message, stack } = error;
  return Object.defineProperties(new Error(message), {
    name: { value: name, configurable: true, writable: true },
    stack: { value: stack, configurable: true, writable: true },
  });
}

/** Runs the job of a worker. Whether its function returned. */
async function serve(port: MessagePort, file: string, name: string): Promise<boolean> {
  try {
    const received = receiveMessageOnPort(port);
    if (received === undefined) return false; // the worker has gone, or has lost interest
    const job = await load(file, name);
    post(port, { ok: true, value: await job(received.message) });
    return true;
  } catch (error) {
    try {
      post(port, { ok: false, error: cloneable(error) });
    } catch {
      post(port, { ok: false, error: new Error(inspect(error)) });
    }
    return false;
  } finally {
    port.close();
  }
}

/** Of a job of a worker it only says whether the function returned. */
export default async function run({ file, name, value, port }: JobTask): Promise<unknown> {
  if (port !== undefined) return serve(port, file, name);
  try {
    const job = await load(file, name);
    return await job(value);
  } catch (error) {
    throw cloneable(error);
  }
}
