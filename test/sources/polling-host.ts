/**
 * A runtime in a process that was started with descriptors that node cannot make: an eventfd, an
 * inotify and a timerfd, as its last three arguments. Says as JSON what its handlers read from them.
 */
import { once } from 'node:events';
import { closeSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { BroadcastChannel } from 'node:worker_threads';
import { createRuntime } from '../../src/index.js';
import { app } from '../support/app.js';

async function main(): Promise<void> {
  const [watched = '', ...numbers] = process.argv.slice(2);
  const [event = -1, notify = -1, timer = -1] = numbers.map(Number);
  const runtime = await createRuntime({
    ...{ entry: app('events.js'), workers: 1, maxWorkers: 1, spares: 0 },
    env: { NAMES: 'event,notify,timer' },
  });
  const read: Record<string, string> = {};
  const channel = new BroadcastChannel('events');
  const heard = new Promise<void>((resolve) => {
    channel.onmessage = (message) => {
      const { what, name, read: text } = (message as { data: Record<string, string> }).data;
      if (what !== 'begun' || name === undefined || text === undefined) return;
      const bytes = Buffer.from(text, 'latin1');
      // inotify(7): struct inotify_event ends with a name; the other two are counts.
      if (name === 'notify') read[name] = bytes.subarray(16).toString().replace(/\0+$/, '');
      else read[name] = String(bytes.readBigUInt64LE());
      if (Object.keys(read).length === 3) resolve();
    };
  });
  runtime.sources.fd(event, { name: 'event' });
  runtime.sources.fd(notify, { name: 'notify' });
  runtime.sources.fd(timer, { name: 'timer' });
  const five = Buffer.alloc(8);
  five.writeBigUInt64LE(5n);
  writeSync(event, five);
  writeFileSync(path.join(watched, 'made'), '');
  await heard;
  channel.close();
  const closed = once(runtime, 'close');
  await runtime.close();
  await closed;
  for (const fd of [event, notify, timer]) closeSync(fd);
  process.stdout.write(JSON.stringify(read));
}

void main();
