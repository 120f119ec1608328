'use strict';
// Plain worker threads around an application: `node threads.js ENTRY WORKERS`. Each thread
// listens on a socket of its own with SO_REUSEPORT, and the kernel's hash of a connection's
// addresses decides for good which thread has it. Node has had `listen({ reusePort })` since
// 23.1 only, so the sockets are opened by gyre's helper, on every node alike.
const net = require('node:net');
const path = require('node:path');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');

const BACKLOG = 511; // node's own

if (isMainThread) {
  const [entry, workers] = process.argv.slice(2);
  let listening = 0;
  for (let index = 0; index < Number(workers); index++) {
    new Worker(__filename, { workerData: path.resolve(entry) }).on('message', () => {
      listening += 1;
      if (listening === Number(workers)) process.stderr.write('{"event":"listening"}\n');
    });
  }
} else {
  const { openTcp, TCP_REUSEPORT } = require('../../dist/src/native.js');
  const { listen } = net.Server.prototype;
  net.Server.prototype.listen = function (port) {
    const fd = openTcp('::', Number(port), 6, TCP_REUSEPORT, BACKLOG);
    if (fd < 0) throw new Error(`port ${port}: errno ${-fd}`);
    return listen.call(this, { fd }, () => parentPort.postMessage('listening'));
  };
  require(workerData);
}
