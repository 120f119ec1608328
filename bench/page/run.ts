/**
 * Makes docs/benchmarks.md, its charts and the figures in the README of the results in
 * docs/benchmarks: `npm run bench:report`. With --check it changes nothing, and ends with code 1 if
 * any of them is of other results. --root is another folder than the repository's.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { CannotRun, runOrSay } from '../failures.js';
import type { Report } from '../report.js';
import { ROOT } from '../root.js';
import { FOLDER, filesOf, isKnown } from './page.js';
import type { Reports } from './reading.js';

/** @throws CannotRun when something there is no result. */
function readResults(folder: string): Reports {
  if (!existsSync(folder)) return new Map();
  const names = readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();
  return new Map(
    names.map((name) => {
      if (!isKnown(name)) throw new CannotRun(`${FOLDER}/${name}.json is of no known benchmark`);
      try {
        return [
          name,
          JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8')) as Report,
        ];
      } catch (error) {
        throw new CannotRun(`${FOLDER}/${name}.json: ${(error as Error).message}`);
      }
    }),
  );
}

/** Charts that are there and should not be. */
function strayCharts(root: string, files: ReadonlyMap<string, string>): string[] {
  const folder = path.join(root, FOLDER);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.svg'))
    .map((file) => `${FOLDER}/${file}`)
    .filter((file) => !files.has(file));
}

async function main(): Promise<void> {
  const options = { check: { type: 'boolean' }, root: { type: 'string' } } as const;
  let given: { check?: boolean; root?: string };
  try {
    given = parseArgs({ options }).values;
  } catch (error) {
    throw new CannotRun((error as Error).message, 2);
  }
  const { check = false, root = ROOT } = given;
  const fileIn = (file: string) => path.join(root, file);
  const reports = readResults(fileIn(FOLDER));
  const files = filesOf(reports, readFileSync(fileIn('README.md'), 'utf8'));
  const stale = [...files].filter(
    ([file, content]) =>
      !existsSync(fileIn(file)) || readFileSync(fileIn(file), 'utf8') !== content,
  );
  const stray = strayCharts(root, files);
  if (check) {
    const wrong = [...stale.map(([file]) => file), ...stray];
    if (wrong.length > 0) throw new CannotRun(`of other results: ${wrong.join(', ')}`);
    return;
  }
  for (const [file, content] of stale) {
    mkdirSync(path.dirname(fileIn(file)), { recursive: true });
    writeFileSync(fileIn(file), content);
    process.stdout.write(`${file}\n`);
  }
  for (const file of stray) rmSync(fileIn(file));
  if (reports.size === 0) throw new CannotRun(`there are no results in ${FOLDER}`);
}

runOrSay('report', main);
