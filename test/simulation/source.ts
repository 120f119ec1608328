/**
 * The product's own sources, compiled so that a simulation can stop them: before each access
 * to shared memory, where another thread may run; and where V8 ends a thread that is terminated,
 * at the entry of a function and at each turn of a loop. Promises and `await` become those of
 * jobs.ts, whose jobs belong to a thread. Nothing else is changed, and the product carries
 * nothing for it.
 */
import { createRequire } from 'node:module';

/** Replaces the one place where `from` occurs in a source: a mutant, or a smaller constant. */
export interface Edit {
  /** Below src/, without extension. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/**
 * What a source finds instead of the globals of its thread. `$access` is called before shared
 * memory is accessed, `$enter` at the entry of a function and in each turn of a loop; `$async`
 * runs what was an async function.
 */
export const GLOBALS = [
  ...['$access', '$value', '$enter', '$async'],
  ...['Atomics', 'Promise', 'Math', 'process', 'performance', 'queueMicrotask', 'globalThis'],
  ...['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate'],
] as const;

/** What each source has for itself, and gets first. */
const OWN = ['exports', 'require', '__dirname'] as const;

export type Compiled = (...globals: unknown[]) => void;

const load = createRequire(__filename);

/** What was compiled, by {@link keyOf}: to compile all sources takes two seconds. */
export const texts = new Map<string, string>();
/** The same as functions. */
const functions = new Map<string, Compiled>();

/** `name` after `edits`, which are for it. */
function keyOf(name: string, edits: readonly Edit[]): string {
  return edits.length === 0 ? name : `${name} ${JSON.stringify(edits)}`;
}

/** `src/NAME.ts` as JavaScript, after those of `edits` that are for it. */
export function textOf(name: string, edits: readonly Edit[]): [key: string, text: string] {
  const own = edits.filter(({ file }) => file === name);
  const key = keyOf(name, own);
  let text = texts.get(key);
  if (text === undefined) {
    const { transpile } = load('./transpile.js') as typeof import('./transpile.js');
    text = transpile(name, own);
    texts.set(key, text);
  }
  return [key, text];
}

/** The same as a function. */
export function compile(name: string, edits: readonly Edit[]): Compiled {
  const [key, text] = textOf(name, edits);
  let compiled = functions.get(key);
  if (compiled === undefined) {
    // In a block, because a source may declare what it also gets.
    const source = `'use strict'; {\n${text}\n}\n//# sourceURL=simulated/${name}.js`;
    compiled = new Function(...OWN, ...GLOBALS, source) as Compiled;
    functions.set(key, compiled);
  }
  return compiled;
}
