/**
 * The text of Linux's sysfs as values: numbers, lists of ids, sizes. Pure; any thread: whoever asks brings a
 * {@link Tree} that reads. Nothing in the text is trusted: what is missing, malformed or out of range is null.
 *
 * Source: the kernel's Documentation/ABI/{stable,testing}/sysfs-devices-system-cpu, sysfs-devices-node
 * and admin-guide/cputopology.rst.
 */

/** Where the text comes from. Paths are relative to sysfs's root; neither method throws. */
export interface Tree {
  /** The text of a file, or null if it cannot be read. */
  read(path: string): string | null;
  /** Names in a directory; none if it cannot be read. */
  list(path: string): readonly string[];
}

/** Most CPUs and memory nodes that Linux can be built for (x86 MAXSMP; NODES_SHIFT 10). */
export const CPUS_MAX = 8192;
export const NODES_MAX = 1024;

/** Directories of the CPUs and of the memory nodes. */
export const CPU = 'devices/system/cpu';
export const NODE = 'devices/system/node';

/** A whole number in [min, max] and nothing else; or null. */
export function integer(text: string | null, min: number, max: number): number | null {
  const found = text !== null && /^\s*(-?\d{1,15})\s*$/.exec(text);
  const value = found ? Number(found[1]) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

/**
 * Ids from 0 to `end` - 1 in the kernel's list format (`0-3,8`); null if malformed. The kernel's are
 * ascending, and to insist on that bounds what a long line can cost.
 */
export function idList(text: string | null, end: number): number[] | null {
  if (text === null) return null;
  const ids: number[] = [];
  const trimmed = text.trim();
  let next = 0;
  for (const range of trimmed === '' ? [] : trimmed.split(',')) {
    const found = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
    if (found === null) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (first < next || last < first) return null;
    next = last + 1;
    for (let id = first; id <= last && id < end; id++) ids.push(id);
  }
  return ids;
}

/** A size as sysfs writes it, `32K`. */
export function sizeBytes(text: string | null): number | null {
  const found = text !== null && /^\s*(\d{1,9})\s*([KMG]?)B?\s*$/i.exec(text);
  if (!found) return null;
  const power = ['', 'K', 'M', 'G'].indexOf(found[2]?.toUpperCase() ?? '');
  return Number(found[1]) * 1024 ** power;
}

/** The tree, read as the kinds of text that sysfs has. */
export class SysfsText {
  readonly #tree: Tree;
  /** Most CPUs name the same few sets. */
  readonly #lists = new Map<string, number[] | null>();

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  /** A file's text without the white space around it, or null. */
  text(path: string): string | null {
    return this.#tree.read(path)?.trim() ?? null;
  }

  integer(path: string, min: number, max: number): number | null {
    return integer(this.#tree.read(path), min, max);
  }

  /** CPU ids. */
  cpus(path: string): readonly number[] | null {
    const text = this.text(path);
    if (text === null) return null;
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    const ids = idList(text, CPUS_MAX);
    this.#lists.set(text, ids);
    return ids;
  }

  list(dir: string): readonly string[] {
    return this.#tree.list(dir);
  }

  /** Numbers from 0 to `end` - 1 of the names in `dir` that are `prefix` and a number. */
  numbered(dir: string, prefix: string, end: number): number[] {
    const ids = this.list(dir).flatMap((name) => {
      if (!name.startsWith(prefix)) return [];
      return integer(name.slice(prefix.length), 0, end - 1) ?? [];
    });
    return [...new Set(ids)].sort((a, b) => a - b);
  }

  /** A number from a CPU's `topology` directory; what has none is -1 or missing. */
  partId(cpu: number, file: string): number | null {
    return this.integer(`${CPU}/cpu${cpu}/topology/${file}`, 0, 2 ** 31 - 1);
  }
}
