/**
 * Who handles what fires: the threads that have handlers, for which names, and what each has been given.
 * Main thread only.
 */
import type { Offer, OfferGiver, Offers } from '../../scheduler/offers.js';
import type { WorkerHandle } from '../worker-handle.js';
import type { Firing, SourceBase } from './source.js';

/** A firing that a thread was offered, until it has settled or was taken back. */
export interface Given {
  /** Null: it has timed out, and this worker still is at work on it. */
  firing: Firing | null;
  readonly source: SourceBase;
  readonly offer: Offer;
  /** When it has timed out, in ms of `performance.now()`, as the next two. */
  readonly deadline: number;
  /** When to look whether it was begun. */
  lookAt: number;
  lookMs: number;
  /** When to look whether the worker hangs. */
  hangAt: number;
}

/** A worker's thread that has handlers. */
export interface Recipient {
  readonly worker: WorkerHandle;
  readonly names: Set<string>;
  readonly giver: OfferGiver;
  /** By id of the firing. */
  readonly given: Map<number, Given>;
}

export class Recipients {
  readonly #offers: Offers;
  readonly #byWorker = new Map<WorkerHandle, Recipient>();
  readonly #byName = new Map<string, Set<Recipient>>();

  constructor(offers: Offers) {
    this.#offers = offers;
  }

  /** Those there are now, whatever becomes of them meanwhile. */
  get all(): Recipient[] {
    return [...this.#byWorker.values()];
  }

  at(worker: WorkerHandle): Recipient | undefined {
    return this.#byWorker.get(worker);
  }

  /** Threads that handle `name` and may be given something. */
  of(name: string): Recipient[] {
    const all = [...(this.#byName.get(name) ?? [])].filter(({ worker: { state } }) => {
      return state === 'serving' || state === 'starting';
    });
    const serving = all.filter(({ worker }) => worker.state === 'serving');
    // One that starts may still wait for something that its handlers need.
    return serving.length > 0 ? serving : all;
  }

  /** `worker` has a handler for `name`. Returns whether that is its first. */
  add(worker: WorkerHandle, name: string): boolean {
    const known = this.#byWorker.get(worker);
    const recipient = known ?? this.#newFor(worker);
    recipient.names.add(name);
    const all = this.#byName.get(name);
    if (all === undefined) this.#byName.set(name, new Set([recipient]));
    else all.add(recipient);
    return known === undefined;
  }

  /** It no longer has. Returns whether it had. */
  remove(worker: WorkerHandle, name: string): boolean {
    const recipient = this.#byWorker.get(worker);
    if (recipient === undefined || !recipient.names.delete(name)) return false;
    this.#forget(recipient, name);
    return true;
  }

  /** Its thread has ended. Returns what it was, with its names and what it has. */
  delete(worker: WorkerHandle): Recipient | undefined {
    const recipient = this.#byWorker.get(worker);
    this.#byWorker.delete(worker);
    for (const name of recipient?.names ?? []) this.#forget(recipient as Recipient, name);
    return recipient;
  }

  #newFor(worker: WorkerHandle): Recipient {
    const giver = this.#offers.giver(worker.slot);
    const recipient = { worker, giver, names: new Set<string>(), given: new Map() };
    this.#byWorker.set(worker, recipient);
    return recipient;
  }

  #forget(recipient: Recipient, name: string): void {
    const all = this.#byName.get(name);
    all?.delete(recipient);
    if (all?.size === 0) this.#byName.delete(name);
  }
}
