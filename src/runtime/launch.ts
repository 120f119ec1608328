/**
 * From options that are valid to a runtime that serves: looks at the machine, plans, checks the files,
 * and starts it. Main thread only.
 */
import os from 'node:os';
import { affinity, widenInChildren } from '../native.js';
import type { Runtime } from './api.js';
import type { InlineFactory } from './assembly.js';
import {
  type Capabilities,
  detectCapabilities,
  requireCapabilities,
  without,
} from './capabilities.js';
import { cpuQuota } from './machine.js';
import { planRuntime } from './plan.js';
import { checkEntry, checkJobFiles } from './program.js';
import { hasLimit, type ResolvedOptions } from './resolved-options.js';
import { GyreRuntime } from './runtime.js';
import { readTopology } from './sysfs.js';

/** What this system can do, less what `options` leave nobody to do. */
function capabilitiesFor({ pin, workers, scheduler }: ResolvedOptions): Capabilities {
  const all = detectCapabilities();
  if (scheduler.move || pin !== 'soft' || workers === 'inline') return all;
  return without(all, ['widen'], 'connections do not move, so there is no governor');
}

/**
 * Resolves when every worker listens. Rejects as `createRuntime` says, when nothing is left.
 *
 * @param inline null: workers are threads
 */
export async function startRuntime(
  options: ResolvedOptions,
  inline: InlineFactory | null,
): Promise<Runtime> {
  const capabilities = capabilitiesFor(options);
  requireCapabilities(capabilities, options.require);
  // Without it a worker opens its own sockets.
  if (options.overload === 'wait' && hasLimit(options)) {
    requireCapabilities(capabilities, ['native']);
  }
  const inherited = capabilities.pin.available ? affinity() : null;
  const plan = planRuntime(options, {
    capabilities,
    inherited,
    parallelism: os.availableParallelism(),
    quotaCpus: cpuQuota(),
    topology: inherited === null ? null : readTopology(),
  });

  // Besides checking the entry this makes libuv start its thread pool, now, while
  // this thread has the mask that the pool's threads shall inherit. A worker's
  // first file access would otherwise start them all on that worker's CPU.
  await checkEntry(options.entry);
  await checkJobFiles(options.jobs);
  if (inherited !== null) widenInChildren(inherited);

  const runtime = new GyreRuntime(options, plan);
  await runtime.start(inline);
  return runtime;
}
