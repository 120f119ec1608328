/**
 * The modules of one simulated thread: those of the product, compiled by source.ts, and instead
 * of Node's and of the native helper what the simulation has for them.
 *
 * To load them all takes longer than what a thread then does. So those that keep nothing of their
 * thread from when they were loaded are loaded once for all threads and runs; what they find as
 * `process`, `node:net` and so on is that of the thread which runs at the moment.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { asynchronous, Later } from './jobs.js';
import { access, atomics, enter, value } from './points.js';
import { type Compiled, compile, type Edit, GLOBALS } from './source.js';

/** What a thread has under the names of {@link GLOBALS} and of modules. */
export interface Surroundings {
  readonly globals: Readonly<Record<string, unknown>>;
  /** By `node:NAME`, or by the path of a source below src/ that is not to be loaded. */
  readonly modules: Readonly<Record<string, unknown>>;
}

const HOOKS = {
  $access: access,
  $value: value,
  $enter: enter,
  $async: asynchronous,
  Atomics: atomics,
  Promise: Later,
};

/** What runs when it is loaded, or keeps something of the thread. */
const OWN = new Set([
  'arena-registry',
  ...['bootstrap', 'end', 'entry', 'governor-bootstrap', 'self', 'thread-process'].map(
    (name) => `workers/${name}`,
  ),
]);

const real = createRequire(__filename);

/** What `make` makes of `key`, once. */
function once<T>(known: Map<string, T>, key: string, make: () => T): T {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}

const builtins = new Map<string, unknown>();
const builtin = (request: string) => once(builtins, request, () => real(request));

const names = new Map<string, string>();

/** What a source in `directory` means by `request`. */
function resolved(directory: string, request: string): string {
  return once(names, `${directory} ${request}`, () =>
    path.posix.join(directory, request).replace(/\.js$/, ''),
  );
}

/** Sources after `edits`, and what all threads share of them. */
export class Sources {
  readonly #edits: readonly Edit[];
  readonly #compiled = new Map<string, Compiled>();
  /** What all threads share. */
  readonly shared: Realm;

  /** @param surroundings of what is shared */
  constructor(edits: readonly Edit[], surroundings: Surroundings) {
    this.#edits = edits;
    this.shared = new Realm(this, surroundings, null);
  }

  /** The modules of a new thread. */
  realm(surroundings: Surroundings): Realm {
    return new Realm(this, surroundings, this.shared);
  }

  compiled(name: string): Compiled {
    return once(this.#compiled, name, () => compile(name, this.#edits));
  }
}

export class Realm {
  readonly #sources: Sources;
  readonly #surroundings: Surroundings;
  readonly #shared: Realm | null;
  readonly #loaded = new Map<string, unknown>();
  readonly #globals: readonly unknown[];

  constructor(sources: Sources, surroundings: Surroundings, shared: Realm | null) {
    this.#sources = sources;
    this.#surroundings = surroundings;
    this.#shared = shared;
    const globals: Record<string, unknown> = { ...HOOKS, ...surroundings.globals };
    this.#globals = GLOBALS.map((name) => globals[name]);
  }

  /** The exports of `src/NAME.ts`. */
  load<Module>(name: string): Module {
    if (this.#shared !== null && !OWN.has(name)) return this.#shared.load(name);
    const known = this.#surroundings.modules[name] ?? this.#loaded.get(name);
    if (known !== undefined) return known as Module;
    const exports = {};
    this.#loaded.set(name, exports);
    const directory = path.posix.dirname(name);
    const require = (request: string) => this.#require(directory, request);
    require.resolve = (file: string) => file;
    const own = [exports, require, `/gyre/dist/src/${directory}`];
    this.#sources.compiled(name)(...own, ...this.#globals);
    return exports as Module;
  }

  #require(directory: string, request: string): unknown {
    if (request.startsWith('.')) return this.load(resolved(directory, request));
    return this.#surroundings.modules[request] ?? builtin(request);
  }
}
