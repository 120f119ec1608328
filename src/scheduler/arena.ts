/**
 * Places in one SharedArrayBuffer, so that threads do not get in each other's way:
 *
 * - **Aligned and padded.** A place begins on a row of ROW_BYTES and has whole rows to itself, so two
 *   threads that write two places never write the same cache line, nor the pair of lines that some
 *   processors fetch together.
 * - **Coloured.** A cache has its lines in sets, and which one an address belongs to repeats every
 *   so many bytes. Things whose sizes are a multiple of that all begin in the same set, which holds 8
 *   or so of them however large the cache is. So places begin at different rows of that period, the
 *   *colours*, in turn.
 *
 * Pure. Called by the thread that makes the arena; others get the offsets. memory.ts has the memory.
 */
import { ROW_BYTES } from './layout.js';

/**
 * The period of the sets of a first-level data cache, sets × line: 4,096 on Intel's Core and AMD's
 * Zen, whose sets are found within a page. Of larger caches the sets depend on physical
 * addresses, so nothing can be said across pages.
 */
export const COLOUR_BYTES = 4_096;
/** The same within huge pages, where a second-level cache counts: 2,048 sets of 64 bytes. */
export const HUGE_COLOUR_BYTES = 131_072;

/** A place is moved by no more than this share of its size for the sake of a colour. */
const COLOUR_SHARE = 1 / 8;

/** Most bytes of one arena: what its offsets are counted in stays an Int32. */
export const ARENA_BYTES_MAX = 2 ** 30;

const up = (value: number, to: number) => Math.ceil(value / to) * to;

/** Offsets from the arena's origin, one after the other. Nothing is ever given back. */
export class Placer {
  readonly #colours: number;
  /** How many places begin in each colour. */
  readonly #begun: number[];
  #end = 0;

  /** @param colourBytes a power of 2, from ROW_BYTES on */
  constructor(colourBytes: number = COLOUR_BYTES) {
    this.#colours = colourBytes / ROW_BYTES;
    this.#begun = new Array(this.#colours).fill(0);
  }

  /** Bytes up to the end of the last place. */
  get endBytes(): number {
    return this.#end;
  }

  /** A place of `bytes`, rounded up to whole rows: in the colour near by that fewest have. */
  place(bytes: number): number {
    const rows = Math.ceil(bytes / ROW_BYTES);
    const first = this.#end / ROW_BYTES;
    const window = Math.min(this.#colours, 1 + Math.floor(rows * COLOUR_SHARE));
    let best = first;
    for (let row = first; row < first + window; row++) {
      if (this.#in(row) < this.#in(best)) best = row;
    }
    this.#begun[best % this.#colours] = this.#in(best) + 1;
    this.#end = (best + rows) * ROW_BYTES;
    return best * ROW_BYTES;
  }

  #in(row: number): number {
    return this.#begun[row % this.#colours] as number;
  }
}

/** Bytes of each type of field. */
export const FIELD_BYTES = { int32: 4, uint32: 4, int64: 8, float64: 8 } as const;
/** `'int32'`, `'uint32'`, `'int64'`, a bigint, or `'float64'`. */
export type FieldType = keyof typeof FIELD_BYTES;

/** Where the fields of equal records are. */
export interface RecordsPlace {
  readonly kind: 'records';
  /** Of the first record, from the beginning of the buffer. */
  readonly offsetBytes: number;
  readonly count: number;
  readonly strideBytes: number;
  /** After each 2 ** skewShift records one row is left out; 31: never. */
  readonly skewShift: number;
  /** By name, the offset within a record. */
  readonly fields: Readonly<Record<string, { readonly type: FieldType; readonly at: number }>>;
}

const NO_SKEW = 31;

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/**
 * How `count` records of `fields` are laid out, but for where the first one is.
 *
 * Padded records have whole rows. If their stride has a common divisor with the number of
 * colours, they would begin in few of them: then, each time that the colours begin to repeat,
 * a row is left out, which shifts all that follow by one colour. That costs one row in each
 * COLOUR_BYTES at most, unless records are larger, and then one row for each.
 */
export function layOut(
  count: number,
  fields: Readonly<Record<string, FieldType>>,
  packed: boolean,
  colourBytes: number,
): Omit<RecordsPlace, 'offsetBytes'> & { readonly bytes: number } {
  let sizeBytes = 0;
  // Those of 8 bytes first, so that there are no gaps.
  const inOrder = Object.entries(fields).sort(([, a], [, b]) => FIELD_BYTES[b] - FIELD_BYTES[a]);
  const places = inOrder.map(([name, type]) => {
    const at = sizeBytes;
    sizeBytes += FIELD_BYTES[type];
    return [name, { type, at }] as const;
  });
  const strideBytes = up(sizeBytes, packed ? 8 : ROW_BYTES);
  const colours = colourBytes / ROW_BYTES;
  const common = packed ? 1 : greatestDivisor(strideBytes / ROW_BYTES, colours);
  const skewShift = common === 1 ? NO_SKEW : Math.log2(colours / common);
  const bytes = count * strideBytes + ((count - 1) >>> skewShift) * ROW_BYTES;
  return {
    ...{ kind: 'records', count, strideBytes, skewShift, bytes },
    fields: Object.fromEntries(places),
  };
}

/** Where a counter has its rows. */
export interface CounterPlace {
  readonly kind: 'counter';
  readonly offsetBytes: number;
  readonly rows: number;
}

/** What an arena has, by name. */
export type Schema = Readonly<Record<string, CounterSpec | RecordsSpec>>;

/** A counter in a schema: what `counter()` returns. */
export interface CounterSpec {
  /** What it is. */
  readonly kind: 'counter';
}

/** Records in a schema: what `records()` returns. */
export interface RecordsSpec<
  Fields extends Readonly<Record<string, FieldType>> = Readonly<Record<string, FieldType>>,
> {
  /** What it is. */
  readonly kind: 'records';
  /** How many records. */
  readonly count: number;
  /** Types of their fields, by name. */
  readonly fields: Fields;
  /** Whether they follow each other closely. */
  readonly packed: boolean;
}

export type Places = Readonly<Record<string, CounterPlace | RecordsPlace>>;

/**
 * Where everything of `schema` is, from the origin, and how many bytes that is.
 *
 * @param counterRows how many rows each counter has
 */
export function placeAll(
  schema: Schema,
  counterRows: number,
  colourBytes: number,
): { readonly places: Places; readonly bytes: number } {
  const placer = new Placer(colourBytes);
  const places = Object.entries(schema).map(([name, spec]) => {
    if (spec.kind === 'counter') {
      const offsetBytes = placer.place(counterRows * ROW_BYTES);
      return [name, { kind: 'counter', offsetBytes, rows: counterRows }] as const;
    }
    const { bytes, ...layout } = layOut(spec.count, spec.fields, spec.packed, colourBytes);
    return [name, { ...layout, offsetBytes: placer.place(bytes) }] as const;
  });
  return { places: Object.fromEntries(places), bytes: placer.endBytes };
}
