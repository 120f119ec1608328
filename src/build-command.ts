/**
 * `gyre build`: compiles the native helper on this machine, where the package brings none that fits.
 *
 * What only this needs is no dependency of gyre: npm fetches it into a temporary folder, in the versions
 * that gyre itself is built with. Install scripts are not run, so nobody has to allow any.
 * Exit code 1: there is no new helper, and what there was before is as it was.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Command } from 'commander';
import { GyreError } from './errors.js';
import { prebuiltFile, ROOT, target } from './native-file.js';

const EXIT_FAILED = 1;

/** What the helper is built with, of gyre's devDependencies. */
const TOOLS = ['cmake-js', 'node-addon-api'] as const;

const NEEDS =
  'it needs npm and its registry, cmake 3.15 or later, make or ninja, and a C++17 compiler';

interface Manifest {
  readonly binary: object;
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** Runs a program in `cwd` to its end; what it prints is seen. */
function step(cwd: string, command: string, args: readonly string[]): void {
  const { status, signal, error } = spawnSync(command, args, { cwd, stdio: 'inherit' });
  if (status === 0) return;
  const name = path.basename(args[0]?.endsWith('cmake-js') ? args[0] : command);
  const how = error?.message ?? (signal ? `ended by ${signal}` : `ended with code ${status}`);
  throw new GyreError('ERR_GYRE_BUILD', `${name}: ${how}; ${NEEDS}`, { cause: error });
}

/** Compiles in `folder`, which is empty, and returns the file. */
function compile(folder: string): string {
  const manifest = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  const { binary, devDependencies } = JSON.parse(manifest) as Manifest;
  const tools = TOOLS.map((name) => [name, devDependencies[name]] as const);
  const project = { private: true, binary, dependencies: Object.fromEntries(tools) };
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(project));
  for (const part of ['native', 'CMakeLists.txt']) {
    cpSync(path.join(ROOT, part), path.join(folder, part), { recursive: true });
  }
  step(folder, 'npm', [
    'install',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
  ]);
  const cmakeJs = path.join(folder, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
  step(folder, process.execPath, [cmakeJs, 'compile']);
  return path.join(folder, 'build', 'Release', 'gyre.node');
}

/** Puts `file` where it is looked for, at once: servers that run have the old one mapped. */
function install(file: string): void {
  const place = prebuiltFile();
  mkdirSync(path.dirname(place), { recursive: true });
  const beside = `${place}.${process.pid}`;
  copyFileSync(file, beside);
  renameSync(beside, place);
}

function build(): void {
  if (process.platform === 'win32') {
    throw new GyreError('ERR_GYRE_BUILD', 'the native helper needs POSIX sockets');
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'gyre-build-'));
  try {
    const file = compile(folder);
    step(folder, process.execPath, ['-e', 'require(process.argv[1])', file]);
    install(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(`built for ${target()}: ${prebuiltFile()}\n`);
}

/** Adds the command to `program`. */
export function addBuildCommand(program: Command): void {
  program
    .command('build')
    .description('compile the native helper, where the package brings none for this machine')
    .addHelpText('after', `\nPrints where it is; ${NEEDS}.`)
    .action(() => {
      try {
        build();
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        process.stderr.write(`gyre: ${code ?? 'error'}: ${message}\n`);
        process.exitCode = EXIT_FAILED;
      }
    });
}
