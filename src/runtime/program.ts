/**
 * What workers run: an entry, in an environment. While a reload goes over them some have the next entry
 * already. Main thread only.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { GyreError } from '../errors.js';
import type { JobNames } from '../job-request.js';
import type { ResolvedOptions } from './resolved-options.js';

export class Program {
  #entry: string;
  /** What those run that a reload has replaced, or is replacing: by their numbers. */
  readonly #reloaded = new Map<number, string>();

  constructor(entry: string) {
    this.#entry = entry;
  }

  /** What a new thread of worker `index` runs. */
  entryOf(index: number): string {
    return this.#reloaded.get(index) ?? this.#entry;
  }

  /**
   * Worker `index` is about to be reloaded. Only from here on does it run the next program when it dies:
   * that may not even start.
   *
   * @param entry null: as before
   */
  reloads(index: number, entry: string | null): void {
    this.#reloaded.set(index, entry ?? this.#entry);
  }

  /** Every worker was reloaded: whoever starts from here on runs `entry`. */
  adopt(entry: string): void {
    this.#entry = entry;
  }

  /** A reload is over, whatever came of it. */
  endReload(): void {
    this.#reloaded.clear();
  }
}

/** This process's environment with `changes`. A thread would take `undefined` for a text. */
export function environmentWith(changes: ResolvedOptions['env']): NodeJS.ProcessEnv {
  const all = Object.entries({ ...process.env, ...changes });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}

/** @throws GyreError `ERR_GYRE_ENTRY_MISSING` */
export async function checkEntry(entry: string): Promise<void> {
  try {
    // As node resolves its main module: with extensions and index files.
    await access(require.resolve(entry), constants.R_OK);
  } catch (cause) {
    throw new GyreError(
      'ERR_GYRE_ENTRY_MISSING',
      `the entry does not exist or cannot be read: ${entry}`,
      { cause },
    );
  }
}

/** @throws GyreError `ERR_GYRE_JOB_UNKNOWN` */
export async function checkJobFiles(jobs: JobNames): Promise<void> {
  for (const [name, { file }] of Object.entries(jobs)) {
    try {
      await access(file, constants.R_OK);
    } catch (cause) {
      throw new GyreError(
        'ERR_GYRE_JOB_UNKNOWN',
        `the file of job ${JSON.stringify(name)} does not exist or cannot be read: ${file}`,
        { cause },
      );
    }
  }
}
