/**
 * Proves, on this Node and this system, what the moving of connections rests on: that
 * the hooks of tracking.ts say where a message begins and ends, that the kernel counts
 * as they do, and that a loop can be kept from changing its epoll set while it is paused.
 * Runs once, in the governor's thread, on a loopback connection of its own; where it fails,
 * nothing moves, and the reason is stated.
 */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { atBoundary, misalignmentOf, stopBatching } from '../native.js';
import { ConnectionTable } from '../scheduler/connection-table.js';
import { ConnectionState } from '../scheduler/layout.js';
import { Tracking } from './tracking.js';
import { Waiting } from './waiting.js';

/** Longest that it may take. It takes some 20 ms; no evidence for the bound. */
const TIMEOUT_MS = 5_000;

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const HALF = REQUEST.slice(0, 20);
const REST = REQUEST.slice(20);

const NO_COUNTS = {
  held() {},
  opened() {},
  reached() {},
  left() {},
  words: new Int32Array(1),
  messagesIndex: 0,
};

/** Null when moving is safe here, else why not. */
export async function selfCheck(): Promise<string | null> {
  if (!stopBatching()) return 'this libuv changes epoll sets through io_uring in a new way';
  const server = http.createServer((_request, response) => response.end('ok'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, TIMEOUT_MS, `no result after ${TIMEOUT_MS} ms`);
  });
  try {
    return await Promise.race([examine(server, client), late]);
  } catch (error) {
    return (error as Error).message;
  } finally {
    clearTimeout(timer);
    client.destroy();
    server.closeAllConnections();
    server.close();
  }
}

async function examine(server: http.Server, client: net.Socket): Promise<string | null> {
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
  const table = ConnectionTable.create(fd + 1, misalignmentOf);
  const tracking = new Tracking(table, 0, NO_COUNTS, () => 1);
  tracking.install();
  try {
    tracking.opened(socket, null);
    if (!Waiting.worksFor(server)) return "node's list of a server's connections is not found";
    const state = () => table.read(fd)?.state;
    const boundary = () => table.read(fd)?.boundary ?? -1;
    if (state() !== ConnectionState.FRESH) return 'a new connection is not known as one';
    if (!atBoundary(fd, 0, true)) return 'the kernel does not count from 0';

    // One message and a half, in one piece: the first is answered, the second has begun.
    client.write(REQUEST + HALF);
    await answered(client);
    await turn();
    if (state() !== ConnectionState.IN_MESSAGE) return 'the first byte of a message goes unnoticed';
    if (atBoundary(fd, 0, false)) return 'the kernel does not see what was read';

    client.write(REST);
    await answered(client);
    await turn();
    if (state() !== ConnectionState.BETWEEN) return 'the end of a message goes unnoticed';
    if (boundary() !== 2 * REQUEST.length) return 'bytes read are not counted as bytes sent';
    if (!atBoundary(fd, boundary(), false)) return 'node and the kernel count differently';

    // A third message begins, and is not read: the count must not change by its arrival.
    socket.pause();
    client.write(HALF);
    await turn();
    if (!atBoundary(fd, boundary(), false)) return 'the kernel counts what nobody has read';
    return null;
  } finally {
    tracking.uninstall();
  }
}

async function answered(client: net.Socket): Promise<void> {
  let text = '';
  while (!text.endsWith('ok')) {
    const [chunk] = (await once(client, 'data')) as [Buffer];
    text += chunk.toString('latin1');
  }
}

/** Lets node finish a response after its last byte has left. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
