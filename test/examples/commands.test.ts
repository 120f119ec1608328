/**
 * The commands in the first lines of each example run as they are printed, one after the other: what
 * starts a server until it listens, and what asks it until it is answered. What they answer is for the
 * other tests of this folder.
 *
 * Not as printed: ports are free ones, and npx is left out, since it would only start what is here. A command
 * that is not run says why in {@link NOT_RUN}.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { CLI, ROOT } from '../support/app.js';
import { folder } from '../support/folder.js';
import { freePort } from '../support/ports.js';
import { Running } from '../support/running.js';

const EXAMPLES = path.join(ROOT, 'examples');

/** Commands that are not run here, and why. */
const NOT_RUN: readonly (readonly [beginning: string, why: string])[] = [
  ['io(', 'it is JavaScript of a client: protocols.test.ts has one'],
  ['npx wscat ', 'npx would fetch it'],
  ['npx tsc ', 'frameworks.test.ts compiles it and runs that'],
  ['haproxy ', 'its ports are in its file: protocols.test.ts changes them'],
  ['redis-benchmark ', 'protocols.test.ts runs a shorter one'],
  [
    'node dist/src/cli.js run examples/graceful.js',
    'it is for a shell with jobs: operations.test.ts',
  ],
  ["curl 'localhost:3000/?ms=5000' &", 'likewise'],
  ['cp ', 'it packs, and installs the package: test/package.test.ts'],
  ['cd ', 'likewise'],
  ['docker ', 'it needs a daemon: operations.test.ts does what it says'],
  ['kubectl ', 'it needs a cluster: operations.test.ts reads the file'],
];

/** What may be missing on a machine. */
const OPTIONAL: ReadonlySet<string> = new Set(['openssl', 'redis-cli', 'systemd-socket-activate']);

/** What the first comment of a file tells to type. */
function commandsOf(file: string): string[] {
  const [head = ''] = /^(?:(?:\/\/|#).*\n)+/.exec(readFileSync(file, 'utf8')) ?? [];
  return [...head.replaceAll(/\\\n.. +/g, '').matchAll(/^(?:\/\/|#) {5}(\S.*)$/gm)]
    .flatMap(([, line = '']) => line.split(/ {8,}/))
    .map((command) => command.replace(/ +\([^()]*\)$/, ''))
    .filter((command) => !/^\(.*\)$/.test(command));
}

/** Every example's commands, of those that have any. */
const EXAMPLE_COMMANDS = (readdirSync(EXAMPLES, { recursive: true }) as string[])
  .filter((name) => /\.(?:m?js|mts|yaml)$|Dockerfile$/.test(name) && !name.includes('/dist/'))
  .map((name) => ({ name, commands: commandsOf(path.join(EXAMPLES, name)) }))
  .filter(({ commands }) => commands.length > 0);

const starts = (command: string) => /(?:npx gyre|cli\.js) run |^node examples/.test(command);
/** It ends with the server. */
const stays = (command: string) => command.startsWith('curl -N');

/** Why `command` cannot be run, or null; `isServed`: whether what it may ask is there. */
function notRun(command: string, isServed: boolean): string | null {
  const [, why] = NOT_RUN.find(([beginning]) => command.startsWith(beginning)) ?? [];
  if (why !== undefined) return why;
  const [program = ''] = command.replace(/^(?:[A-Z_]+=\S+ )+/, '').split(' ');
  const isThere = () => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
  if (OPTIONAL.has(program) && !isThere()) return `there is no ${program}`;
  return program === 'curl' && !isServed ? 'its server does not run here' : null;
}

/** In a folder that looks like a checkout, and that what a command writes goes with. */
class Shell {
  readonly #t: Test;
  readonly #cwd: string;
  readonly #port = String(freePort());
  readonly #udpPort = String(freePort());

  constructor(t: Test) {
    this.#t = t;
    this.#cwd = folder(t);
    for (const name of ['examples', 'dist', 'package.json', 'node_modules']) {
      symlinkSync(path.join(ROOT, name), path.join(this.#cwd, name));
    }
  }

  run(command: string): Running {
    const own = command
      .replaceAll(/(localhost:|-p |-l )3000\b/g, `$1${this.#port}`)
      .replaceAll('/127.0.0.1/8125', `/127.0.0.1/${this.#udpPort}`)
      .replace('npx gyre ', `${process.execPath} ${CLI} `);
    // So that a signal comes to the server and not to a shell.
    const text = starts(command) ? own.replace(/^((?:[A-Z_]+=\S+ )*)/, '$1exec ') : own;
    const env = { PORT: this.#port, UDP_PORT: this.#udpPort };
    const script = `cd '${this.#cwd}' && ${text}`;
    return new Running(this.#t, 'bash', ['-c', script], env);
  }
}

async function runAll(t: Test, commands: readonly string[]): Promise<void> {
  const shell = new Shell(t);
  const running: Running[] = [];
  const staying: Running[] = [];
  for (const command of commands) {
    const why = notRun(command, running.length > 0);
    if (why !== null) {
      t.comment(`${command}: ${why}`);
      continue;
    }
    const run = shell.run(command);
    if (starts(command)) {
      running.push(run);
      // systemd says it before the server is started, by who connects.
      await Promise.any([run.says(/listening on/i), run.says(/HTTP on/, 'stdout')]);
      continue;
    }
    run.child.stdin?.end(); // nobody types
    if (stays(command)) staying.push(run);
    else t.same(await run.ended(), { code: 0, signal: null }, `${command}\n${run.stderr}`);
  }
  for (const { child, stderr } of staying) t.equal(child.exitCode, null, stderr);
  for (const server of running) {
    await Promise.any([server.says(/^gyre: .* listening on/m), server.says(/HTTP on/, 'stdout')]);
    server.child.kill('SIGTERM');
    t.same(await server.ended(), { code: 0, signal: null }, server.stderr);
  }
}

t.test('there are commands', async (t) => {
  t.ok(EXAMPLE_COMMANDS.length > 12);
  const all = EXAMPLE_COMMANDS.flatMap(({ commands }) => commands);
  for (const [beginning] of NOT_RUN) {
    t.ok(
      all.some((command) => command.startsWith(beginning)),
      `something begins with ${beginning}`,
    );
  }
});

for (const { name, commands } of EXAMPLE_COMMANDS) {
  t.test(name, (t) => runAll(t, commands));
}
