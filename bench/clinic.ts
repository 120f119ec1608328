/**
 * Profiles a server under gyre with Clinic.js: `clinic.js doctor|flame|heap [SERVER]`. Ends by itself, and
 * prints the path of the report.
 *
 * Clinic knows one thread, so gyre runs inline. It is fetched by npx at one version, and no dependency:
 * it is some 700 packages.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const CLINIC = 'clinic@13.0.0';
/** Its tools by our names. bubbleprof is left out: docs/operating.md says why. */
const TOOLS: Readonly<Record<string, string>> = {
  doctor: 'doctor',
  flame: 'flame',
  heap: 'heapprofiler',
};
/** What autocannon, which clinic brings, does: 10 connections for 5 s. */
const LOAD = ['[', '-c', '10', '-d', '5', '/', ']'];
const ROOT = path.join(__dirname, '..', '..');
const CLI = path.join(ROOT, 'dist', 'src', 'cli.js');
const HELLO = path.join(ROOT, 'examples', 'hello.js');

async function main([name = '', entry = HELLO]: readonly string[]): Promise<number> {
  const tool = TOOLS[name];
  if (tool === undefined) {
    process.stderr.write(`clinic: doctor, flame or heap, not ${JSON.stringify(name)}\n`);
    return 2;
  }
  const server = [process.execPath, CLI, 'run', entry, '--workers', 'inline'];
  const child = spawn(
    'npx',
    ['--yes', CLINIC, tool, '--open=false', '--autocannon', ...LOAD, '--', ...server],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      // It asks to send statistics otherwise; port 0: any that is free.
      env: { PORT: '0', ...process.env, NO_INSIGHT: '1' },
    },
  );
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    process.stdout.write(text);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  const url = /file:\/\/\S+\.html/.exec(said)?.[0];
  if (code !== 0 || url === undefined) {
    process.stderr.write(`clinic ${tool} left no report\n`);
    return 1;
  }
  const report = fileURLToPath(url);
  readFileSync(report); // it is there
  process.stdout.write(`${report}\n`);
  return 0;
}

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
