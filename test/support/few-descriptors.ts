/**
 * A program that listens where descriptors run out, in a process of its own: the limit
 * is the process's. Says as JSON what Listeners did.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { close, duplicate } from '../../src/native.js';
import type { ListenRequest, OpenReply, ToWorker } from '../../src/protocol.js';
import { Listeners } from '../../src/runtime/listeners.js';

const listen: ListenRequest = {
  kind: 'tcp',
  ...{ address: '127.0.0.1', family: 4, port: 0, flags: 0, backlog: 0 },
};
const sent: { worker: number; message: ToWorker }[] = [];
const listeners = new Listeners(true, 511, {
  standsBy: () => false,
  replaces: () => null,
  awaitsSuccessor: () => false,
  moves: () => true,
  send: (worker, message) => sent.push({ worker, message }),
  granted: () => {},
});
const fillers: number[] = [];

/** Uses up every descriptor but `left`. */
function useUp(left: number): void {
  for (;;) {
    const fd = duplicate(0);
    if (fd < 0) break;
    fillers.push(fd);
  }
  free(left);
}

function free(count: number): void {
  for (const fd of fillers.splice(0, count)) close(fd);
}

function outcome(reply: OpenReply): number {
  return reply.ok ? 0 : reply.errno;
}

/** Keeps the process alive meanwhile, as the timer of a retry does not. */
async function sending(count: number): Promise<void> {
  while (sent.length < count) await delay(10);
}

async function main(): Promise<void> {
  // The standard streams are opened when first used.
  process.stdout.write('');
  const first = listeners.open(0, listen);
  const second = listeners.open(1, listen);
  if (!first.ok || !second.ok) throw new Error('nothing to begin with');

  useUp(0);
  const noSocket = outcome(listeners.open(2, listen));
  const afterNoSocket = listeners.descriptors();
  free(1);
  const noCopy = outcome(listeners.open(2, listen));
  const afterNoCopy = listeners.descriptors();
  free(1);
  await sending(1);
  const afterRetry = listeners.descriptors();

  // Worker 0 closes, and somebody else takes its numbers.
  const adopted = sent.flatMap(({ message }) => (message.kind === 'adopt' ? [message.fd] : []));
  const own = [first.fd, first.handleFd, ...adopted];
  for (const fd of own) close(fd);
  useUp(0);
  listeners.release(0, first.grant, own);
  const whileFull = sent.length;
  free(2);
  await sending(3);

  free(fillers.length);
  const offers = sent.map(({ worker, message }) => `${message.kind} by ${worker}`);
  const result = { noSocket, afterNoSocket, noCopy, afterNoCopy, afterRetry, whileFull, offers };
  listeners.close();
  process.stdout.write(JSON.stringify(result));
}

void main();
