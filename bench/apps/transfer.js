'use strict';
// Node's own transfer of sockets, around an application: `node transfer.js ENTRY WORKERS`,
// with Node 24.20 or 26.6 and later. The main thread accepts and gives each connection, unread,
// to the worker that has fewest. It stays there: a connection that was read from cannot be
// transferred any more.
const net = require('node:net');
const path = require('node:path');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');

if (isMainThread) {
  const [entry, workers] = process.argv.slice(2);
  const threads = [];
  const open = new Array(Number(workers)).fill(0);
  const accept = (socket) => {
    const least = open.indexOf(Math.min(...open));
    open[least] += 1;
    threads[least].postMessage({ socket }, [socket]);
  };
  let listening = 0;
  for (let index = 0; index < Number(workers); index++) {
    const thread = new Worker(__filename, { workerData: path.resolve(entry) });
    threads.push(thread);
    thread.on('message', (message) => {
      if (message === 'closed') {
        open[index] -= 1;
        return;
      }
      listening += 1;
      if (listening < Number(workers)) return;
      // Not read from here: that is what makes it transferable.
      net.createServer({ pauseOnConnect: true }, accept).listen(Number(process.env.PORT), () => {
        process.stderr.write('{"event":"listening"}\n');
      });
    });
  }
} else {
  net.Server.prototype.listen = function () {
    parentPort.on('message', ({ socket }) => {
      socket.once('close', () => parentPort.postMessage('closed'));
      this.emit('connection', socket);
    });
    this.emit('listening');
    parentPort.postMessage('listening');
    return this;
  };
  require(workerData);
}
