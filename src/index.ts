/**
 * `gyre`: serves an unchanged Node server on every CPU, in one process.
 *
 * @module gyre
 */
import { absolutePath } from './option-checks.js';
import type { Runtime } from './runtime/api.js';
import { startRuntime } from './runtime/launch.js';
import type { RuntimeOptions } from './runtime/options.js';
import { resolveOptions } from './runtime/resolved-options.js';
import { readTopology } from './runtime/sysfs.js';
import type { Topology } from './scheduler/topology.js';

export type { AdminOptions } from './admin/options.js';
export type {
  HeapStatus,
  Histogram,
  LevelStatus,
  ListenerStatus,
  ProcessStatus,
  Status,
  WorkerStatus,
} from './admin/status.js';
export { ERROR_CODES, type ErrorCode, GyreError, type GyreErrorDetails } from './errors.js';
export type { EventKind, Handled, HandlingOptions } from './events.js';
export type { RunOptions } from './job-request.js';
export type { ListenerOptions } from './listener-options.js';
export type { ListenAddress, MoveReason, TracedMove } from './protocol.js';
export type {
  AdminAddresses,
  CloseOptions,
  EndReason,
  JobsSnapshot,
  JobThreadInfo,
  ReloadOptions,
  Runtime,
  RuntimeEvents,
  RuntimeState,
  Snapshot,
  WorkerEnd,
  WorkerHang,
  WorkerInfo,
  WorkerMove,
  WorkerRecycling,
  WorkerRepinning,
  WorkerStall,
} from './runtime/api.js';
export type { Blamed } from './runtime/blame.js';
export type { Capabilities, Capability, CapabilityName } from './runtime/capabilities.js';
export type { JobPoolOptions } from './runtime/job-options.js';
export type { MoveCount } from './runtime/move-counts.js';
export type { LimitOptions, RuntimeOptions, SchedulerOptions } from './runtime/options.js';
export type {
  DatagramOptions,
  DatagramSource,
  FdOptions,
  PathOptions,
  Source,
  SourceCounts,
  SourceFailure,
  SourceInfo,
  SourceOptions,
  Sources,
  TimerOptions,
} from './runtime/sources/api.js';
export type { Processor, ProcessorCache, Tlb } from './scheduler/cpuid.js';
export type { Level, Shape } from './scheduler/groups.js';
export type { AcceptingState, WorkerStateName } from './scheduler/layout.js';
export type { Midr } from './scheduler/midr.js';
export type { Placement } from './scheduler/placement.js';
export type {
  Cache,
  CacheType,
  Cpu,
  CpuType,
  HugePages,
  MemoryNode,
  Part,
  Topology,
} from './scheduler/topology.js';
export type { Times, WorkerRow } from './scheduler/worker-row.js';

/**
 * Starts `options.entry` in worker threads and resolves when every one of them
 * listens on what it asked for.
 *
 * An invalid option throws at the call. Everything else rejects, after whatever had
 * started has ended again: a missing entry (`ERR_GYRE_ENTRY_MISSING`), a capability
 * or CPU that is not there (`ERR_GYRE_CAPABILITY`, `ERR_GYRE_CPUS`), or the first
 * worker's error, with its own code if it is a system error (`EADDRINUSE`). A worker
 * that does not listen within `startMs` is warned about and not waited for.
 *
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `_INVALID` or `_CONFLICT`.
 */
export function createRuntime(options: RuntimeOptions): Promise<Runtime> {
  const resolved = resolveOptions(options);
  if (resolved.workers !== 'inline') return startRuntime(resolved, null);
  // It loads the half of gyre that runs in workers, which takes a third of the time of all else here.
  return import('./inline.js').then(({ inline }) => startRuntime(resolved, inline));
}

/**
 * This machine as far as this process may use it: CPUs, cores, caches, memory nodes, and its
 * scheduling groups. Blocks while it reads, some milliseconds or, with hundreds of CPUs, tens of
 * them. {@link Topology} says what each field is.
 *
 * @param root a copy of another machine's `/sys`, all of whose CPUs count as usable
 * @throws GyreError `ERR_GYRE_OPTION_INVALID` if `root` is no path, `ERR_GYRE_TOPOLOGY` if it
 *   describes no CPU, or without it, if this system has no sysfs.
 */
export function topology(root?: string | URL): Topology {
  return readTopology(root === undefined ? root : absolutePath('root', root));
}
