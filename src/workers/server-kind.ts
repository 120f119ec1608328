/**
 * What a server speaks, told by what it can do: nothing of node's HTTP or TLS is loaded for it. Pure; any thread.
 */
import type { Server } from 'node:net';
import { Waiting } from './waiting.js';

/** Whether TLS comes before anything else. */
export function isTls(server: object): boolean {
  return 'setSecureContext' in server;
}

/** Whether it is an HTTP/1 server, over TLS or not. */
export function isHttp1(server: Server): boolean {
  return 'requestTimeout' in server;
}

/** Whether it is an HTTP/2 server, over TLS or not. */
export function isHttp2(server: Server): boolean {
  return 'updateSettings' in server;
}

/** Whether `server`, which listens, speaks HTTP/1 on the accepted socket itself. */
export function speaksHttp1(server: Server): boolean {
  return Waiting.worksFor(server) && !isTls(server);
}
