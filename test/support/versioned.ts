/** Programs of test/fixtures/apps that say which version they are, or fail as they are told. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { folder } from './folder.js';

export interface Versioned {
  /** For the workers. */
  readonly env: { readonly PROGRAM: string };
  /** What they are from their next start on. */
  write(version: string | number): void;
}

/** Version 1. */
export function versioned(t: Test): Versioned {
  const file = path.join(folder(t), 'program');
  const write = (version: string | number) => writeFileSync(file, String(version));
  write(1);
  return { env: { PROGRAM: file }, write };
}
