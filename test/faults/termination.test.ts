/**
 * A thread that is terminated while the kernel holds it in read(2) goes on with what a client has
 * sent, as far as node's HTTP parser, which in Node 20 aborts the process when what it calls at the first byte
 * of a message is a function in JavaScript. Tracking must not make it one. No runtime here: that
 * looks twice before it terminates a thread.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { Injection, reasonAgainst } from '../moving/injection.js';
import { HOST } from '../support/app.js';
import { folder } from '../support/folder.js';

const PROGRAM = path.join(__dirname, 'terminated.js');
/** Much longer than it takes to terminate a thread. */
const HELD_MS = 500;
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n';
/** More than node's parser keeps before it hands them on. */
const MANY = 'name: value\r\n'.repeat(40);

/** The number of the system call in which thread `tid` of this process is, or 'running'. */
function callOf(tid: number): string {
  return readFileSync(`/proc/self/task/${tid}/syscall`, 'latin1').split(' ', 1)[0] as string;
}

const skip = reasonAgainst() ?? false;
for (const followed of [false, true]) {
  for (const headers of ['', MANY]) {
    const name = `messages ${followed ? '' : 'not '}followed, ${headers === '' ? 1 : 41} headers`;
    t.test(name, { skip }, async (t) => {
      const worker = new Worker(PROGRAM, { workerData: followed });
      const [{ port, tid }] = (await once(worker, 'message')) as [{ port: number; tid: number }];
      const client = net.connect(port, HOST).on('error', () => {});
      t.teardown(() => client.destroy());
      client.write(`${REQUEST}\r\n`);
      await once(client, 'data');
      while (!/^\d/.test(callOf(tid))) await turn();
      const asleep = callOf(tid);
      const held = `read:delay_enter=${HELD_MS}ms:when=1`;
      const injection = await Injection.start(t, [tid], [held], path.join(folder(t), 'trace'));
      client.write(`${REQUEST}${headers}\r\n`);
      while (callOf(tid) === asleep || !/^\d/.test(callOf(tid))) await turn();
      await worker.terminate();
      t.equal(await injection.stop(), 1, 'its thread has ended, and nothing else');
    });
  }
}
