/**
 * Node's own list of the connections of an HTTP/1 server, over TLS or not (`http.server.connections`, in Node 20
 * to 26): parsers, in which the sockets are found. Worker's thread only.
 *
 * Node calls a connection idle as soon as a request has been read to its end, whether or not it has been
 * answered, and closes one whose answer has been ended but is still being sent. What is idle to gyre has
 * nothing left to answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { cancelInterval } from './timers.js';

/** A socket as node's HTTP server keeps it. */
export interface HttpSocket extends Socket {
  /** What is being answered: null from when it is with the kernel, to its last byte. */
  _httpMessage?: ServerResponse | null;
  /** With the message that it has read last. Null once the connection was upgraded. */
  parser?: { readonly incoming?: IncomingMessage | null } | null;
  server?: object;
  _handle?: object | null;
}

interface InList {
  readonly socket: HttpSocket | null;
}

export interface ConnectionsList {
  all(): InList[];
  idle(): InList[];
  expired(headersTimeout: number, requestTimeout: number): InList[];
}

const LIST = 'http.server.connections';
const CHECKING = 'http.server.connectionsCheckingInterval';

function hidden(server: object, name: string): unknown {
  const key = Object.getOwnPropertySymbols(server).find(({ description }) => description === name);
  return key && (server as Record<symbol, unknown>)[key];
}

/** Null if `server` listens on nothing yet, or speaks something else. */
export function listOf(server: object): ConnectionsList | null {
  const list = hidden(server, LIST) as Partial<ConnectionsList> | undefined;
  const known = [list?.all, list?.idle, list?.expired].every((each) => typeof each === 'function');
  return known ? (list as ConnectionsList) : null;
}

function socketsOf(connections: readonly InList[]): HttpSocket[] {
  return connections.map(({ socket }) => socket).filter((socket) => socket !== null);
}

/** Connections of `server` that were not upgraded. */
export function httpSockets(server: object): HttpSocket[] {
  return socketsOf(listOf(server)?.all() ?? []);
}

/** Those that had a message, or have come from another worker, and have nothing left to answer. */
export function idleSockets(server: object): HttpSocket[] {
  return socketsOf(listOf(server)?.idle() ?? []).filter((socket) => !socket._httpMessage);
}

/** `server` has no connection left to look after: node looks until its `close()`. */
export function stopChecking(server: object): void {
  cancelInterval(hidden(server, CHECKING) as NodeJS.Timeout | undefined);
}
