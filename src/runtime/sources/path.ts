/**
 * A source that fires when what is at a path changes: fs.watch(). Main thread only.
 *
 * It collects what is seen in one turn of the loop, and while a firing has not settled, so that one
 * firing tells of it all.
 */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { GyreError } from '../../errors.js';
import {
  invalidOption,
  type PathChange,
  type PathFiring,
  resolveHandling,
  sourceOptions,
} from '../../events.js';
import { SourceBase, type SourceContext } from './source.js';

/** Changes that one firing lists; of others it has the number. A bound on memory. */
const CHANGES_MAX = 1_000;

function notWatched(path: string, cause: unknown): GyreError {
  const { errno, syscall, message } = cause as NodeJS.ErrnoException;
  return new GyreError('ERR_GYRE_SOURCE_PATH', `${path} cannot be watched: ${message}`, {
    cause,
    ...(errno !== undefined && { errno }),
    ...(syscall !== undefined && { syscall }),
  });
}

export class Path extends SourceBase {
  readonly #path: string;
  readonly #watcher: FSWatcher;
  #changes: PathChange[] = [];
  #more = 0;
  #collecting: NodeJS.Immediate | undefined;

  constructor(path: unknown, options: unknown, context: SourceContext) {
    const where = 'sources.path()';
    if (typeof path !== 'string' || path === '' || path.includes('\0')) {
      invalidOption(where, 'the path', 'a string that is not empty and has no NUL');
    }
    const given = sourceOptions(where, options, ['name', 'recursive']);
    const { recursive = false } = given;
    if (typeof recursive !== 'boolean') invalidOption(where, 'recursive', 'a boolean');
    const name = context.freeName(given.name ?? path);
    const handling = resolveHandling(where, given, false);
    let watcher: FSWatcher;
    try {
      statSync(path); // watching below it would find out later, in some lines of node
      watcher = watch(path, { recursive, persistent: false });
    } catch (cause) {
      throw notWatched(path, cause);
    }
    super('path', name, handling, context);
    this.#path = path;
    this.#watcher = watcher;
    watcher.on('change', (type, file) => this.#seen(type as PathChange['type'], file));
    watcher.on('error', (cause) => {
      if (this.closed) return;
      this.report(null, 1, notWatched(path, cause), undefined);
      this.end();
    });
  }

  protected override free(): void {
    if (this.#changes.length > 0) this.#collect();
  }

  protected override stop(): void {
    clearImmediate(this.#collecting);
    this.#watcher.close();
  }

  #seen(type: PathChange['type'], name: string | Buffer | null): void {
    if (this.closed) return;
    const file = name === null ? null : String(name);
    const last = this.#changes.at(-1);
    if (last === undefined || last.type !== type || last.file !== file) {
      if (this.#changes.length < CHANGES_MAX) this.#changes.push({ type, file });
      else this.#more++;
    }
    if (!this.busy) this.#collect();
  }

  #collect(): void {
    this.#collecting ??= setImmediate(() => {
      this.#collecting = undefined;
      if (this.busy) return; // free() says when
      const payload: PathFiring = { path: this.#path, changes: this.#changes, more: this.#more };
      this.#changes = [];
      this.#more = 0;
      this.fire(payload);
    });
  }
}
