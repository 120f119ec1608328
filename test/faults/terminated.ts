/** A worker thread with an HTTP server, whose messages are followed or not. No runtime. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { misalignmentOf, threadId } from '../../src/native.js';
import { ConnectionTable } from '../../src/scheduler/connection-table.js';
import { Tracking } from '../../src/workers/tracking.js';

const followed = workerData as boolean;
const server = http.createServer((_request, response) => response.end('ok'));
const counts = {
  ...{ held() {}, opened() {}, reached() {}, left() {} },
  ...{ words: new Int32Array(1), messagesIndex: 0 },
};
const table = ConnectionTable.create(4096, misalignmentOf);
const tracking = new Tracking(table, 0, counts, () => 1);
if (followed) tracking.install();
server.on('connection', (socket) => followed && tracking.opened(socket, null));
server.listen(0, '127.0.0.1', () => {
  parentPort?.postMessage({ port: (server.address() as AddressInfo).port, tid: threadId() });
});
