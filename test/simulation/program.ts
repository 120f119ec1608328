/** The program that the workers run: an HTTP server which does what each message wishes. */
import type { Exchange, Net } from './net.js';
import type { Thread } from './thread.js';

/**
 * How a program starts.
 *
 * - serves: listens at once
 * - late: listens after a while
 * - fails: throws while it loads
 * - silent: never listens
 */
export type Start = 'serves' | 'late' | 'fails' | 'silent';

export const PORT = 8080;
/** On which a program may listen besides. */
export const SECOND_PORT = 8081;

const LATE_MS = 40;
const LATER_MS = 20;
const BURN_MS = 30;
/** How long main waits for a thread that it has terminated. */
export const TERMINATE_MS = 300;
/** Longer than until it is found to hang and lost. */
const BLOCK_MS = 1_000;

export interface Program {
  readonly start: Start;
  readonly ports: readonly number[];
}

/** What `gyre/worker` gives to the program. */
interface Control {
  hold(socket: object): void;
}

export function runProgram(
  { start, ports }: Program,
  thread: Thread,
  { serve }: Net,
  control: () => Control | null,
): void {
  const { world } = thread;
  const onRequest = ({ message, socket, respond }: Exchange) => {
    switch (message.wish) {
      case 'throw':
        throw new Error('on purpose');
      case 'exit':
        return thread.process.exit(1);
      case 'hang':
        world.log(`${thread.name} hangs`);
        thread.burn(Number.POSITIVE_INFINITY, respond);
        return;
      case 'block':
        world.log(`${thread.name} is in a system call`);
        thread.block(BLOCK_MS, respond);
        return;
      case 'burn':
        thread.burn(BURN_MS, respond);
        return;
      case 'later':
        thread.timer(respond, LATER_MS, false);
        return;
      case 'hold':
        control()?.hold(socket);
        world.stays(socket);
        respond();
        return;
      case 'upgrade':
        world.stays(socket);
        respond();
        Object.assign(socket, { parser: null });
        return;
      default:
        respond();
    }
  };
  const listen = () => {
    for (const port of ports) serve(onRequest).listen(port);
  };
  if (start === 'fails') throw new Error('it does not load');
  if (start === 'serves') listen();
  else if (start === 'late') thread.timer(listen, LATE_MS, false);
  else thread.timer(() => {}, 1000, true);
}
