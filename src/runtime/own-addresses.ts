/**
 * Where servers listen on sockets that workers opened themselves: `exclusive: true`, a handle of
 * their own, or all of them inline. Main only knows of them. Main thread only.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ListenAddress } from '../protocol.js';

export class OwnAddresses {
  readonly #bySlot = new Map<number, ListenAddress[]>();

  get all(): ListenAddress[] {
    return [...this.#bySlot.values()].flat();
  }

  add(slot: number, address: ListenAddress): void {
    this.#bySlot.set(slot, [...(this.#bySlot.get(slot) ?? []), address]);
  }

  remove(slot: number, address: ListenAddress): void {
    const own = this.#bySlot.get(slot) ?? [];
    const gone = own.findIndex((each) => isDeepStrictEqual(each, address));
    this.#bySlot.set(slot, own.toSpliced(gone, 1));
  }

  /** The thread that had `slot` has ended. */
  ended(slot: number): void {
    this.#bySlot.delete(slot);
  }
}
