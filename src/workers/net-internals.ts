/**
 * What gyre uses of node's net beyond its public interface, the same in every line from 20 to 26. Types, and two
 * functions of the calling thread. Where a later Node has it otherwise, `listen()` fails at once: test/workers/listening.test.ts.
 */
import net from 'node:net';

/** What gyre uses of a libuv stream as node wraps it. */
export interface Handle {
  readonly constructor: unknown;
  readonly fd: number;
  open(fd: number): number;
  onconnection: (this: Handle, status: number, client: unknown) => void;
  listen(backlog: number): number;
  getsockname?(out: object): number;
  close(callback?: () => void): void;
  ref(): void;
  unref(): void;
}

/** What node:cluster makes handles with; under this name in Node 20 to 26. */
interface NetInternals {
  _createServerHandle(
    address: string | null,
    port: number | null,
    addressType: number | null,
    fd?: number,
  ): Handle | number;
}

/** What gyre uses of net.Server beyond its public interface. */
interface ServerInternals {
  _connections: number;
  _handle: Handle | null;
  _unref?: boolean;
  _connectionKey?: string;
  _listen2: SetUp;
}
export type Server = net.Server & ServerInternals;

export type SetUp = (
  this: Server,
  address: string | null,
  port: number | null,
  addressType: number | null,
  backlog: number,
  fd: number | undefined,
  flags: number | undefined,
) => void;

/** Type of a stream handle that is no server: TCPConstants.SOCKET and PipeConstants.SOCKET. */
export const CONNECTED = 0;
/** TCPConstants.SERVER. */
export const LISTENING = 1;

/** A handle over `fd`, or over a new socket that is bound to `address` and `port`; or -errno. */
export function createHandle(
  address: string | null,
  port: number | null,
  addressType: number | null,
  fd?: number,
): Handle | number {
  return (net as unknown as NetInternals)._createServerHandle(address, port, addressType, fd);
}

/** Calls `after` when `handle` was closed and its descriptor is free. */
export function onClose(handle: Handle, after: () => void): void {
  const original = handle.close;
  handle.close = function (this: Handle, callback?: () => void) {
    handle.close = original;
    original.call(this, callback);
    after();
  };
}
