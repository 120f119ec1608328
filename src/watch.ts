/**
 * Notices that a program's files have changed: for `gyre run --watch`.
 */
import { watch } from 'node:fs';
import path from 'node:path';

/** Editors write a file in several steps. No evidence for more or less. */
const QUIET_MS = 100;

/** What programs write themselves, or do not consist of. */
const IGNORED = /(?:^|[\\/])(?:node_modules|\.[^\\/]+)(?:[\\/]|$)/;

/**
 * Calls `changed` some 100 ms after a file in the directory of `entry`, or below it, has changed.
 * Packages and hidden files are ignored. Calls `failed` when something there cannot be watched; the rest is.
 */
export function watchBeside(
  entry: string,
  changed: () => void,
  failed: (error: Error) => void,
): void {
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(path.dirname(path.resolve(entry)), { recursive: true }, (_, file) => {
    if (file !== null && IGNORED.test(file)) return;
    clearTimeout(timer);
    timer = setTimeout(changed, QUIET_MS);
  });
  watcher.on('error', failed);
}
