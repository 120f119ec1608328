/** The threads of a process, and who owns what. */
import { type Area, arrow, box, drawing, rectangle, text, WIDTH } from './svg.js';

const TITLE = 'Threads of one process: who owns sockets, connections and shared memory';

const PROCESS: Area = { x: 14, y: 14, width: WIDTH - 28, height: 492 };
const MAIN: Area = { x: 30, y: 50, width: WIDTH - 60, height: 76 };
const ROW = { y: 190, height: 130 };
const SHARED: Area = { x: 30, y: 384, width: WIDTH - 60, height: 106 };

function column(at: number): Area {
  const width = 192;
  return { x: 30 + at * (width + 17.3), ...ROW, width };
}

const middle = ({ x, width }: Area) => x + width / 2;

function worker(at: number, name: string, look: string, lines: readonly string[]): string {
  return box(column(at), look, name, lines);
}

function between(at: number, says: readonly string[]): string {
  const x = middle(column(at));
  return (
    arrow([
      [x, MAIN.y + MAIN.height],
      [x, ROW.y],
    ]) + beside(at, 152, says)
  );
}

/** What an arrow below or above a column means; of the last one to its left, where there is room. */
function beside(at: number, y: number, says: readonly string[]): string {
  const x = middle(column(at));
  const left = at === 3;
  return text(left ? x - 8 : x + 8, y, says, {
    anchor: left ? 'end' : 'start',
    look: 'small faint',
  });
}

/** Both read and write there. */
function shares(at: number, says: readonly string[]): string {
  const x = middle(column(at));
  const [top, bottom] = [ROW.y + ROW.height, SHARED.y];
  const both = arrow([
    [x, bottom],
    [x, top],
  ]).replace('marker-end', 'marker-start="url(#tip)" marker-end');
  return both + beside(at, top + 36, says);
}

function cells(): string {
  const cell = (at: number, name: string, lines: readonly string[]) => {
    const width = 255;
    const area = { x: SHARED.x + 14 + at * (width + 14), y: SHARED.y + 32, width, height: 60 };
    return (
      rectangle(area, 'client') +
      text(area.x + 10, area.y + 19, [name], { look: 'name' }) +
      text(area.x + 10, area.y + 37, lines, { look: 'small' })
    );
  };
  return [
    cell(0, 'Scoreboard', ['a row for each worker: how it is doing;', 'one writer for each word']),
    cell(1, 'Connection table', ['for each descriptor: whose it is,', 'and its boundary']),
    cell(2, 'Mailboxes', ['one ring for each giver and taker:', 'descriptors on their way']),
  ].join('');
}

export const threads = drawing(TITLE, 520, [
  rectangle(PROCESS, 'kernel dashed'),
  text(PROCESS.x + 16, PROCESS.y + 22, ['one process'], { look: 'faint' }),
  box(MAIN, 'main', 'Main thread: touches no request', [
    'owns every listening socket · starts, watches and replaces workers',
    'timers, signals, files, datagrams · metrics, probes, the live page',
  ]),
  worker(0, 'Worker 0', 'worker', [
    'bound to CPU 0',
    'your server, unchanged',
    'its own event loop and heap',
    'accepts from its own socket',
    'owns its connections',
  ]),
  worker(1, 'Worker 1', 'worker', ['bound to CPU 1', 'the same']),
  worker(2, 'Spare', 'worker dashed', [
    'bound to no CPU, no socket',
    'starts when all others',
    'stand still; gives back as',
    'soon as anybody has time',
  ]),
  worker(3, 'Governor and watcher', 'governor', [
    'no user code',
    'sleeps while nobody works',
    'sees who stands still,',
    'pauses it, moves what waits',
  ]),
  between(0, ['a duplicate of its', 'listening socket']),
  between(1, ['a duplicate of its', 'listening socket']),
  between(2, ['starts, ends']),
  between(3, ['starts; is told of', 'what stands still']),
  shares(0, ['tells, reads, gives']),
  shares(1, ['tells, reads, takes']),
  shares(2, ['takes, gives']),
  shares(3, ['reads, moves']),
  box(SHARED, 'shared', 'Shared memory'),
  cells(),
]);
