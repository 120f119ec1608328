/**
 * `npm run docs:drawings`: writes the drawings of docs/ beside their sources. A test says when one
 * is older than its source.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { move } from './move.js';
import { request } from './request.js';
import { safepoint } from './safepoint.js';
import { sequence } from './sequence.js';
import { threads } from './threads.js';

/** By file name, without its ending. */
export const DRAWINGS: Readonly<Record<string, string>> = {
  threads,
  request: sequence(request),
  move: sequence(move),
  safepoint: sequence(safepoint),
};

/** From dist/docs/drawings. */
export const FOLDER = path.join(__dirname, '..', '..', '..', 'docs', 'drawings');

if (require.main === module) {
  for (const [name, svg] of Object.entries(DRAWINGS)) {
    writeFileSync(path.join(FOLDER, `${name}.svg`), svg);
  }
}
