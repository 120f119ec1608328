/**
 * A source that fires when a descriptor can be read from or written to. Main thread only.
 *
 * Main asks whether it is ready and reads nothing; the handler does. It is watched again when that
 * has settled, for what it is ready for is a level, and would be seen again at once before.
 *
 * The descriptor is a duplicate, which is closed when the source is and no handler is at work: so its
 * number cannot become somebody else's under a handler.
 */
import { GyreError } from '../../errors.js';
import { type FdFiring, invalidOption, resolveHandling, sourceOptions } from '../../events.js';
import {
  close,
  duplicate,
  HUNG_UP,
  type Poll,
  READABLE,
  readyNow,
  WRITABLE,
  watchReady,
} from '../../native.js';
import { type Outcome, SourceBase, type SourceContext } from './source.js';

export class Descriptor extends SourceBase {
  readonly #fd: number;
  readonly #poll: Poll;
  readonly #events: number;
  #watches = false;

  constructor(fd: unknown, options: unknown, context: SourceContext) {
    const where = 'sources.fd()';
    const given = sourceOptions(where, options, ['name', 'read', 'write']);
    const { read = true, write = false } = given;
    if (typeof read !== 'boolean') invalidOption(where, 'read', 'a boolean');
    if (typeof write !== 'boolean') invalidOption(where, 'write', 'a boolean');
    if (!read && !write) {
      throw new GyreError('ERR_GYRE_OPTION_CONFLICT', `${where}: neither read nor write is wanted`);
    }
    const handling = resolveHandling(where, given, false);
    if (handling.concurrent) {
      throw new GyreError(
        'ERR_GYRE_OPTION_CONFLICT',
        `${where}: a descriptor stays ready until its handler has settled, so it is not concurrent`,
      );
    }
    if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0 || fd > 2 ** 31 - 1) {
      throw new GyreError('ERR_GYRE_SOURCE_FD', `${where}: ${String(fd)} is no descriptor`);
    }
    const name = context.freeName(given.name ?? `fd:${fd}`);
    const copy = duplicate(fd);
    if (copy < 0) {
      const details = { errno: copy, syscall: 'fcntl' };
      throw new GyreError('ERR_GYRE_SOURCE_FD', `${where}: descriptor ${fd} is closed`, details);
    }
    let self: Descriptor | null = null;
    let poll: Poll;
    try {
      poll = watchReady(copy, (status, events) => {
        if (self !== null) self.#ready(status, events);
      });
    } catch (cause) {
      close(copy);
      const { errno = 0, message } = cause as GyreError;
      throw new GyreError(
        'ERR_GYRE_SOURCE_FD',
        `${where}: descriptor ${fd} cannot be polled: ${message}`,
        { cause, errno, syscall: 'uv_poll_init' },
      );
    }
    super('fd', name, handling, context);
    self = this;
    this.#fd = copy;
    this.#poll = poll;
    this.#events = (read ? READABLE : 0) | (write ? WRITABLE : 0);
    this.#watch();
  }

  override handlersChanged(): void {
    if (!this.closed && !this.busy && !this.#watches) this.#watch();
  }

  protected override free(last: Outcome): void {
    const now = readyNow(this.#fd);
    // What was written before the other end hung up can still be read.
    if ((now & HUNG_UP) !== 0 && (now & this.#events & READABLE) === 0) this.end();
    // It is ready still. Whoever comes to handle it says so.
    else if (last.what !== 'unhandled') this.#watch();
  }

  protected override stop(): void {
    this.#poll.close();
    this.settledAll().then(() => close(this.#fd));
  }

  #watch(): void {
    this.#watches = true;
    this.#poll.start(this.#events);
  }

  #ready(status: number, events: number): void {
    if (this.closed || this.busy) return;
    this.#watches = false;
    this.#poll.stop();
    const payload: FdFiring = {
      fd: this.#fd,
      readable: (events & READABLE) !== 0,
      writable: (events & WRITABLE) !== 0,
      hangup: status < 0 || (readyNow(this.#fd) & HUNG_UP) !== 0,
    };
    this.fire(payload);
  }
}
