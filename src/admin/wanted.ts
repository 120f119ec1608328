/**
 * Whether anybody may want to know how a runtime is doing. All of src/admin that is loaded if
 * nobody does, but for the options. Main thread only.
 */
import type { ResolvedOptions } from '../runtime/resolved-options.js';

/** Where every copy of `@opentelemetry/api` 1.x keeps what was set up. */
const TELEMETRY = Symbol.for('opentelemetry.js.api.1');

/** Whether this process has set up a MeterProvider. */
export function isTelemetryPresent(): boolean {
  const api = (globalThis as { [TELEMETRY]?: { metrics?: unknown } })[TELEMETRY];
  return api?.metrics !== undefined;
}

/** Whether src/admin is needed at all. */
export function isObserved(options: ResolvedOptions): boolean {
  return options.agentCheck !== null || isTimed(options);
}

/** Whether workers count requests, and how long iterations take. */
export function isTimed({ admin, workers }: ResolvedOptions): boolean {
  return admin !== null || (isTelemetryPresent() && workers !== 'inline');
}

/** Whether they also time requests. */
export function timesRequests({ admin }: ResolvedOptions): boolean {
  return admin?.requestTimes ?? false;
}
