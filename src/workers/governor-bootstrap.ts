/**
 * The first file that runs in the governor's thread: it checks that moving is safe here, says so, and then does what
 * main says. A thread that was checked and not started does nothing.
 */
import workerThreads, { type MessagePort } from 'node:worker_threads';
import { setThreadName } from '../native.js';
import type { FromGovernor, GovernorInit, ToGovernor } from '../protocol.js';
import { Governor } from './governor.js';
import { selfCheck } from './self-check.js';

const { init, control } = workerThreads.workerData as { init: GovernorInit; control: MessagePort };
const send = (message: FromGovernor) => control.postMessage(message);
let governor: Governor | null = null;
let chaos = init.chaos;

function unrest(): void {
  if (!chaos) return;
  governor?.chaos();
  setImmediate(unrest);
}

function receive(message: ToGovernor): void {
  switch (message.kind) {
    case 'start':
      governor = new Governor(init, send);
      unrest();
      break;
    case 'peer':
      governor?.watch(message.worker, message.peer);
      break;
    case 'no-spare':
      governor?.refused();
      break;
    case 'evacuate':
      if (governor !== null) governor.evacuate(message.worker);
      else send({ kind: 'evacuated', worker: message.worker, taken: 0 });
      break;
    case 'stop':
      chaos = false;
      governor?.stop();
      control.close();
  }
}

setThreadName(`${init.name}-gov`);
selfCheck().then((unfit) => {
  send({ kind: 'checked', unfit });
  control.on('message', receive);
});
