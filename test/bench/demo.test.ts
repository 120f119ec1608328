/** `npm run demo`: it ends by itself or by Ctrl-C, leaves nothing behind, and fits a terminal. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  conclusion,
  heading,
  histogram,
  percentiles,
  progress,
  type Setting,
  type Sides,
} from '../../bench/demo/picture.js';
import { ROOT } from '../support/app.js';
import { skipWithout } from '../support/programs.js';
import { Running } from '../support/running.js';

const DEMO = path.join(ROOT, 'dist', 'bench', 'demo', 'run.js');
const ESC = '\x1b';
/** Colours, and all else that moves the cursor. */
const SEQUENCE = new RegExp(`${ESC}\\[[?\\d;]*[A-Za-z]`, 'g');

/** Processes that have this in their environment. */
function having(mark: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark);
    } catch {
      return false; // it has ended
    }
  });
}

/** Those that are still there a moment later: who was killed just now may take some ms to go. */
async function left(mark: string): Promise<string[]> {
  for (let tries = 0; tries < 100 && having(mark).length > 0; tries++) await sleep(10);
  return having(mark);
}

/** In the environment of all that a test starts, and that ends with it. */
function markOf(t: Test): string {
  const mark = `${process.pid}-${t.name.replaceAll(' ', '-')}`;
  t.teardown(() => {
    for (const pid of having(mark)) process.kill(Number(pid), 'SIGKILL');
  });
  return mark;
}

t.test('a short one ends by itself, with both distributions', async (t) => {
  const env = { GYRE_TEST_DEMO: markOf(t), NO_COLOR: '1' };
  const run = new Running(t, process.execPath, [DEMO, '--seconds', '1', '--fast', '500'], env);
  t.same(await run.ended(), { code: 0, signal: null }, run.stderr);
  t.same(await left(env.GYRE_TEST_DEMO), []);
  const lines = run.stdout.split('\n');
  for (const line of lines) t.ok(line.length <= 80, line);
  t.notOk(run.stdout.includes(ESC), 'no colours in a pipe');
  t.ok(lines.some((line) => /^ +node:cluster +gyre *$/.test(line)));
  const rows = lines.filter((line) => /^ +(under|over|\d+ to) /.test(line));
  const counts = rows.map((row) => row.match(/(?<= )[\d,]+(?= {2}|$)/g)?.map(Number) ?? []);
  for (const side of [0, 1]) {
    const count = counts.reduce((sum, row) => sum + (row[side] ?? Number.NaN), 0);
    t.ok(count > 300 && count < 700, `${count} of some 500 requests`);
  }
  t.match(run.stdout, /^ +99 of 100 less than +[\d.,]+ ms +[\d.,]+ ms +\d+\.\d\d$/m);
  t.match(run.stdout.replaceAll('\n', ' '), /lower under gyre in [01] of 1 round\./);
  t.match(run.stderr, /^demo: gyre, round 1 of 1$/m);
});

const noTerminal = skipWithout('script', 'util-linux');

t.test('Ctrl-C in a terminal leaves it as it was', { skip: noTerminal }, async (t) => {
  // What test runners and build servers set, so that nobody prints colours.
  const off = ['NO_COLOR', 'FORCE_COLOR', 'NODE_DISABLE_COLORS', 'CI'];
  const unset = Object.fromEntries(off.map((name) => [name, undefined]));
  const env = { ...unset, GYRE_TEST_DEMO: markOf(t), TERM: 'xterm' };
  const command = `stty cols 80 rows 24; exec '${process.execPath}' '${DEMO}'`;
  const run = new Running(t, 'script', ['-qec', command, '/dev/null'], env);
  await run.says(/\[\?1049h.*node:cluster, round 1 of 6/s, 'stdout');
  run.child.stdin?.write('\x03');
  t.same(await run.ended(), { code: 130, signal: null });
  t.ok(run.stdout.endsWith(`${ESC}[?25h${ESC}[?1049l`), 'the terminal is as it was');
  t.match(run.stdout, `${ESC}[36m`, 'with colours');
  t.same(await left(env.GYRE_TEST_DEMO), []);
});

t.test('a flag that it has not, or a bad value, starts nothing', async (t) => {
  for (const args of [['--minutes', '3'], ['--seconds', '0'], ['more']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [DEMO, ...args], {
      encoding: 'utf8',
    });
    t.equal(status, 2, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, /^demo: /);
  }
});

const SETTING: Setting = {
  ...{ workers: 2, connections: 64, fastPerSecond: 1500, slowPerSecond: 8, slowMs: 50 },
  ...{ cpus: 2, node: 'v20.20.2' },
};

/** Two rounds; of each 1,000 fast requests `waited` took 40 ms, the others 0.3 ms. */
function sides(waited: readonly [number, number], late = 0.2): Sides {
  return (['node:cluster', 'gyre'] as const).map((title, side) => {
    const round = Array.from({ length: 1000 }, (_, i) => (i < (waited[side] as number) ? 40 : 0.3));
    return {
      ...{ title, paint: side === 0 ? 'yellow' : 'cyan' },
      ...{ fast: [round, round], slow: [[50 + side], []], late: [late, late] },
    };
  }) as never;
}

const said = (of: Sides) => {
  const screen = { columns: 80, rows: 24, colors: false };
  return conclusion(of, SETTING, screen).join(' ');
};

t.test('what it says follows from the figures, whoever has the better ones', async (t) => {
  const better = said(sides([200, 50]));
  t.match(
    better,
    'Of 1,000 fast requests 200 took 10 ms or longer under node:cluster, and 50 under gyre.',
  );
  t.match(better, 'lower under gyre in 0 of 2 rounds', 'the same p99 is not lower');
  t.match(better, 'took less than 50 ms under node:cluster, and 51 ms under gyre');
  t.match(said(sides([200, 5])), 'lower under gyre in 2 of 2 rounds');
  const worse = said(sides([5, 200]));
  t.match(worse, 'lower under gyre in 0 of 2 rounds');
  t.match(worse, '5 took 10 ms or longer under node:cluster, and 200 under gyre.');
});

t.test('it says when the machine was too busy to tell', async (t) => {
  t.notMatch(said(sides([200, 50])), 'late');
  t.match(said(sides([200, 50], 30)), 'The load generator itself was late, by 30 ms');
});

t.test('bars have one scale for both sides, and nothing is hidden', async (t) => {
  const screen = { columns: 80, rows: 24, colors: false };
  const rows = histogram(sides([200, 1]), screen);
  const row = rows.find((line) => line.includes('20 to 50')) as string;
  const [, long = '', short = ''] = /ms {2}(█+) +400 {2}(\S+) +2$/.exec(row) as RegExpExecArray;
  t.ok(long.length > 15, row);
  t.equal(short, '▏');
  t.match(rows[1], /under 1 ms {2}80\.0 % +1,600 {2}99\.9 % +1,998$/);
  t.match(percentiles(sides([200, 1]), screen)[2], /95 of 100 less than +40 ms +0\.30 ms +0\.01$/);
});

t.test('a picture fits, whatever the terminal and the figures', async (t) => {
  const nothing = sides([0, 0]).map((side) => ({ ...side, fast: [], slow: [], late: [] })) as never;
  const many = sides([900, 1]).map((side) => ({
    ...side,
    fast: Array.from({ length: 40 }, () => side.fast[0]?.map((ms) => 10_000 * ms)),
  })) as never;
  for (const columns of [64, 80, 200]) {
    for (const colors of [false, true]) {
      const screen = { columns, rows: 24, colors };
      for (const each of [nothing, many, sides([200, 50])]) {
        const lines = [
          ...heading({ ...SETTING, fastPerSecond: 100_000 }, screen),
          ...histogram(each, screen),
          ...percentiles(each, screen),
          progress(0.4, 'node:cluster, round 3 of 6', screen),
        ].map((line) => line.replaceAll(SEQUENCE, ''));
        const width = Math.max(...lines.map((line) => line.length));
        t.ok(width <= Math.min(columns, 80), `${width} of ${columns}`);
        // With three lines of space it leaves room for the prompt.
        t.ok(columns < 80 || lines.length <= 24 - 4, `${lines.length} lines`);
      }
      for (const line of conclusion(many, SETTING, screen))
        t.ok(line.length <= Math.min(columns, 80));
    }
  }
});
