/**
 * Fresh shared memory whose rows begin on multiples of ROW_BYTES in the address
 * space. Called by main, once for each of the shared structures.
 */
import { allocate, COLOUR_BYTES, type Misalignment } from './arena.js';
import { WORD_BYTES } from './layout.js';

export type { Misalignment };

/**
 * `count` words of zeros, starting on a row of the first colour if the address can be known. The
 * tables are spread over all colours by themselves: their strides are one row, or, of the rings of
 * mailboxes, two rows more than a power of 2, and the two rows that are written most go first.
 */
export function allocateWords(
  count: number,
  misalignmentOf: Misalignment | null,
): Int32Array<SharedArrayBuffer> {
  const memory = allocate(count * WORD_BYTES, COLOUR_BYTES, misalignmentOf);
  return new Int32Array(memory.buffer, memory.originBytes, count);
}
