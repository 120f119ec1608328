/**
 * A listening socket as main has it: opened for an address or a path, or one that came from outside.
 * Main thread only; everything here is synchronous. What fails is -errno.
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import {
  cookieOf,
  nameOf,
  openTcp,
  openUnix,
  TCP_IPV6ONLY,
  TCP_PROBE,
  TCP_REUSEPORT,
} from '../native.js';
import type { ListenAddress } from '../protocol.js';

export interface Socket {
  readonly fd: number;
  /** What the kernel knows it by; null where it tells nobody. */
  readonly cookie: bigint | null;
}

/** A socket file to remove at the end, while it is still the one made here. */
export interface SocketFile {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
}

/** The first socket of an address. */
export interface FirstSocket {
  readonly socket: Socket;
  readonly address: ListenAddress;
  readonly file: SocketFile | null;
}

/** Where a TCP socket is to listen. */
export interface Endpoint {
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
}

/** How. */
interface Manner {
  /** TCP_IPV6ONLY and TCP_REUSEPORT, as the program asks for them. */
  readonly flags: number;
  readonly backlog: number;
}

const onlyIPv6 = ({ family }: Endpoint, flags: number) => (family === 6 ? flags & TCP_IPV6ONLY : 0);

/** @param balanced whether the kernel balances between sockets of one address, so that there can be more */
export function openFirst(
  where: Endpoint,
  { flags, backlog }: Manner,
  balanced: boolean,
): FirstSocket | number {
  // Whoever asks for reusePort means to share the port with other processes.
  const probe = (flags & TCP_REUSEPORT) === 0 ? TCP_PROBE : 0;
  const more = balanced ? TCP_REUSEPORT | probe : 0;
  const { address, port, family } = where;
  const fd = openTcp(address, port, family, onlyIPv6(where, flags) | more, backlog);
  return fd < 0 ? fd : { socket: socketAt(fd), address: addressOf(fd), file: null };
}

/** Another one of an address that has one. */
export function openAnother(where: Endpoint, { flags, backlog }: Manner): Socket | number {
  const { address, port, family } = where;
  const fd = openTcp(address, port, family, onlyIPv6(where, flags) | TCP_REUSEPORT, backlog);
  return fd < 0 ? fd : socketAt(fd);
}

/** @param path a name that begins with NUL is abstract, and no file */
export function openAt(path: string, backlog: number): FirstSocket | number {
  const fd = openUnix(path, backlog);
  if (fd < 0) return fd;
  let file: SocketFile | null = null;
  if (!path.startsWith('\0')) {
    const made = lstatSync(path, { throwIfNoEntry: false });
    if (made !== undefined) file = { path: resolve(path), dev: made.dev, ino: made.ino };
  }
  return { socket: socketAt(fd), address: { family: 'unix', path }, file };
}

/** One that somebody else has opened. */
export function adopted(fd: number): FirstSocket | number {
  try {
    return { address: addressOf(fd), socket: socketAt(fd), file: null };
  } catch {
    return -constants.errno.EINVAL; // not open, or no socket: what node says for either
  }
}

/** Removes a socket file if it is still the one that was made here. */
export function removeFile({ path, dev, ino }: SocketFile): void {
  try {
    const now = lstatSync(path);
    if (now.dev === dev && now.ino === ino) unlinkSync(path);
  } catch {
    // Gone, or no longer ours to remove; node does not tell anybody either.
  }
}

function socketAt(fd: number): Socket {
  return { fd, cookie: cookieOf(fd) };
}

function addressOf(fd: number): ListenAddress {
  const { family, text, port } = nameOf(fd);
  if (family === 1) return { family: 'unix', path: text };
  return { family: family === 6 ? 'IPv6' : 'IPv4', address: text, port };
}
