/**
 * `listen()` in words: what the application said, as gyre asks main for it, and what main answers, as node would have it.
 * Pure; any thread.
 */
import type net from 'node:net';
import { resolveListenerOptions } from '../listener-options.js';
import { TCP_REUSEPORT } from '../native.js';
import type { ListenAddress, ListenRequest } from '../protocol.js';
import type { SetUp } from './net-internals.js';

/**
 * Whether connections may move, as far as `listen({ gyre: { move: false } })` says.
 *
 * @throws GyreError `ERR_GYRE_OPTION_UNKNOWN`, `ERR_GYRE_OPTION_INVALID`
 */
export function mayMove(first: unknown): boolean {
  const gyre = (first as { gyre?: unknown } | null | undefined)?.gyre;
  if (gyre === undefined) return true;
  return resolveListenerOptions('listen({ gyre })', gyre).move;
}

/** `exclusive` as the application wrote it: node sets it itself for `reusePort`. */
export function wantsExclusive(first: unknown): boolean {
  if (typeof first !== 'object' || first === null) return false;
  const { exclusive, reusePort } = first as net.ListenOptions & { reusePort?: boolean };
  return exclusive === true && reusePort !== true;
}

/** As node would have set it, had it opened the socket here. */
export function connectionKey(
  [address, port, addressType]: Parameters<SetUp>,
  bound: ListenAddress,
) {
  if (address || port === null || bound.family === 'unix') {
    return `${addressType}:${address}:${port}`;
  }
  return `${bound.family === 'IPv6' ? 6 : 4}:${bound.address}:${port}`;
}

/** What main is asked for by a server that is set up with these arguments. */
export function requestFor(args: Parameters<SetUp>): ListenRequest {
  const [address, port, addressType, backlog, fd, flags] = args;
  const bounded = Number.isInteger(backlog) && backlog > 0 ? Math.min(backlog, 0x7fffffff) : 0;
  if (typeof fd === 'number') return { kind: 'fd', fd, backlog: bounded };
  if (port === -1) return { kind: 'unix', path: String(address), backlog: bounded };
  return {
    kind: 'tcp',
    address,
    family: addressType === 6 ? 6 : 4,
    port: port ?? 0,
    flags: (flags ?? 0) & (1 | TCP_REUSEPORT),
    backlog: bounded,
  };
}

export function publicAddress(bound: net.AddressInfo | string): ListenAddress {
  if (typeof bound === 'string') return { family: 'unix', path: bound };
  const family = bound.family === 'IPv6' ? 'IPv6' : 'IPv4';
  return { family, address: bound.address, port: bound.port };
}
