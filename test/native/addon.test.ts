/**
 * The addon, built with sanitizers, under its own tests.
 *
 * node itself has none, so their runtime is preloaded, and:
 *
 * - leaks are not looked for, because node frees little at its end and is on every stack
 *   of ours (the trials look for them);
 * - ThreadSanitizer is told to overlook what node does. It knows of no order that node's
 *   own atomics make, and is silent all the same: between two threads in the addon
 *   the order comes from the addon. It also keeps a signal back while a thread is
 *   in read(2), so that whoever stalls there cannot be paused, and stalls are left to
 *   AddressSanitizer.
 *
 * Each build must first report a mistake that is made on purpose, or it shows nothing.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { ROOT } from '../support/app.js';
import { absent, type Outcome, outcome, type Sanitizer } from './trials.js';

t.setTimeout(600_000);

interface Build {
  readonly sanitizer: Sanitizer;
  readonly folder: string;
  readonly cmakeOption: string;
  readonly library: string;
  readonly options: NodeJS.ProcessEnv;
  /** A program with one mistake, and what must be said of it. */
  readonly mistake: string;
  readonly report: RegExp;
  /** Test files, and the subtests of each, or none for all. */
  readonly tests: readonly (readonly [file: string, only?: string])[];
}

/** Loads the addon, and has what it takes for shared memory: a `table` of two entries, `mail`. */
const LOAD = `
  const addon = require(process.env.GYRE_NATIVE);
  const table = { words: new Int32Array(64), layout: new Int32Array(12).fill(32) };
  const mail = { words: new Int32Array(64), layout: new Int32Array(16) };`;

const BUILDS: readonly Build[] = [
  {
    sanitizer: 'address',
    folder: 'build/asan',
    cmakeOption: '--CDENABLE_ASAN=ON',
    library: 'libasan.so',
    options: { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' },
    // A table layout of one word, where the addon reads twelve.
    mistake: `${LOAD}
      table.layout = new Int32Array(new ArrayBuffer(4));
      addon.peek(0, 0, { table, mail }, new Int32Array(4));`,
    report: /heap-buffer-overflow[\s\S]*TableOf/,
    tests: [
      ['dist/test/native.test.js'],
      ['dist/test/moving/rescue.test.js', 'whatever a worker stands still in'],
    ],
  },
  {
    sanitizer: 'thread',
    folder: 'build/tsan',
    cmakeOption: '--CDENABLE_TSAN=ON',
    library: 'libtsan.so',
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1' },
    // Two threads let the addon write to the same words.
    mistake: `${LOAD}
      const { isMainThread, Worker, workerData } = require('node:worker_threads');
      const out = isMainThread ? new Int32Array(new SharedArrayBuffer(16)) : workerData;
      if (isMainThread) new Worker(__filename, { workerData: out });
      for (let i = 0; i < 200_000; i++) addon.peek(0, 0, { table, mail }, out);`,
    report: /data race[\s\S]*PeekOf/,
    tests: [['dist/test/native.test.js']],
  },
];

function preload({ sanitizer, library }: Build): { file: string; skip: string | false } {
  const skip = absent(sanitizer);
  if (skip) return { file: '', skip };
  const file = execFileSync('c++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim();
  return { file, skip: !path.isAbsolute(file) && `the C++ compiler has no shared ${library}` };
}

/** Runs node on `args` with the sanitizer, and returns also what it reported, in any process. */
async function node(
  t: Test,
  build: Build,
  library: string,
  args: readonly string[],
  only?: string,
): Promise<Outcome & { reports: string }> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'gyre-reports-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const log = `log_path=${path.join(folder, 'report')}`;
  const options = Object.entries(build.options).map(([name, value]) => [name, `${value}:${log}`]);
  const { code, output } = await outcome(process.execPath, args, {
    ...Object.fromEntries(options),
    GYRE_NATIVE: path.join(ROOT, build.folder, 'Release', 'gyre.node'),
    LD_PRELOAD: library,
    // tap's own limits are for a test that it started itself.
    TAP_TIMEOUT: '300',
    TAP_GREP: only ?? '',
  });
  const reports = readdirSync(folder).map((name) => readFileSync(path.join(folder, name), 'utf8'));
  return { code, output, reports: reports.join('\n') };
}

for (const build of BUILDS) {
  const { file: library, skip } = preload(build);
  t.test(`the addon under the ${build.sanitizer} sanitizer`, { skip }, async (t) => {
    const cmake = path.join(ROOT, 'node_modules', '.bin', 'cmake-js');
    const built = await outcome(cmake, ['compile', '--out', build.folder, build.cmakeOption]);
    if (built.code !== 0) throw new Error(built.output.slice(-2000));
    await t.test('it reports a mistake', async (t) => {
      const program = path.join(t.testdir({ 'mistake.js': build.mistake }), 'mistake.js');
      const { reports } = await node(t, build, library, [program]);
      t.match(reports, build.report);
    });
    for (const [file, only] of build.tests) {
      await t.test(path.basename(file), async (t) => {
        t.ok(existsSync(path.join(ROOT, file)));
        const { code, output, reports } = await node(t, build, library, [file], only);
        t.equal(reports, '', 'nothing is reported');
        t.equal(code, 0, code === 0 ? 'it passes' : output.slice(-2000));
        t.match(output, /^ok \d+ - (?!.*# SKIP)/m, 'something was tested');
      });
    }
  });
}
