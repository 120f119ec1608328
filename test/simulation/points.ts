/**
 * Where a simulated thread can be stopped. The compiled sources call these before each access to
 * shared memory and at the entry of each function; the native calls of native.ts do so, too. As
 * long as nothing is to happen that is a decrement.
 */

/** What a point is: whether V8 could end the thread there, or only another thread run. */
export type Point = 'enter' | 'access' | 'value' | 'call';

export const points = {
  /** Points from here until something happens. */
  left: Number.POSITIVE_INFINITY,
  /** It happens. */
  reached: (_: Point): void => {},
  /** The running thread waits for `words[at]` to be something else than `value`. */
  wait: (_words: Int32Array, _at: number, _value: number, _ms: number): void => {},
};

export function point(kind: Point): void {
  if (--points.left <= 0) points.reached(kind);
}

export const enter = (): void => point('enter');
export const access = (): void => point('access');
/** Between the computation of a value and its store nobody is ended: there is no call. */
export const value = <T>(computed: T): T => {
  point('value');
  return computed;
};

type Words = Int32Array<SharedArrayBuffer>;

/** What the sources find under `Atomics`. */
export const atomics = {
  load: (words: Words, at: number) => {
    point('access');
    return Atomics.load(words, at);
  },
  store: (words: Words, at: number, to: number) => {
    point('access');
    return Atomics.store(words, at, to);
  },
  add: (words: Words, at: number, by: number) => {
    point('access');
    return Atomics.add(words, at, by);
  },
  sub: (words: Words, at: number, by: number) => {
    point('access');
    return Atomics.sub(words, at, by);
  },
  or: (words: Words, at: number, bits: number) => {
    point('access');
    return Atomics.or(words, at, bits);
  },
  exchange: (words: Words, at: number, to: number) => {
    point('access');
    return Atomics.exchange(words, at, to);
  },
  compareExchange: (words: Words, at: number, from: number, to: number) => {
    point('access');
    return Atomics.compareExchange(words, at, from, to);
  },
  notify: () => 0,
  wait: (words: Words, at: number, seen: number, ms: number) => {
    points.wait(words, at, seen, ms);
    return 'ok';
  },
};
