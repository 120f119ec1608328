/**
 * The end of a worker that can still act: it stops listening, answers what is in
 * flight, tells keep-alive clients to go, and is done when the last connection
 * has closed. Worker's thread only. The time limit is main's.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Server as HttpServer, ServerResponse } from 'node:http';
import type { Http2Session } from 'node:http2';
import type { Server, Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Connections } from './connections.js';
import type { Listening } from './listening.js';

/** The response that a socket is writing, as node's HTTP server keeps it. */
interface AnsweringSocket extends Socket {
  _httpMessage?: ServerResponse | null;
  parser?: object | null;
}

function closeIdle(servers: readonly Server[]): void {
  for (const server of servers) (server as Partial<HttpServer>).closeIdleConnections?.();
}

/** The next response on this connection carries `Connection: close`, and ends it. */
function makeLast(response: ServerResponse | null | undefined): void {
  if (response && !response.headersSent) response.shouldKeepAlive = false;
}

/** HTTP/2 sessions of this worker, which do not end with their server. */
const sessions = new Set<Http2Session>();
const followed = new WeakSet<Server>();
/** Captured at load: an application that installs fake timers must not stop the drain. */
const scheduleImmediate = setImmediate;

/** Follows the sessions of an HTTP/2 server; any other server is left alone. */
export function followSessions(server: Server): void {
  if (!('updateSettings' in server) || followed.has(server)) return;
  followed.add(server);
  server.on('session', (session: Http2Session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
}

/** Resolves when this worker listens on nothing and has no connection left. */
export async function drain(listening: Listening, connections: Connections): Promise<void> {
  // Two turns of the loop accept what already waits in the queues.
  await nextTurn();
  await nextTurn();
  const servers = listening.servers();

  subscribe('http.server.request.start', (message) => {
    makeLast((message as { response: ServerResponse }).response);
  });
  subscribe('http.server.response.finish', () => {
    // Headers that went out before the drain promised keep-alive; now that the
    // answer is complete the connection is idle and may close.
    scheduleImmediate(closeIdle, servers);
  });
  for (const server of servers) server.close();
  for (const socket of connections as Iterable<AnsweringSocket>) {
    makeLast(socket._httpMessage);
    // A browser's spare connection: node does not count it as idle, and it could hold
    // the drain up for as long as the client likes.
    if (socket.parser && socket.bytesRead === 0) socket.destroy();
  }
  for (const session of sessions) session.close();
  closeIdle(servers);
  await connections.none();
}
