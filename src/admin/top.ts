/**
 * `gyre top`: asks an admin endpoint again and again and shows what it says. Loaded by that
 * command only, which has one thread.
 */
import { emitKeypressEvents } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Screen, SecondScreen, screenOf } from '../terminal.js';
import { fetchStatus, NoAnswer, type Target } from './client.js';
import { frameOf } from './frame.js';
import { type Rates, ratesBetween } from './rates.js';
import type { Status } from './status.js';

/** What fits no terminal is for a file or a pipe. */
const UNBOUNDED: Screen = { columns: 1_000, rows: 10_000, colors: false };

interface TopOptions extends Target {
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
    if (rates !== null) lines = frameOf(rates, screenOf(stdout));
    screen.draw(lines);
  };
  const screen = new SecondScreen(stdout);
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
    screen.leave();
  }
}
