/**
 * Fresh shared memory whose rows begin on multiples of ROW_BYTES in the address
 * space. Called by main, once for each of the shared structures.
 */
import { ROW_BYTES, WORD_BYTES } from './layout.js';

/**
 * Tells by how many bytes a view's memory is past a multiple of `alignmentBytes`.
 * Without the native helper the address is unknown and this is null.
 */
export type Misalignment = (view: Int32Array, alignmentBytes: number) => number;

/**
 * `count` words of zeros, starting on a row if the address can be known. The system
 * provides a page when it is first touched, so what is never used costs nothing.
 */
export function allocateWords(
  count: number,
  misalignmentOf: Misalignment | null,
): Int32Array<SharedArrayBuffer> {
  const buffer = new SharedArrayBuffer(count * WORD_BYTES + ROW_BYTES);
  const past = misalignmentOf?.(new Int32Array(buffer), ROW_BYTES) ?? 0;
  return new Int32Array(buffer, past === 0 ? 0 : ROW_BYTES - past, count);
}
