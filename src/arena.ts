/**
 * `gyre/arena`: counters and records in memory that all workers share, laid out so that they do not
 * slow each other down.
 *
 *     const { hits, clients } = arena('api', {
 *       hits: counter(),
 *       clients: records(10_000, { tokens: 'int32', refilledNs: 'int64' }),
 *     });
 *     hits.add(1);
 *
 * Whoever asks for a name first makes the arena, and everybody gets the same: a worker asks the main
 * thread and waits for the answer. It lives as long as the process, through reloads and restarts,
 * and so does what is in it.
 *
 * @module gyre/arena
 */
import { threadId } from 'node:worker_threads';
import { type ArenaHandle, type ArenaRequest, arenaSource } from './arena-registry.js';
import { isPlainObject, mustBe, optionsOf } from './option-checks.js';
import {
  type CounterPlace,
  type CounterSpec,
  FIELD_BYTES,
  type FieldType,
  type RecordsPlace,
  type RecordsSpec,
  type Schema,
} from './scheduler/arena.js';
import { ROW_BYTES } from './scheduler/layout.js';

export type { ArenaHandle, CounterSpec, FieldType, RecordsSpec, Schema };

const NAME_MAX = 200;
const ENTRIES_MAX = 256;
const COUNT_MAX = 2 ** 24;
/** What is touched at a time; a larger page is touched more than once. */
const PAGE_BYTES = 4_096;

/** A number that all threads add to: each in a row of its own, so adding is never contended. */
export class Counter {
  readonly #words: BigInt64Array;
  readonly #row: number;
  readonly #rows: number;

  /** @internal */
  constructor({ buffer }: ArenaHandle, { offsetBytes, rows }: CounterPlace, row: number) {
    this.#rows = rows;
    this.#words = new BigInt64Array(buffer, offsetBytes, (rows * ROW_BYTES) / 8);
    this.#row = (row * ROW_BYTES) / 8;
  }

  /** Adds an integer, which may be negative. Wait-free. */
  add(by: number | bigint = 1): void {
    Atomics.add(this.#words, this.#row, by === 1 ? 1n : BigInt(by));
  }

  /**
   * The sum of all that was added, exact up to 2^53. What is added while it is read may be in it or
   * not.
   */
  get value(): number {
    let sum = 0n;
    for (let row = 0; row < this.#rows; row++) {
      sum += Atomics.load(this.#words, (row * ROW_BYTES) / 8);
    }
    return Number(sum);
  }
}

/** One field of all records. Everything but a `float64`'s is one atomic operation. */
export interface Field<Value> {
  /** The value of one record, from 0 on. @throws RangeError if there is no such record */
  get(record: number): Value;
  /** Replaces it. @throws RangeError if there is no such record */
  set(record: number, value: Value): void;
}

/** A field that any number of threads may change. */
export interface IntegerField<Value> extends Field<Value> {
  /** Returns what was there before. Wraps around. */
  add(record: number, by: Value): Value;
  /** Returns what was there before. */
  exchange(record: number, value: Value): Value;
  /** Puts `value` in the place of `expected`, and returns what was there: it, if that was done. */
  compareExchange(record: number, expected: Value, value: Value): Value;
}

/** What a field of this type can do: an `int64` has bigints, and a `float64` is for one writer. */
export type FieldOf<Type extends FieldType> = Type extends 'int64'
  ? IntegerField<bigint>
  : Type extends 'float64'
    ? Field<number>
    : IntegerField<number>;

/** Where a field of each record is, in elements of its size. */
class Positions {
  readonly #first: number;
  readonly #stride: number;
  readonly #shift: number;
  readonly #skew: number;
  readonly #count: number;

  constructor(
    { offsetBytes, strideBytes, skewShift, count }: RecordsPlace,
    at: number,
    of: number,
  ) {
    this.#first = (offsetBytes + at) / of;
    this.#stride = strideBytes / of;
    this.#skew = ROW_BYTES / of;
    this.#shift = skewShift;
    this.#count = count;
  }

  /** @throws RangeError */
  of(record: number): number {
    // Also what is no integer, or negative.
    if (record >>> 0 !== record || record >= this.#count) {
      throw new RangeError(`there are records 0 to ${this.#count - 1}, and not ${record}`);
    }
    return this.#first + record * this.#stride + (record >>> this.#shift) * this.#skew;
  }
}

class NumberField implements IntegerField<number> {
  readonly #view: Int32Array | Uint32Array;
  readonly #at: Positions;

  constructor(view: Int32Array | Uint32Array, at: Positions) {
    this.#view = view;
    this.#at = at;
  }

  get(record: number): number {
    return Atomics.load(this.#view, this.#at.of(record));
  }
  set(record: number, value: number): void {
    Atomics.store(this.#view, this.#at.of(record), value);
  }
  add(record: number, by: number): number {
    return Atomics.add(this.#view, this.#at.of(record), by);
  }
  exchange(record: number, value: number): number {
    return Atomics.exchange(this.#view, this.#at.of(record), value);
  }
  compareExchange(record: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.#view, this.#at.of(record), expected, value);
  }
}

class BigField implements IntegerField<bigint> {
  readonly #view: BigInt64Array;
  readonly #at: Positions;

  constructor(view: BigInt64Array, at: Positions) {
    this.#view = view;
    this.#at = at;
  }

  get(record: number): bigint {
    return Atomics.load(this.#view, this.#at.of(record));
  }
  set(record: number, value: bigint): void {
    Atomics.store(this.#view, this.#at.of(record), value);
  }
  add(record: number, by: bigint): bigint {
    return Atomics.add(this.#view, this.#at.of(record), by);
  }
  exchange(record: number, value: bigint): bigint {
    return Atomics.exchange(this.#view, this.#at.of(record), value);
  }
  compareExchange(record: number, expected: bigint, value: bigint): bigint {
    return Atomics.compareExchange(this.#view, this.#at.of(record), expected, value);
  }
}

class FloatField implements Field<number> {
  readonly #view: Float64Array;
  readonly #at: Positions;

  constructor(view: Float64Array, at: Positions) {
    this.#view = view;
    this.#at = at;
  }

  get(record: number): number {
    return this.#view[this.#at.of(record)] as number;
  }
  set(record: number, value: number): void {
    this.#view[this.#at.of(record)] = value;
  }
}

function fieldOf(
  type: FieldType,
  buffer: SharedArrayBuffer,
  at: Positions,
): Field<number> | Field<bigint> {
  switch (type) {
    case 'int32':
      return new NumberField(new Int32Array(buffer), at);
    case 'uint32':
      return new NumberField(new Uint32Array(buffer), at);
    case 'int64':
      return new BigField(new BigInt64Array(buffer), at);
    case 'float64':
      return new FloatField(new Float64Array(buffer), at);
  }
}

/** Fields by name, and their types. */
export type Fields = Readonly<Record<string, FieldType>>;

/** Equal records, numbered from 0. */
export class Records<F extends Fields = Fields> {
  /** How many there are. */
  readonly count: number;
  /** By name. */
  readonly fields: { readonly [Name in keyof F]: FieldOf<F[Name]> };
  readonly #words: Int32Array;
  readonly #place: RecordsPlace;

  /** @internal */
  constructor({ buffer }: ArenaHandle, place: RecordsPlace) {
    this.count = place.count;
    this.#place = place;
    this.#words = new Int32Array(buffer);
    const fields = Object.entries(place.fields).map(([name, { type, at }]) => [
      name,
      fieldOf(type, buffer, new Positions(place, at, FIELD_BYTES[type])),
    ]);
    this.fields = Object.freeze(Object.fromEntries(fields));
  }

  /**
   * Has the system provide the memory of `count` records from `first` on, on the memory node of the
   * calling thread; it is not changed. For the thread that will own these records, before
   * anybody uses them: whoever touches a page first decides where it is.
   *
   * @throws RangeError
   */
  touch(first = 0, count = this.count - first): void {
    if (!(first >= 0 && count >= 0 && first + count <= this.count)) {
      throw new RangeError(`there are records 0 to ${this.count - 1}`);
    }
    if (count === 0) return;
    const words = new Positions(this.#place, 0, 4);
    const end = words.of(first + count - 1) + this.#place.strideBytes / 4;
    for (let at = words.of(first); at < end; at += PAGE_BYTES / 4) Atomics.or(this.#words, at, 0);
    Atomics.or(this.#words, end - 1, 0);
  }
}

/** What {@link arena} gives for a schema. */
export type Shared<S extends Schema> = {
  readonly [Name in keyof S]: S[Name] extends RecordsSpec<infer F> ? Records<F> : Counter;
};

/** In a schema: a {@link Counter}. Takes 128 bytes for each row, of which it has two for each CPU. */
export function counter(): CounterSpec {
  return { kind: 'counter' };
}

/** Options of {@link records}. */
export interface RecordsOptions {
  /**
   * Whether records follow each other closely. Else each has 128 bytes, or a multiple, to itself:
   * for records that different threads write. Default false.
   */
  packed?: boolean;
}

/**
 * In a schema: `count` records, 1 to 16,777,216, of these fields. `int32`, `uint32` and `int64`, a
 * bigint, may be changed by any thread. A `float64` is for one writer.
 *
 * @throws GyreError `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
 */
export function records<const F extends Fields>(
  count: number,
  fields: F,
  options: RecordsOptions = {},
): RecordsSpec<F> {
  if (!Number.isInteger(count) || count < 1 || count > COUNT_MAX) {
    return mustBe('the number of records', `an integer from 1 to ${COUNT_MAX}`);
  }
  if (!isPlainObject(fields) || Object.keys(fields).length === 0) {
    return mustBe('the fields of records', 'an object with a type for each name');
  }
  if (Object.keys(fields).length > ENTRIES_MAX) {
    return mustBe('the fields of records', `${ENTRIES_MAX} at most`);
  }
  for (const [name, type] of Object.entries(fields)) {
    if (Object.hasOwn(FIELD_BYTES, type)) continue;
    return mustBe(`field ${JSON.stringify(name)}`, `one of ${Object.keys(FIELD_BYTES).join(', ')}`);
  }
  const { packed = false } = optionsOf('records()', options, ['packed']);
  if (typeof packed !== 'boolean') return mustBe('option packed of records()', 'a boolean');
  return { kind: 'records', count, fields: { ...fields }, packed };
}

/** Options of {@link arena}. */
export interface ArenaOptions {
  /**
   * Whether to ask for huge pages, which spare the processor looking up addresses where records are
   * used at random over many MB. The system provides 2 MB, or so, where one byte is touched.
   * `handleOf()` tells whether it did, and why not. Default false.
   */
  hugePages?: boolean;
}

function requestOf(name: unknown, schema: unknown, options: object): ArenaRequest {
  if (typeof name !== 'string' || name === '' || name.length > NAME_MAX) {
    return mustBe('the name of an arena', `a string of 1 to ${NAME_MAX} characters`);
  }
  const entries = isPlainObject(schema) ? Object.entries(schema) : [];
  if (entries.length === 0 || entries.length > ENTRIES_MAX) {
    return mustBe('a schema', `an object with 1 to ${ENTRIES_MAX} names`);
  }
  for (const [key, spec] of entries) {
    const { kind } = (spec ?? {}) as Partial<CounterSpec | RecordsSpec>;
    if (kind === 'counter' || kind === 'records') continue;
    return mustBe(`${JSON.stringify(key)} in a schema`, 'what counter() or records() returns');
  }
  const { hugePages = false } = optionsOf('arena()', options, ['hugePages']);
  if (typeof hugePages !== 'boolean') return mustBe('option hugePages of arena()', 'a boolean');
  return { name, schema: schema as Schema, hugePages };
}

const handles = new WeakMap<object, ArenaHandle>();

/**
 * The arena of this name: made when it is asked for first, by whatever thread, and the same for all.
 * In a worker this waits for the main thread. Its memory is never given back; a process has 256
 * arenas at most, each of 1 GiB at most.
 *
 * @param schema what is in it. Everybody has to ask for the same; new code with another schema needs
 *   another name
 * @throws GyreError `ERR_GYRE_ARENA_CONFLICT` if it exists with another schema,
 *   `ERR_GYRE_ARENA_FULL` if it would be too large or there are too many, `ERR_GYRE_NO_RUNTIME` on other
 *   threads than the main one and workers, `ERR_GYRE_OPTION_INVALID`, `ERR_GYRE_OPTION_UNKNOWN`
 */
export function arena<S extends Schema>(
  name: string,
  schema: S,
  options: ArenaOptions = {},
): Shared<S> {
  return attach<S>(arenaSource().find(requestOf(name, schema, options)));
}

/** What makes an arena usable in any other thread: send it there, and {@link attach} it. */
export function handleOf(shared: Shared<Schema>): ArenaHandle {
  const handle = handles.get(shared);
  if (handle === undefined) return mustBe('the argument of handleOf()', 'what arena() returned');
  return handle;
}

/** The arena of a handle, as for a job or a thread of one's own. */
export function attach<S extends Schema = Schema>(handle: ArenaHandle): Shared<S> {
  const parts = Object.entries(handle.places).map(([name, place]) => [
    name,
    place.kind === 'counter'
      ? new Counter(handle, place, rowIn(place))
      : new Records(handle, place),
  ]);
  const shared = Object.freeze(Object.fromEntries(parts)) as Shared<S>;
  handles.set(shared, handle);
  return shared;
}

/** Where this thread adds: workers next to each other, others anywhere behind the first row. */
function rowIn({ rows }: CounterPlace): number {
  let slot: number | null = threadId;
  try {
    slot = arenaSource().slot;
  } catch {
    // a thread that was handed its arena
  }
  return slot === null ? 0 : 1 + (slot % (rows - 1));
}
