/**
 * Where builds of the native helper are, and which of them is for this process. Any thread may
 * import it; it loads none of them.
 */
import path from 'node:path';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

/** The package's folder, from this file's place in dist/src. */
export const ROOT = path.join(__dirname, '..', '..');

/** What a checkout builds. A package has none. */
export const BUILT_FILE = path.join(ROOT, 'build', 'Release', 'gyre.node');

/** Under which threads inherit what the first one found out. */
const TARGET = 'gyre.target';

/**
 * What a build must fit: platform, architecture and, on Linux, the C library, say
 * `linux-x64-glibc`. Node's version does not matter (Node-API 8).
 *
 * The C library is asked for, and not found out by loading: with a compatibility layer on musl
 * a build for glibc may load, and be wrong about the layout of what the system fills in.
 */
export function target(): string {
  const known = getEnvironmentData(TARGET);
  if (typeof known === 'string') return known;
  // Not at the top: what it loads takes a thread 3 ms.
  const { familySync } = require('detect-libc') as typeof import('detect-libc');
  const libc = familySync();
  const found = `${process.platform}-${process.arch}${libc === null ? '' : `-${libc}`}`;
  setEnvironmentData(TARGET, found);
  return found;
}

/** Where the build for {@link target} is, if the package brought one or `gyre build` made one. */
export function prebuiltFile(): string {
  return path.join(ROOT, 'prebuilds', target(), 'gyre.node');
}

/** What may be loaded, best first. */
export function* candidates(): Generator<string> {
  yield BUILT_FILE;
  yield prebuiltFile();
}

/** What to do where none of them is there, or none loads. */
export function advice(): string {
  // The helper needs POSIX sockets.
  return process.platform === 'win32' ? '' : '; `npx gyre build` makes one';
}
