/** Folders that end with their tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

/** A new one. Its name is short: the address of a Unix socket has few bytes, and tap's own folders use them up. */
export function folder(t: Test): string {
  const created = mkdtempSync(path.join(os.tmpdir(), 'gyre-'));
  t.teardown(() => rmSync(created, { recursive: true, force: true }));
  return created;
}
