/**
 * The end of a worker that can still act: it stops listening, answers what is in
 * flight, tells keep-alive clients to go, or lets them go on in another worker, and is done
 * when the last connection has closed. Worker's thread only. The time limit is main's.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Server as HttpServer, ServerResponse } from 'node:http';
import type { Http2Session } from 'node:http2';
import net, { type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { REQUEST_START, RESPONSE_FINISH } from './channels.js';
import type { Connections } from './connections.js';
import type { Departure } from './departure.js';
import type { Listening } from './listening.js';
import { isHttp2 } from './server-kind.js';
import { cancelInterval, scheduleImmediate, scheduleInterval, scheduleTick } from './timers.js';
import type { Tracking } from './tracking.js';
import { idleSockets } from './waiting.js';

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

/** Closes `socket` now. A client that has seen half an answer must not take it for a whole one. */
export function cutOff(socket: Socket): void {
  const response = (socket as AnsweringSocket)._httpMessage;
  if (response?.headersSent === true && !response.writableFinished) socket.resetAndDestroy();
  else socket.destroy();
}

/** HTTP/2 sessions of this worker, which do not end with their server. */
const sessions = new Set<Http2Session>();
const followed = new WeakSet<Server>();
const closeListening = net.Server.prototype.close;

/** Follows the sessions of an HTTP/2 server; any other server is left alone. */
export function followSessions(server: Server): void {
  if (!isHttp2(server) || followed.has(server)) return;
  followed.add(server);
  server.on('session', (session: Http2Session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
}

/** Answers from now on end their connections, unless `keeps` says that theirs goes on elsewhere. */
function makeAnswersLast(connections: Connections, keeps: (socket: Socket) => boolean): void {
  subscribe(REQUEST_START, (message) => {
    const { response, socket } = message as { response: ServerResponse; socket: Socket };
    if (!keeps(socket)) makeLast(response);
  });
  for (const socket of connections as Iterable<AnsweringSocket>) {
    if (!keeps(socket)) makeLast(socket._httpMessage);
  }
  for (const session of sessions) session.close();
}

/** Turns of the loop, each of which accepts one connection of each listening socket. */
const ACCEPTING_TURNS_MAX = 2_000;

/** Resolves when the accept queues are empty; with new ones all the time, after a bounded time. */
async function acceptWhatWaits(connections: Connections): Promise<void> {
  let quiet = 0;
  for (let turn = 0; turn < ACCEPTING_TURNS_MAX && quiet < 2; turn++) {
    const before = connections.opened;
    await nextTurn();
    quiet = connections.opened === before ? quiet + 1 : 0;
  }
}

/**
 * Resolves when this worker listens on nothing and has no connection left.
 *
 * @param serve whether it goes on accepting until it has none
 */
export async function drain(
  listening: Listening,
  connections: Connections,
  serve: boolean,
): Promise<void> {
  await acceptWhatWaits(connections);
  const servers = listening.servers();
  subscribe(RESPONSE_FINISH, () => {
    // Headers that went out before the drain promised keep-alive; now that the
    // answer is complete the connection is idle and may close.
    scheduleImmediate(closeIdle, servers);
  });
  makeAnswersLast(connections, () => false);
  if (serve) {
    closeIdle(servers);
    await connections.none();
  }
  for (const server of servers) server.close();
  // What came last may have been asked already: a turn reads it.
  await nextTurn();
  await nextTurn();
  for (const socket of connections as Iterable<AnsweringSocket>) {
    // A browser's spare connection: node does not count it as idle, and it could hold
    // the drain up for as long as the client likes.
    if (socket.parser && socket.bytesRead === 0) socket.destroy();
  }
  closeIdle(servers);
  await connections.none();
}

/** How soon what could not be given away is looked at again, in ms. No evidence for more or less. */
const SWEEP_MS = 100;

/**
 * Like {@link drain}, but whatever can move goes to other workers: a client that keeps its
 * connection alive notices nothing. What cannot is told to go after its next answer.
 * Connections without an end, as WebSockets, stay until main's time limit.
 */
export async function retire(
  listening: Listening,
  connections: Connections,
  { tracking, departure }: { readonly tracking: Tracking; readonly departure: Departure },
  heir: number | null,
): Promise<void> {
  const servers = listening.servers();
  let between: number[] = [];
  // Before the loop looks for events: the client's next message is for the heir.
  const giveSoon = () => {
    const descriptors = between;
    between = [];
    departure.give(descriptors, heir, false);
  };
  tracking.leave((fd) => {
    if (between.push(fd) === 1) scheduleTick(giveSoon);
  });
  const giveAll = () => {
    departure.giveAll(heir, false);
    closeStayingIdle(servers, tracking);
  };
  makeAnswersLast(connections, (socket) => tracking.canMove(socket));
  // Not http.Server's own close(), which closes idle connections: those move.
  for (const server of servers) closeListening.call(server);
  giveAll();
  const sweep = scheduleInterval(giveAll, SWEEP_MS);
  await connections.none();
  cancelInterval(sweep);
}

/** Closes idle connections that will never be anywhere else. */
function closeStayingIdle(servers: readonly Server[], tracking: Tracking): void {
  for (const server of servers) {
    for (const socket of idleSockets(server)) if (!tracking.canMove(socket)) socket.destroy();
  }
}
