import path from 'node:path';

/** The repository's folder, seen from dist/bench. */
export const ROOT = path.join(__dirname, '..', '..');
