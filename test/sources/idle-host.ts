/**
 * A runtime that has nothing to do but a timer, twice a second. Says at its end, as JSON on stdout,
 * what that has done.
 */
import { createRuntime } from '../../src/index.js';
import { app } from '../support/app.js';

async function main(): Promise<void> {
  const runtime = await createRuntime({
    ...{ entry: app('ticking.js'), workers: 2, spares: 0, handleSignals: true },
  });
  const timer = runtime.sources.timer({ name: 'tick', everyMs: 500 });
  runtime.on('close', () => process.stdout.write(JSON.stringify(timer.info())));
  process.stderr.write('ready\n');
}

void main();
