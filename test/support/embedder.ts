/**
 * A program that embeds gyre: its one argument is the options, as JSON. It listens for
 * no 'error', and says on stderr, as JSON lines, what happens.
 */
import { createRuntime, type RuntimeOptions } from '../../src/index.js';

function say(event: string, fields: object = {}): void {
  process.stderr.write(`${JSON.stringify({ event, ...fields })}\n`);
}

async function main(): Promise<void> {
  const runtime = await createRuntime(JSON.parse(process.argv[2] ?? '{}') as RuntimeOptions);
  runtime.on('exit', ({ worker, code }) => say('exit', { worker: worker.index, code }));
  runtime.on('close', () => {
    const signals = process.listenerCount('SIGTERM') + process.listenerCount('SIGINT');
    say('close', { signals });
  });
  say('ready', { addresses: runtime.addresses, admin: runtime.admin });
}

void main();
