/**
 * A runtime without the native helper, or with `workers: 'inline'`, in a process of its own. Says
 * as JSON what its sources did.
 */
import { createRuntime } from '../../src/index.js';
import { app } from '../support/app.js';

function codeOf(call: () => unknown): string {
  try {
    call();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

async function main(): Promise<void> {
  const inline = process.argv[2] === 'inline';
  const entry = app('ticking.js');
  const runtime = await createRuntime({ entry, ...(inline && { workers: 'inline' as const }) });
  const { sources } = runtime;
  runtime.on('failure', () => {});
  const timer = sources.timer({ name: 'tick', everyMs: 20 });
  while (timer.info().handled < 3) await new Promise(setImmediate);
  await timer.close();
  const said = {
    tick: timer.info().handled,
    job: await sources.emit('job'),
    failed: await sources.emit('fails').catch(({ code }) => code),
    uncloned: codeOf(() => sources.emit('job', () => {})),
    fd: codeOf(() => sources.fd(0, { name: 'x' }).close()),
    datagram: codeOf(() => sources.datagram({ port: 0, host: '127.0.0.1' }).close()),
  };
  await runtime.close();
  process.stdout.write(JSON.stringify(said));
}

void main();
