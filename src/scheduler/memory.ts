/**
 * Fresh shared memory whose rows begin on multiples of ROW_BYTES in the address space, and the first row of each
 * block in it, which says whose it is. Main makes a block before any other thread has it; the others attach. What has
 * another version is refused: its words would mean something else.
 */
import { GyreError } from '../errors.js';
import { COLOUR_BYTES } from './arena.js';
import { BLOCK, ROW_BYTES, VERSION, WORD_BYTES, WORKERS_MAX } from './layout.js';

/**
 * Tells by how many bytes a view's memory is past a multiple of `alignmentBytes`.
 * Without the native helper the address is unknown and this is null.
 */
export type Misalignment = (view: Int32Array, alignmentBytes: number) => number;

/** Shared memory, and where in it to begin. */
interface Memory {
  readonly buffer: SharedArrayBuffer;
  /** Where the origin is in it. */
  readonly originBytes: number;
}

/**
 * Zeros, whose origin is on a multiple of `alignmentBytes` in the address space if that can be known.
 * The system provides a page when it is first touched, so what is never used costs nothing.
 *
 * @throws GyreError `ERR_GYRE_ARENA_FULL` if the system has no such memory
 */
export function allocate(
  bytes: number,
  alignmentBytes: number,
  misalignmentOf: Misalignment | null,
): Memory {
  let buffer: SharedArrayBuffer;
  try {
    buffer = new SharedArrayBuffer(Math.ceil(bytes / ROW_BYTES) * ROW_BYTES + alignmentBytes);
  } catch (cause) {
    throw new GyreError('ERR_GYRE_ARENA_FULL', `no shared memory of ${bytes} bytes`, { cause });
  }
  const past = misalignmentOf?.(new Int32Array(buffer, 0, 1), alignmentBytes) ?? 0;
  return { buffer, originBytes: past === 0 ? 0 : alignmentBytes - past };
}

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

/** A new block of `count` words for `workers` workers. @throws RangeError */
export function createBlock(
  workers: number,
  count: number,
  misalignmentOf: Misalignment | null,
): Int32Array<SharedArrayBuffer> {
  if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX) {
    throw new RangeError(`workers must be from 1 to ${WORKERS_MAX}, not ${workers}`);
  }
  const words = allocateWords(count, misalignmentOf);
  words[BLOCK.VERSION] = VERSION;
  words[BLOCK.WORKERS] = workers;
  return words;
}

/** The block that another thread created. @throws RangeError if it is none that this file makes */
export function attachBlock(words: Int32Array<SharedArrayBuffer>): Int32Array<SharedArrayBuffer> {
  if (words[BLOCK.VERSION] === VERSION) return words;
  throw new RangeError(`shared memory of version ${words[BLOCK.VERSION]} is not ${VERSION}`);
}
