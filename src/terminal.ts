/**
 * What programs draw on a terminal: painted text, and pictures that are lines on its second screen, so
 * that the first is left as it was. The terminal is node's own affair (node:readline, node:tty).
 */
import { clearScreenDown, cursorTo } from 'node:readline';

/** Second screen, cursor hidden; and back (xterm's DECSET 1049 and DECTCEM). */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const CLEAR_LINE = '\x1b[K';

/** ECMA-48, SGR. */
const SGR = {
  ...{ plain: '', bold: '\x1b[1m', dim: '\x1b[2m' },
  ...{ red: '\x1b[31m', yellow: '\x1b[33m', green: '\x1b[32m', cyan: '\x1b[36m' },
} as const;
const RESET = '\x1b[0m';

export type Paint = keyof typeof SGR;

/** `text` as it is without `colors`. */
export function painted(text: string, paint: Paint, colors: boolean): string {
  return colors && paint !== 'plain' ? `${SGR[paint]}${text}${RESET}` : text;
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Whether it shows colours, and is meant to: NO_COLOR says that it is not. */
  readonly colors: boolean;
}

/** What `stdout` is; 80 x 24 without colours where it is no terminal. */
export function screenOf(stdout: NodeJS.WriteStream): Screen {
  const { columns = 80, rows = 24 } = stdout;
  return { columns, rows, colors: stdout.hasColors?.() === true };
}

/** The second screen of a terminal, from its making until {@link SecondScreen.leave}. */
export class SecondScreen {
  readonly #stdout: NodeJS.WriteStream;

  constructor(stdout: NodeJS.WriteStream) {
    this.#stdout = stdout;
    stdout.write(ENTER);
  }

  /** Lines that fit, over what was there. */
  draw(lines: readonly string[]): void {
    cursorTo(this.#stdout, 0, 0);
    this.#stdout.write(lines.map((line) => `${line}${CLEAR_LINE}`).join('\r\n'));
    clearScreenDown(this.#stdout);
  }

  leave(): void {
    this.#stdout.write(LEAVE);
  }
}
