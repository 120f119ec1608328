/**
 * Holds jobs in other threads until it is opened, and tells how many have come. A job gets `words`
 * and does its part: it adds 1 to the second word, notifies, and waits while the first is 0.
 */
export class Gate {
  readonly words = new Int32Array(new SharedArrayBuffer(8));

  get begun(): number {
    return Atomics.load(this.words, 1);
  }

  /** Resolves when `count` wait, or have waited. */
  async whenBegun(count: number): Promise<void> {
    for (let now = this.begun; now < count; now = this.begun) {
      // @ts-expect-error: of ES2024
      await Atomics.waitAsync(this.words, 1, now, 1_000).value;
    }
  }

  open(): void {
    Atomics.store(this.words, 0, 1);
    Atomics.notify(this.words, 0);
  }
}
