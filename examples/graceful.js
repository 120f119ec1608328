// Shutdown, reload and resize without a lost answer, and without a line for it: gyre stops accepting, lets
// what is in flight be answered, and tells keep-alive clients to go. On a reload they stay connected.
// What is left to a program is what it keeps in memory: here, log lines that wait to be written.
//
//     node dist/src/cli.js run examples/graceful.js --drain-ms 20000 </dev/null &
//     curl 'localhost:3000/?ms=5000' & sleep 1; kill -TERM %1        (or -HUP, which reloads)
//
// Not by npx, which does not pass signals on. With a terminal as its input, SIGHUP means that the terminal is gone.
//
// 'exit' handlers are synchronous. What a program must wait for at its end (a pool of connections to a
// database) it does in onShutdown() of gyre/worker, which is called in a reload, too. Or it listens for
// SIGTERM and shuts itself down, as under node: see ws.js. gyre then only watches the time.
const { appendFileSync } = require('node:fs');
const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');

const { LOG = 'access.log', PORT = 3000 } = process.env;
const FLUSH_MS = 60_000;

let lines = [];

function flush() {
  if (lines.length > 0) appendFileSync(LOG, lines.join('')); // one write, and workers do not mix lines
  lines = [];
}

setInterval(flush, FLUSH_MS).unref();
process.on('exit', flush); // of this worker, whatever it ends for

http
  .createServer(async (request, response) => {
    const { searchParams } = new URL(request.url, 'http://localhost');
    response.write('waiting\n');
    await sleep(Number(searchParams.get('ms') ?? 0));
    lines.push(`${request.method} ${request.url}\n`);
    response.end('done\n');
  })
  .listen(Number(PORT));
