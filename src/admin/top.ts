/**
 * `gyre top`: asks an admin endpoint again and again and shows what it says. Loaded by that
 * command only.
 *
 * The terminal is node's own affair (node:readline, node:tty): a picture is a list of ASCII lines, written over
 * the last one on the terminal's second screen, which is left as it was.
 */
import { clearScreenDown, cursorTo, emitKeypressEvents } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchStatus, NoAnswer, type Target } from './client.js';
import { frameOf, type Screen } from './frame.js';
import { type Rates, ratesBetween } from './rates.js';
import type { Status } from './status.js';

/** Second screen, cursor hidden; and back (xterm's DECSET 1049 and DECTCEM). */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const CLEAR_LINE = '\x1b[K';

/** What fits no terminal is for a file or a pipe. */
const UNBOUNDED: Screen = { columns: 1_000, rows: 10_000, colors: false };

export interface TopOptions extends Target {
  readonly intervalMs: number;
}

/** What happened in one interval from now on. @throws NoAnswer */
export async function once(options: TopOptions): Promise<Rates> {
  const before = await fetchStatus(options);
  await sleep(options.intervalMs);
  const rates = ratesBetween(before, await fetchStatus(options));
  if (rates === null) throw new NoAnswer('it was started again meanwhile');
  return rates;
}

/** That as text. */
export function textOf(rates: Rates): string {
  return `${frameOf(rates, UNBOUNDED).join('\n')}\n`;
}

/** Shows it on this terminal until a key ends it. */
export async function follow({ intervalMs, ...target }: TopOptions): Promise<void> {
  const { stdin, stdout } = process;
  const ended = new AbortController();
  const end = () => ended.abort();
  let before: Status | null = null;
  let lines: string[] = ['...'];
  let rates: Rates | null = null;
  const draw = () => {
    const screen = { ...sizeOf(stdout), colors: stdout.hasColors?.() === true };
    if (rates !== null) lines = frameOf(rates, screen);
    cursorTo(stdout, 0, 0);
    stdout.write(lines.map((line) => `${line}${CLEAR_LINE}`).join('\r\n'));
    clearScreenDown(stdout);
  };
  stdout.write(ENTER);
  emitKeypressEvents(stdin);
  stdin.setRawMode?.(true);
  stdin.on('keypress', (_, { name, ctrl } = {}) => {
    if (name === 'q' || (ctrl && name === 'c')) end();
  });
  process.on('SIGTERM', end).on('SIGINT', end).on('SIGHUP', end);
  stdout.on('resize', draw);
  try {
    while (!ended.signal.aborted) {
      try {
        const status: Status = await fetchStatus(target, ended.signal);
        rates = before === null ? null : (ratesBetween(before, status) ?? null);
        before = status;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        [rates, before, lines] = [null, null, [error.message, '', 'q ends']];
      }
      draw();
      await sleep(intervalMs, undefined, { signal: ended.signal }).catch(() => {});
    }
  } finally {
    stdout.off('resize', draw);
    stdin.setRawMode?.(false);
    stdin.pause();
    stdout.write(LEAVE);
  }
}

function sizeOf({ columns = 80, rows = 24 }: NodeJS.WriteStream) {
  return { columns, rows };
}
