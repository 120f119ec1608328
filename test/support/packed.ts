/** The package as npm publishes it, installed in a folder that knows nothing of this checkout. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

/** From dist/test/support. */
const ROOT = path.join(__dirname, '..', '..', '..');

/** What npm says when nobody answers, or nothing is reached. */
const UNREACHED =
  /\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED)\b/;

/** Runs a command to its end. */
export function command(name: string, args: readonly string[], cwd: string) {
  // tap preloads modules into whatever Node a test starts, which takes compilers three times as long.
  return spawnSync('env', ['-u', 'NODE_OPTIONS', name, ...args], { cwd, encoding: 'utf8' });
}

export interface Packed {
  readonly tarball: string;
  readonly bytes: number;
}

/** Packs what is built, with the addon for this platform, into `folder`. */
export function pack(folder: string): Packed {
  const args = ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder];
  const prebuilt = command(process.execPath, [path.join(ROOT, '.ci', 'prebuild.js')], ROOT);
  const packed = command('npm', args, ROOT);
  for (const { status, stderr } of [prebuilt, packed]) {
    if (status !== 0) throw new Error(`it is not packed:\n${stderr}`);
  }
  const tarball = path.join(folder, packed.stdout.trim());
  return { tarball, bytes: statSync(tarball).size };
}

/** Installs `tarball` in `folder` with its dependencies and no scripts; why not, if there is no registry. */
export function install(tarball: string, folder: string): string | null {
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=1'];
  const args = ['install', '--prefix', folder, '--ignore-scripts', ...quick, tarball];
  const { status, stderr } = command('npm', args, folder);
  if (status === 0) return null;
  if (UNREACHED.test(stderr)) return 'the npm registry is not reached';
  throw new Error(`npm install ended with ${status}:\n${stderr}`);
}

/** Files below `folder`, as paths from there. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** What npm wrote about one installed package. */
export interface Installed {
  /** Path from the folder, as `node_modules/gyre`. */
  readonly path: string;
  readonly hasInstallScript: boolean;
}

/** The packages that npm installed in `folder`. */
export function installed(folder: string): Installed[] {
  const file = path.join(folder, 'node_modules', '.package-lock.json');
  const { packages } = JSON.parse(readFileSync(file, 'utf8')) as {
    packages: Record<string, { hasInstallScript?: true }>;
  };
  return Object.entries(packages).map(([at, { hasInstallScript = false }]) => {
    return { path: at, hasInstallScript };
  });
}

/** Each installed package with the bytes of its files, largest first. */
export function sizes(folder: string): { name: string; bytes: number }[] {
  return installed(folder)
    .map(({ path: at }) => {
      const own = filesBelow(path.join(folder, at)).filter(
        (file) => !file.includes('node_modules'),
      );
      const bytes = own.map((file) => statSync(path.join(folder, at, file)).size);
      return { name: at.replace(/^.*node_modules\//, ''), bytes: bytes.reduce((a, b) => a + b, 0) };
    })
    .sort((a, b) => b.bytes - a.bytes);
}
