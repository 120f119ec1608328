/**
 * Many latencies: a typed array that grows, and their percentiles. Pure.
 */
export class Latencies {
  #values = new Float64Array(1024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const values = new Float64Array(2 * this.#count);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.#count++] = ms;
  }

  /** In the order in which they were added. */
  get values(): Float64Array {
    return this.#values.subarray(0, this.#count);
  }

  mean(): number {
    return this.values.reduce((sum, ms) => sum + ms, 0) / this.#count;
  }

  /** The latency that fraction `p` of them does not exceed, for each of `ps`. NaN of none. */
  percentiles(ps: readonly number[]): number[] {
    const sorted = this.values.slice().sort();
    const last = sorted.length - 1;
    return ps.map((p) => sorted[Math.min(last, Math.floor(sorted.length * p))] ?? Number.NaN);
  }
}
