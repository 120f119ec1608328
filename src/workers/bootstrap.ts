/**
 * The first file that runs in a worker thread. It sets the thread up and then runs
 * the application's entry, which notices nothing.
 */
import { syncBuiltinESMExports } from 'node:module';
import workerThreads from 'node:worker_threads';
import { setArenaSource } from '../arena-registry.js';
import { claimCpu, setThreadName, threadId } from '../native.js';
import type { FromWorker, ToWorker, WorkerInit } from '../protocol.js';
import { Scoreboard } from '../scheduler/scoreboard.js';
import { Agent } from './agent.js';
import { followEnd, watchHeap } from './end.js';
import { runEntry } from './entry.js';
import { JobClient } from './jobs.js';
import { Requests } from './requests.js';
import { setJobRunner, setSelf } from './self.js';
import { containPin, describeStream, SignalInterest, setArguments } from './thread-process.js';

const init = workerThreads.workerData as WorkerInit;
// The program is the main module of what it takes for a process: `if (isMainThread)`
// is how one that has threads of its own tells them apart, in one file, and the worker
// data and the port here are gyre's. Its own threads see theirs, as ever.
Object.assign(workerThreads, { isMainThread: true, parentPort: null, workerData: null });
syncBuiltinESMExports();

const { index, slot, cpu, count, accepting, control, offers } = init;
const send = (message: FromWorker, transfer: readonly workerThreads.Transferable[] = []) =>
  control.postMessage(message, transfer);

setSelf({ index, cpu, count, spare: slot >= accepting });
setThreadName(init.threadName);
setArguments(init.entry, init.args);
describeStream('stdout', init.stdio.stdout);
describeStream('stderr', init.stdio.stderr);
if (cpu !== null && init.inherited !== null) {
  claimCpu([cpu]); // who looks for a CPU with nobody on it looks elsewhere
  containPin(init.inherited, init.parallelism);
}

const signals = new SignalInterest((signal, on) => send({ kind: 'signal-interest', signal, on }));
signals.install();

const tid = threadId();
if (tid !== null) Scoreboard.attach(init.scoreboard).own(slot).begin(tid);

const requests = new Requests(init.requests, init.answered);
setArenaSource({ slot, find: (request) => requests.arena(request) });

const agent = new Agent({
  ...{ slot, accepting, offers },
  scoreboard: init.scoreboard,
  moving: init.moving,
  timed: init.timed,
  timesRequests: init.timesRequests,
  overload: init.overload,
  transport: init.sharesListeners ? requests : null,
  send,
  keepAlive: (on) => (on ? control.ref() : control.unref()),
  deliver: (signal) => signals.deliver(signal),
  exit: () => process.exit(),
});

const jobs = new JobClient(init.jobs, send);
setJobRunner(jobs);

followEnd(send, () => agent.end());
if (init.heapRatio > 0) watchHeap(init.heapRatio, (ratio) => send({ kind: 'heap', ratio }));

control.on('message', (message: ToWorker) => {
  if (message.kind === 'job-failed') jobs.failed(message);
  else agent.receive(message);
});
control.unref(); // the application alone decides how long this worker lives

send({ kind: 'up', tid, wakeId: agent.wakeId });

runEntry(init.entry);
