/**
 * Handles that are not what node takes them for: one for a server to which connections are only given, and one
 * that cannot listen. Worker's thread only. They do what node asks of a handle and no more: without `listen()` of one
 * its server never emits anything.
 */
import type { ListenAddress } from '../protocol.js';
import { createHandle, type Handle, LISTENING } from './net-internals.js';
import { cancelInterval, scheduleInterval } from './timers.js';

/** The longest interval there is: 24 days. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * A handle that accepts nothing by itself, for a server to which connections are given. It
 * has no socket, and keeps the thread alive as one that listens does.
 */
export function standByHandle(address: ListenAddress): Handle {
  // Only for its class, which node shows nowhere else.
  const ipv4 = createHandle('127.0.0.1', 0, 4);
  const bound = typeof ipv4 === 'number' ? createHandle('::1', 0, 6) : ipv4;
  if (typeof bound === 'number') return failingHandle(bound);
  const Stream = bound.constructor as new (type: number) => Handle;
  bound.close();
  const handle = new Stream(LISTENING);
  const alive = scheduleInterval(() => {}, FOREVER_MS);
  const close = handle.close;
  return Object.assign(handle, {
    listen: () => 0,
    fchmod: () => 0, // the mode of a socket file is the workers' affair
    getsockname: (out: object) => {
      if (address.family !== 'unix') Object.assign(out, address);
      return 0;
    },
    close(this: Handle, callback?: () => void) {
      cancelInterval(alive);
      close.call(this, callback);
    },
    ref: () => void alive.ref(),
    unref: () => void alive.unref(),
  });
}

/** A handle on which `listen` fails, so that node makes and emits the error. */
export function failingHandle(errno: number): Handle {
  return {
    fd: -1,
    open: () => errno,
    onconnection() {},
    listen: () => errno,
    close() {},
    ref() {},
    unref() {},
  };
}
