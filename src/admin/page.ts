/**
 * The live page: three files as they are, read when somebody looks at it. They hold nothing of this
 * runtime: what is shown, the page asks the endpoint for. Main thread only.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Answer } from './answer.js';

/** From this file's place in dist/src/admin. */
const FOLDER = path.join(__dirname, '..', '..', '..', 'src', 'admin', 'page');

/** Nothing from anywhere else, nothing inline, and in nobody's frame. */
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"],
  ...['img-src data:', "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

function served(name: string, type: string): () => Promise<Answer> {
  return async () => ({
    ...{ status: 200, type: `${type}; charset=utf-8` },
    body: await readFile(path.join(FOLDER, name), 'utf8'),
    headers: { 'content-security-policy': POLICY, 'referrer-policy': 'no-referrer' },
  });
}

/** Path and handler of each. */
export const PAGE = [
  ['/', served('index.html', 'text/html')],
  ['/page.css', served('page.css', 'text/css')],
  ['/page.js', served('page.js', 'text/javascript')],
] as const;
