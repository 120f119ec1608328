/** Where things are in an arena: whole rows each, and spread over the colours of a cache. */
import fc from 'fast-check';
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import {
  COLOUR_BYTES,
  HUGE_COLOUR_BYTES,
  layOut,
  Placer,
  placeAll,
} from '../../src/scheduler/arena.js';
import { ROW_BYTES } from '../../src/scheduler/layout.js';
import { allocate } from '../../src/scheduler/memory.js';

const COLOURS = COLOUR_BYTES / ROW_BYTES;
const colourOf = (offset: number) => (offset / ROW_BYTES) % COLOURS;

/** How many of `offsets` begin in each colour. */
function perColour(offsets: readonly number[]): number[] {
  const counts = new Array<number>(COLOURS).fill(0);
  for (const offset of offsets) counts[colourOf(offset)] = (counts[colourOf(offset)] ?? 0) + 1;
  return counts;
}

t.test('places are whole rows, in order, and never overlap', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 100_000 }), { maxLength: 100 }), (sizes) => {
      const placer = new Placer();
      let end = 0;
      for (const size of sizes) {
        const at = placer.place(size);
        if (at % ROW_BYTES !== 0 || at < end) return false;
        if (at - end > size / 8 + ROW_BYTES) return false; // what colours may cost
        end = at + size;
      }
      return placer.endBytes >= end && placer.endBytes < end + ROW_BYTES;
    }),
  );
});

t.test('places of equal size begin in all colours, whatever the size', async (t) => {
  for (const size of [128, 256, 1_024, 2_048, 4_096, 8_192, 65_536, 4_096 + 128]) {
    const placer = new Placer();
    const counts = perColour(Array.from({ length: 640 }, () => placer.place(size)));
    // With rows of 256 and 512 bytes there is no room to go aside.
    const even = size === 256 ? 640 / (COLOURS / 2) : 640 / COLOURS;
    t.ok(Math.max(...counts) <= even, `${size}: ${Math.max(...counts)}`);
  }
});

const heads = ({ count, strideBytes, skewShift }: ReturnType<typeof layOut>) =>
  Array.from({ length: count }, (_, i) => i * strideBytes + (i >>> skewShift) * ROW_BYTES);

/** Fields of so many bytes together. */
const wide = (bytes: number) =>
  Object.fromEntries(Array.from({ length: bytes / 8 }, (_, i) => [`f${i}`, 'int64' as const]));

t.test('records begin in all colours, and cost little for it', async (t) => {
  for (const rows of [1, 2, 3, 4, 8, 12, 16, 32, 64, 96]) {
    const layout = layOut(1_280, wide(rows * ROW_BYTES), false, COLOUR_BYTES);
    const offsets = heads(layout);
    const counts = perColour(offsets);
    t.equal(Math.max(...counts) - Math.min(...counts) <= 32, true, `${rows} rows: ${counts}`);
    t.ok(Math.min(...counts) > 0, `${rows} rows`);
    const net = 1_280 * rows * ROW_BYTES;
    const cost = rows < COLOURS ? net / COLOURS : 1_280 * ROW_BYTES;
    t.ok(layout.bytes - net <= cost, `${rows} rows: ${layout.bytes - net} of ${cost}`);
    const last = (offsets.at(-1) as number) + layout.strideBytes;
    t.equal(layout.bytes, last);
    for (let i = 1; i < offsets.length; i++) {
      if ((offsets[i] as number) - (offsets[i - 1] as number) < layout.strideBytes)
        t.fail('overlap');
    }
  }
});

t.test('fields are aligned, and packed records follow each other', async (t) => {
  const fields = { a: 'int32', b: 'float64', c: 'uint32', d: 'int32' } as const;
  const padded = layOut(3, fields, false, COLOUR_BYTES);
  t.equal(padded.strideBytes, ROW_BYTES);
  t.same(padded.fields.b, { type: 'float64', at: 0 });
  t.same(
    Object.values(padded.fields).map(({ at }) => at),
    [0, 8, 12, 16],
  );
  const packed = layOut(3, fields, true, COLOUR_BYTES);
  t.match(packed, { strideBytes: 24, skewShift: 31, bytes: 72 });
});

t.test('all that a schema names has a place of its own', async (t) => {
  const { places, bytes } = placeAll(
    {
      hits: { kind: 'counter' },
      clients: { kind: 'records', count: 100, fields: { a: 'int32' }, packed: false },
      misses: { kind: 'counter' },
    },
    5,
    HUGE_COLOUR_BYTES,
  );
  t.match(places, {
    hits: { offsetBytes: 0, rows: 5 },
    clients: { count: 100, strideBytes: ROW_BYTES },
  });
  t.ok((places.misses?.offsetBytes ?? 0) >= 105 * ROW_BYTES);
  t.ok(bytes >= 110 * ROW_BYTES);
});

const skip = misalignmentOf === null ? 'addresses are unknown without the helper' : false;

t.test('the origin is aligned in the address space', { skip }, async (t) => {
  for (const alignment of [ROW_BYTES, COLOUR_BYTES, 2 ** 21]) {
    const { buffer, originBytes } = allocate(1_000, alignment, misalignmentOf);
    t.equal(misalignmentOf?.(new Int32Array(buffer, originBytes, 250), alignment), 0);
  }
});

t.test('what the system does not have is a coded error', async (t) => {
  t.throws(() => allocate(2 ** 52, ROW_BYTES, null), { code: 'ERR_GYRE_ARENA_FULL' });
});
