/**
 * Opens and closes the sockets of the endpoint and of the agent check. Main thread only. Whatever
 * fails rejects with a GyreError that has the system's code, and leaves nothing behind.
 */
import { once } from 'node:events';
import { chmodSync, linkSync, lstatSync, mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { GyreError } from '../errors.js';
import type { ListenAddress } from '../protocol.js';
import type { AdminAddress } from './options.js';

/** Connections that wait to be accepted. Nobody has more than a few. */
const BACKLOG = 64;

/** The shortest `sun_path` of all systems, less its NUL; Node 20 and 22 silently cut what is longer. */
const SOCKET_PATH_MAX = 103;

export interface Opened {
  readonly address: ListenAddress;
  /** Removes the socket's file; the server is closed by whoever has it. */
  remove(): void;
}

/**
 * @param what the option, for errors
 * @param mode permissions of a Unix socket
 */
export async function openServer(
  what: string,
  server: net.Server,
  address: AdminAddress,
  mode: number,
): Promise<Opened> {
  try {
    return address.kind === 'tcp'
      ? await openTcp(server, address)
      : await openUnix(server, address.path, mode);
  } catch (cause) {
    server.close();
    const { code = 'ERR_GYRE_NATIVE', syscall, errno, message } = cause as NodeJS.ErrnoException;
    throw new GyreError(code, `${what}: ${message}`, {
      cause,
      ...(syscall !== undefined && { syscall }),
      ...(errno !== undefined && { errno }),
    });
  }
}

async function listen(server: net.Server, options: net.ListenOptions): Promise<void> {
  // Not a cluster's: its primary would listen for all of its processes.
  server.listen({ ...options, backlog: BACKLOG, exclusive: true });
  await once(server, 'listening');
}

async function openTcp(
  server: net.Server,
  { host, port }: AdminAddress & { kind: 'tcp' },
): Promise<Opened> {
  await listen(server, { host, port });
  const bound = server.address() as net.AddressInfo;
  const family = bound.family as 'IPv4' | 'IPv6';
  return { address: { family, address: bound.address, port: bound.port }, remove: () => {} };
}

/**
 * A socket file has its permissions before it has its name: it is made in a directory that only
 * this user can enter, and linked from there. To restrict it after bind(2) would leave a moment
 * for everybody, and umask(2) is the whole process's.
 */
async function openUnix(server: net.Server, file: string, mode: number): Promise<Opened> {
  const directory = mkdtempSync(`${file}.`);
  const temporary = path.join(directory, 's');
  try {
    if (Buffer.byteLength(temporary) > SOCKET_PATH_MAX) {
      const most = SOCKET_PATH_MAX - (Buffer.byteLength(temporary) - Buffer.byteLength(file));
      throw failure('EINVAL', `the path is longer than ${most} bytes: ${file}`);
    }
    await listen(server, { path: temporary });
    chmodSync(temporary, mode);
    await claim(temporary, file);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const { dev, ino } = lstatSync(file);
  const remove = () => {
    try {
      const now = lstatSync(file);
      if (now.dev === dev && now.ino === ino) unlinkSync(file);
    } catch {
      // gone already
    }
  };
  return { address: { family: 'unix', path: file }, remove };
}

/** Gives `temporary` the name `file`, also if a process that was killed has left a socket there. */
async function claim(temporary: string, file: string): Promise<void> {
  try {
    linkSync(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!lstatSync(file).isSocket() || (await isAccepting(file))) {
      throw failure('EADDRINUSE', `address already in use ${file}`);
    }
    unlinkSync(file);
    linkSync(temporary, file);
  }
}

async function isAccepting(file: string): Promise<boolean> {
  const socket = net.connect(file);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}

function failure(code: string, message: string): NodeJS.ErrnoException {
  const found = [...getSystemErrorMap()].find(([, [name]]) => name === code);
  return Object.assign(new Error(`listen ${code}: ${message}`), {
    ...{ code, syscall: 'listen' },
    ...(found !== undefined && { errno: found[0] }),
  });
}
