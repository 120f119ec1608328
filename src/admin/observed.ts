/**
 * What the endpoint sees of the runtime, beyond what everybody does. Types only.
 */
import type { ListenAddress } from '../protocol.js';
import type { Runtime } from '../runtime/api.js';
import type { WorkerHandle } from '../runtime/worker-handle.js';
import type { Placement } from '../scheduler/placement.js';

/** A listening TCP socket. */
export interface ListeningSocket {
  readonly address: ListenAddress;
  /** Number of the worker that accepts from it; null: all do, or nobody now. */
  readonly worker: number | null;
  /** Main's own descriptor. */
  readonly fd: number;
}

export interface Observed {
  readonly runtime: Runtime;
  readonly name: string;
  readonly placement: Placement;
  /** Every thread of a worker or spare that has not ended. */
  threads(): readonly WorkerHandle[];
  sockets(): readonly ListeningSocket[];
}
