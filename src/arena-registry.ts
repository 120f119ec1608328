/**
 * The arenas of a process, by name, and how a thread comes to one: the main thread has the registry,
 * and a worker asks it. Kept on the global object under a registered symbol, so that a program which
 * has its own copy of gyre sees the same. Any thread.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { GyreError } from './errors.js';
import { adviseHuge, hasLinuxParts, misalignmentOf } from './native.js';
import {
  ARENA_BYTES_MAX,
  COLOUR_BYTES,
  HUGE_COLOUR_BYTES,
  type Places,
  placeAll,
  type Schema,
} from './scheduler/arena.js';
import { allocate } from './scheduler/memory.js';

/** What is asked for; checked. */
export interface ArenaRequest {
  readonly name: string;
  readonly schema: Schema;
  readonly hugePages: boolean;
}

/** Everything that another thread needs to use an arena. Can be sent with `postMessage()`. */
export interface ArenaHandle {
  /** As it was asked for by. */
  readonly name: string;
  /** All memory of the arena. */
  readonly buffer: SharedArrayBuffer;
  /**
   * Offsets are from the beginning of the buffer.
   *
   * @internal
   */
  readonly places: Places;
  /** Bytes from the first place to the end of the last. */
  readonly bytes: number;
  /** How many of them are to be in huge pages, once they are touched. */
  readonly hugeBytes: number;
  /** Why none are, if they were asked for; else null. */
  readonly hugeReason: string | null;
}

/** How this thread comes to arenas. */
interface ArenaSource {
  /** Where its own rows of counters are; null: it shares the first one. */
  readonly slot: number | null;
  /** @throws GyreError */
  find(request: ArenaRequest): ArenaHandle;
}

/** Most arenas of a process. They are never given back. */
const ARENAS_MAX = 256;

/**
 * Rows of a counter: one for everybody, and two for each CPU, because a worker has two slots. With
 * more workers some share a row, which is slower and not wrong. Never more than 256.
 */
export function counterRows(): number {
  return 1 + Math.min(2 * os.availableParallelism(), 255);
}

const THP = '/sys/kernel/mm/transparent_hugepage';

/** Size of the huge pages that madvise(2) gives, or why there are none. */
function hugePageBytes(): number | string {
  if (!hasLinuxParts) return 'this system has no transparent huge pages, or gyre no helper';
  try {
    const enabled = readFileSync(`${THP}/enabled`, 'utf8').trim();
    if (enabled.includes('[never]')) return `${THP}/enabled is never`;
    return Number(readFileSync(`${THP}/hpage_pmd_size`, 'utf8'));
  } catch (error) {
    return (error as Error).message;
  }
}

/** New memory for what `request` says. */
function createArena({ name, schema, hugePages }: ArenaRequest): ArenaHandle {
  const huge = hugePages ? hugePageBytes() : 0;
  const hugeBytes = typeof huge === 'number' ? huge : 0;
  const { places, bytes } = placeAll(
    schema,
    counterRows(),
    hugeBytes > 0 ? HUGE_COLOUR_BYTES : COLOUR_BYTES,
  );
  if (bytes > ARENA_BYTES_MAX) {
    throw new GyreError(
      'ERR_GYRE_ARENA_FULL',
      `arena ${JSON.stringify(name)} would have ${bytes} bytes; the most are ${ARENA_BYTES_MAX}`,
    );
  }
  const memory = allocate(bytes, Math.max(hugeBytes, COLOUR_BYTES), misalignmentOf);
  const { buffer, originBytes } = memory;
  const moved = Object.entries(places).map(([key, place]) => [
    key,
    { ...place, offsetBytes: place.offsetBytes + originBytes },
  ]);
  const given = { name, buffer, places: Object.fromEntries(moved) as Places, bytes };
  if (typeof huge === 'string') return { ...given, hugeBytes: 0, hugeReason: huge };
  if (!hugePages) return { ...given, hugeBytes: 0, hugeReason: null };
  try {
    const advised = adviseHuge(new Int32Array(buffer, originBytes), hugeBytes);
    const reason = advised === 0 ? `it is smaller than one of ${hugeBytes} bytes` : null;
    return { ...given, hugeBytes: advised, hugeReason: reason };
  } catch (error) {
    return { ...given, hugeBytes: 0, hugeReason: (error as Error).message };
  }
}

class Registry implements ArenaSource {
  readonly slot = null;
  readonly #arenas = new Map<string, { readonly asked: string; readonly handle: ArenaHandle }>();

  find(request: ArenaRequest): ArenaHandle {
    const { name } = request;
    const asked = JSON.stringify([request.schema, request.hugePages]);
    const known = this.#arenas.get(name);
    if (known !== undefined) {
      if (known.asked === asked) return known.handle;
      throw new GyreError(
        'ERR_GYRE_ARENA_CONFLICT',
        `arena ${JSON.stringify(name)} exists as ${known.asked}, and was asked for as ${asked}`,
      );
    }
    if (this.#arenas.size === ARENAS_MAX) {
      throw new GyreError('ERR_GYRE_ARENA_FULL', `there are ${ARENAS_MAX} arenas already`);
    }
    const handle = createArena(request);
    this.#arenas.set(name, { asked, handle });
    return handle;
  }
}

const KEY = Symbol.for('gyre.arenas');
const holder = globalThis as unknown as { [KEY]?: ArenaSource };

/** Called once, by the bootstrap of a worker, before any user code. */
export function setArenaSource(source: ArenaSource): void {
  Object.defineProperty(holder, KEY, { value: source });
}

/** @throws GyreError `ERR_GYRE_NO_RUNTIME` on a thread that is neither main nor a worker of gyre */
export function arenaSource(): ArenaSource {
  const known = holder[KEY];
  if (known !== undefined) return known;
  if (!isMainThread) {
    throw new GyreError(
      'ERR_GYRE_NO_RUNTIME',
      'arenas are made on the main thread and in workers; others are handed theirs: handleOf(), attach()',
    );
  }
  const registry = new Registry();
  setArenaSource(registry);
  return registry;
}
