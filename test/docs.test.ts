/**
 * What README.md and docs/ say is so: blocks of js and sh run as they are printed, links and paths lead
 * somewhere, tables have what the code has, and drawings are those of their sources. What
 * docs/operating.md says of the endpoint is in test/admin/docs.test.ts; what the first lines of
 * examples say is in test/examples/commands.test.ts.
 *
 * Not as printed: ports are free ones, addresses are of this machine, a profile takes a second,
 * and npx and npm are left out where they only start a program. Benchmarks run as far as to where they would
 * measure. A block that is not run says why in a comment on the line before it; for scripts of npm's,
 * {@link NOT_RUN} says it.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { DRAWINGS, FOLDER } from '../docs/drawings/draw.js';
import { ADMIN_DEFAULTS } from '../src/admin/options.js';
import { createRuntime, ERROR_CODES, type Runtime } from '../src/index.js';
import { CAPABILITY_NAMES } from '../src/runtime/capabilities.js';
import { JOB_POOL_DEFAULTS } from '../src/runtime/job-options.js';
import { DEFAULTS, SCHEDULER_DEFAULTS } from '../src/runtime/options.js';
import { app, CLI, ROOT } from './support/app.js';
import { folder } from './support/folder.js';
import { Running } from './support/running.js';

const DOCS = path.join(ROOT, 'docs');
const PAGES = readdirSync(DOCS)
  .filter((name) => name.endsWith('.md'))
  .map((name) => path.join('docs', name));
const TEXTS = [
  ...['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'],
  ...['bench/README.md', 'examples/README.md', ...PAGES],
];

const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8');

interface Block {
  /** File and line, as editors know it. */
  readonly where: string;
  readonly language: string;
  readonly text: string;
  /** Why it is not run. */
  readonly reason: string | null;
}

function blocksOf(file: string): Block[] {
  const lines = read(file).split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const language = /^```(\w*)$/.exec(lines[at] ?? '')?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf('```', at + 1);
    const before = lines.slice(0, at).findLast((line) => line !== '') ?? '';
    const reason = /^<!-- not run: (.+) -->$/.exec(before)?.[1] ?? null;
    const text = lines.slice(at + 1, end).join('\n');
    blocks.push({ where: `${file}:${at + 1}`, language, text, reason });
    at = end;
  }
  return blocks;
}

const BLOCKS = TEXTS.flatMap(blocksOf);

/** A program's folder, as its user has it: with gyre installed, and what the blocks name. */
function project(t: Test): string {
  const root = folder(t);
  mkdirSync(path.join(root, 'node_modules'));
  symlinkSync(ROOT, path.join(root, 'node_modules', 'gyre'));
  symlinkSync(path.join(ROOT, 'examples'), path.join(root, 'examples'));
  const client = path.join('node_modules', 'prom-client');
  symlinkSync(path.join(ROOT, client), path.join(root, client));
  writeFileSync(path.join(root, 'package.json'), '{"type":"module"}');
  const server = `import http from 'node:http';
http.createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1');
`;
  writeFileSync(path.join(root, 'server.js'), server);
  mkdirSync(path.join(root, 'jobs'));
  writeFileSync(path.join(root, 'jobs', 'package.json'), '{"type":"commonjs"}');
  cpSync(path.join(ROOT, 'examples', 'jobs', 'render.js'), path.join(root, 'jobs', 'render.js'));
  return root;
}

function withFreePorts(text: string): string {
  return text
    .replaceAll('0.0.0.0:', '127.0.0.1:')
    .replaceAll(/\b(listen\(|port: |:)(?:3000|8125|946[45])\b/g, '$10')
    .replaceAll(/'946[45]'/g, "'0'");
}

/** Before a block that goes on from one which made a runtime. */
const GIVEN = `import { createRuntime } from 'gyre';
const runtime = await createRuntime({ entry: './server.js', workers: 1 });
`;
const KEPT = '\nexport const started = typeof runtime === "undefined" ? null : runtime;\n';

/** A program that embeds gyre, or makes no server at all: in this process. */
async function runHere(t: Test, file: string, text: string): Promise<void> {
  const given = text.includes('createRuntime(') ? '' : GIVEN;
  writeFileSync(file, file.endsWith('.cjs') ? text : `${given}${text}${KEPT}`);
  const { started = null } = (await import(pathToFileURL(file).href)) as {
    started?: Runtime | null;
  };
  process.removeAllListeners('SIGHUP');
  if (started === null) return;
  t.equal(started.state, 'serving');
  await started.close({ drainMs: 0 });
}

/** A program that forks: in a process of its own, until one of its workers listens. */
async function runCluster(t: Test, file: string, text: string): Promise<void> {
  writeFileSync(file, text);
  const around = file.replace('.mjs', '-until-it-listens.mjs');
  writeFileSync(
    around,
    `import cluster from 'node:cluster';
if (cluster.isPrimary) cluster.once('listening', () => process.exit());
await import('./${path.basename(file)}');
`,
  );
  const { code } = await new Running(t, process.execPath, [around]).ended();
  t.equal(code, 0, 'it listens');
}

/** A server, or a part of one: in a worker, which listens when the block is through. */
async function runInWorker(t: Test, file: string, text: string): Promise<void> {
  writeFileSync(file, text);
  const entry = file.replace('.mjs', '-and-then-listen.mjs');
  writeFileSync(
    entry,
    `import http from 'node:http';
await import('./${path.basename(file)}');
http.createServer().listen(0, '127.0.0.1');
`,
  );
  const runtime = await createRuntime({ entry, workers: 1, startMs: Number.POSITIVE_INFINITY });
  t.equal(runtime.workers[0]?.state, 'serving');
  await runtime.close({ drainMs: 0 });
}

function runJavaScript(t: Test, folder: string, { text, where }: Block): Promise<void> {
  const common = text.includes('module.exports');
  const name = `${where.replaceAll(/[^\w]/g, '-')}.${common ? 'cjs' : 'mjs'}`;
  const embeds = common || /\bcreateRuntime\(|\bruntime\b/.test(text);
  const run = embeds ? runHere : text.includes('cluster.fork(') ? runCluster : runInWorker;
  return run(t, path.join(folder, name), withFreePorts(text));
}

const SCRIPTS = JSON.parse(read('package.json')).scripts as Record<string, string>;

/** Scripts that are only looked for, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  ci: 'it replaces what this runs on',
  build: 'it replaces what this runs on',
  test: 'this is a part of it',
  'bench:rivals': 'it fetches hundreds of packages',
  'bench:report': 'test/bench/page.test.ts runs it',
};

/** `npm start` and the like, without what npm builds before it. */
function script(name: string): string[] {
  const [program, ...words] = (SCRIPTS[name] ?? '').split('&&').at(-1)?.trim().split(' ') ?? [];
  if (program !== 'node') throw new Error(`say why it is not run: ${name}`);
  return words;
}

/**
 * Whether a benchmark takes the words that are printed: with one more, which none takes, that one is all
 * it complains of.
 */
function takes(name: string, words: readonly string[]): { taken: boolean; said: string } {
  const [file = '', ...own] = script(name);
  const only = words.indexOf('--only');
  // The sweep hands it on to nine of the stall.
  const lists = only !== -1 && name !== 'bench:sweep';
  const more = lists
    ? words.map((word, at) => (at === only + 1 ? `${word},nobody` : word))
    : [...words, '--nobody'];
  const run = spawnSync(process.execPath, [path.join(ROOT, file), ...own, ...more], {
    encoding: 'utf8',
  });
  const complaint = lists ? /--only: no nobody among/ : /Unknown option '--nobody'/;
  return { taken: run.status === 2 && complaint.test(run.stderr), said: run.stderr };
}

/** `npm run NAME -- WORDS`, `npm NAME`. */
async function runScript(t: Test, command: string): Promise<void> {
  const [, name = '', rest = ''] = /^npm (?:run )?([\w:-]+)(?: -- (.*))?$/.exec(command) ?? [];
  if (name !== 'ci') t.ok(Object.hasOwn(SCRIPTS, name), `there is ${command}`);
  if (Object.hasOwn(NOT_RUN, name)) return;
  if (name === 'start') return serves(t, new Running(t, process.execPath, script(name), FREE_PORT));
  const { taken, said } = takes(name, rest.split(' ').filter(Boolean));
  t.ok(taken, `${command}\n${said}`);
}

const FREE_PORT = { PORT: '0' };

async function serves(t: Test, running: Running): Promise<void> {
  await running.says(/listening/);
  running.child.kill('SIGTERM');
  t.same(await running.ended(), { code: 0, signal: null }, running.stderr);
}

/** `npx gyre WORDS`; `port` is where an admin endpoint is asked. */
async function runGyre(t: Test, folder: string, words: readonly string[], port: number) {
  const starts = words[0] === 'run';
  const args = words.map((word) =>
    word.replace(/\b946[45]$/, starts ? '0' : String(port)).replace('0.0.0.0:', '127.0.0.1:'),
  );
  const seconds = args.indexOf('--seconds');
  if (seconds !== -1) args[seconds + 1] = '1';
  const cli = `cd ${folder} && exec ${process.execPath} ${CLI} "$@"`;
  const running = new Running(t, 'sh', ['-c', cli, 'gyre', ...args], FREE_PORT);
  if (starts) return serves(t, running);
  t.same(await running.ended(), { code: 0, signal: null }, running.stderr);
}

/** One line of a sh block, without its comment. */
async function runCommand(t: Test, folder: string, line: string, port: number): Promise<void> {
  for (const command of line.split(' && ')) {
    const bare = command.replace(/^(?:\w+="[^"]*" )+/, '');
    const [program, what, ...words] = bare.split(/\s+/);
    if (program === 'npm') await runScript(t, bare);
    else if (program === 'npx' && what === 'gyre') await runGyre(t, folder, words, port);
    else throw new Error(`say why it is not run: ${command}`);
  }
}

t.test('blocks of js run', async (t) => {
  const folder = project(t);
  const before = process.cwd();
  process.chdir(folder);
  process.env.ADMIN_TOKEN = 'token-of-its-own';
  t.teardown(() => process.chdir(before));
  const blocks = BLOCKS.filter(({ language }) => language === 'js');
  t.ok(blocks.length > 10);
  for (const block of blocks) {
    if (block.reason !== null) continue;
    await t.test(block.where, (t) => runJavaScript(t, folder, block));
  }
});

t.test('commands run', async (t) => {
  const folder = project(t);
  const entry = app('http.js');
  const runtime = await createRuntime({ entry, workers: 1, admin: '127.0.0.1:0' });
  t.teardown(() => runtime.close({ drainMs: 0 }));
  const { port } = runtime.admin.endpoint as { port: number };
  const blocks = BLOCKS.filter(({ language }) => language === 'sh');
  t.ok(blocks.length > 5);
  for (const { where, text, reason } of blocks) {
    if (reason !== null) continue;
    await t.test(where, async (t) => {
      for (const line of text.split('\n')) {
        const bare = line.replace(/(^|\s+)#.*$/, '').trim();
        if (bare !== '') await runCommand(t, folder, bare, port);
      }
    });
  }
});

/** As GitHub makes them of headings. */
function anchorsOf(file: string): Set<string> {
  const headings = [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

t.test('links lead somewhere', async (t) => {
  for (const file of TEXTS) {
    for (const [, target = ''] of read(file).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [to = '', anchor] = target.split('#');
      const linked = to === '' ? file : path.join(path.dirname(file), to);
      const what = `${file}: ${target}`;
      if (!existsSync(path.join(ROOT, linked))) t.fail(what);
      else if (anchor !== undefined) t.ok(anchorsOf(linked).has(anchor), what);
    }
  }
});

t.test(
  'scripts that are named exist, and benchmarks take the flags that are printed',
  async (t) => {
    const commands = new Set<string>();
    for (const file of TEXTS) {
      for (const [, name = ''] of read(file).matchAll(/npm run ([\w:-]*\w)/g)) {
        t.ok(Object.hasOwn(SCRIPTS, name), `${file}: ${name}`);
      }
      for (const [, command = ''] of read(file).matchAll(
        /`(npm run (?:bench|demo)[^`\n]* -- [^`\n]+)`/g,
      )) {
        commands.add(command);
      }
    }
    t.ok(commands.size > 4);
    for (const command of commands) await runScript(t, command);
  },
);

t.test('files that are named exist', async (t) => {
  // Of libuv's sources, and a name to be filled in.
  const others = /^src\/unix\/|\/NAME\./;
  for (const file of TEXTS) {
    for (const [, name = ''] of read(file).matchAll(
      /`((?:\.ci|\.github|bench|docs|examples|native|src|test)\/[\w./@-]+)`/g,
    )) {
      if (!others.test(name)) t.ok(existsSync(path.join(ROOT, name)), `${file}: ${name}`);
    }
  }
});

t.test('every page is in the index', async (t) => {
  const index = read('docs/README.md');
  for (const page of PAGES) {
    const name = path.basename(page);
    if (name !== 'README.md') t.ok(index.includes(`](${name})`), name);
  }
});

/** The rows of the first table under a heading, without its head. */
function tableUnder(file: string, heading: string): string[][] {
  const [, section = ''] = read(file).split(new RegExp(`^#+ ${heading}$`, 'm'));
  const table = section.split(/\n\n+/).find((part) => part.startsWith('|')) ?? '';
  const rows = table.split('\n').slice(2);
  return rows.map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('\\|', '|')),
  );
}

const quoted = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);

t.test('errors.md has every code, says when as the code does, and what to do', async (t) => {
  const rows = tableUnder('docs/errors.md', 'Errors');
  const when = rows.map(([code, when]) => [quoted(code)[0], when]);
  t.same(when, Object.entries(ERROR_CODES));
  for (const [code, , what = ''] of rows) t.ok(what.length > 10, code ?? '');
});

/** Names of what an interface has, as its source has them. */
function membersOf(file: string, name: string): string[] {
  const [, body = ''] = new RegExp(`interface ${name} \\{\n(.*?)\n\\}`, 's').exec(read(file)) ?? [];
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(([, member]) => member as string);
}

const shown = (value: unknown) =>
  typeof value === 'number'
    ? value.toLocaleString('en')
    : typeof value === 'string'
      ? `\`'${value}'\``
      : `\`${value}\``;

t.test('options.md has every option, and its default', async (t) => {
  const tables: [heading: string, file: string, of: string, defaults: object][] = [
    ['createRuntime', 'src/runtime/options.ts', 'RuntimeOptions', DEFAULTS],
    ['scheduler', 'src/runtime/options.ts', 'SchedulerOptions', SCHEDULER_DEFAULTS],
    ['jobPool', 'src/runtime/job-options.ts', 'JobPoolOptions', JOB_POOL_DEFAULTS],
    ['admin', 'src/admin/options.ts', 'AdminOptions', { ...ADMIN_DEFAULTS, mode: null }],
  ];
  for (const [heading, file, of, defaults] of tables) {
    const rows = tableUnder('docs/options.md', heading);
    const named = rows.flatMap(([names]) => quoted(names));
    t.same(named.toSorted(), membersOf(file, of).toSorted(), heading);
    for (const [names, value] of rows) {
      const expected = quoted(names).map((name) => (defaults as Record<string, unknown>)[name]);
      if (expected.some((each) => each === undefined || each === null)) continue;
      t.equal(value, expected.map(shown).join(', '), `${heading}: ${names}`);
    }
  }
});

t.test('options.md has every flag of gyre run, and no other', async (t) => {
  const { stdout } = spawnSync(process.execPath, [CLI, 'run', '--help'], { encoding: 'utf8' });
  const flags = [...stdout.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag as string);
  const rows = tableUnder('docs/options.md', 'gyre run');
  const named = rows
    .flatMap(([names]) => quoted(names))
    .flatMap((text) => text.match(/^--[a-z-]+/));
  t.ok(flags.length > 10);
  t.same(named.toSorted(), flags.toSorted());
});

t.test('limits.md has every capability', async (t) => {
  const rows = tableUnder('docs/limits.md', 'What this machine can do');
  t.same(
    rows.map(([name]) => quoted(name)[0]),
    [...CAPABILITY_NAMES],
  );
});

t.test('drawings are those of their sources: npm run docs:drawings', async (t) => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.svg'));
  t.same(
    files.sort(),
    Object.keys(DRAWINGS)
      .map((name) => `${name}.svg`)
      .sort(),
  );
  const page = read('docs/how-it-works.md');
  for (const [name, svg] of Object.entries(DRAWINGS)) {
    t.equal(readFileSync(path.join(FOLDER, `${name}.svg`), 'utf8'), svg, name);
    t.ok(page.includes(`(drawings/${name}.svg)`), `${name} is shown`);
  }
});
