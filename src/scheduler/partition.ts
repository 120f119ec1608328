/**
 * A partition of the integers 0 to n - 1 into blocks, which can be joined but never
 * split. Pure; of one thread. A join takes amortized near-constant time (Tarjan 1975).
 */
export class Partition {
  readonly #parent: Int32Array;
  #count: number;

  /** Every one of `size` elements is a block of its own. */
  constructor(size: number) {
    this.#parent = Int32Array.from({ length: size }, (_, element) => element);
    this.#count = size;
  }

  /** How many blocks there are. */
  get count(): number {
    return this.#count;
  }

  #root(element: number): number {
    const parent = this.#parent;
    let at = element;
    while (parent[at] !== at) {
      const above = parent[parent[at] as number] as number;
      parent[at] = above;
      at = above;
    }
    return at;
  }

  /** Puts `a` and `b`, and with them all of their blocks, into one. */
  join(a: number, b: number): void {
    const one = this.#root(a);
    const other = this.#root(b);
    if (one === other) return;
    this.#parent[Math.max(one, other)] = Math.min(one, other);
    this.#count -= 1;
  }

  /** Its blocks, each ascending, by their lowest element. */
  blocks(): number[][] {
    const blocks = new Map<number, number[]>();
    for (let element = 0; element < this.#parent.length; element++) {
      const root = this.#root(element);
      const block = blocks.get(root);
      if (block === undefined) blocks.set(root, [element]);
      else block.push(element);
    }
    return [...blocks.values()];
  }
}
