// Server-Sent Events: what anybody publishes reaches every subscriber, whichever worker either is
// connected to, and a subscriber that was away for a moment gets what it missed.
//
//     npx gyre run examples/sse.js
//     curl -N localhost:3000/events        curl -d 'some news' localhost:3000/publish
//
// An answer that goes on does not move. What the same client asks for over other connections may.
const http = require('node:http');
const { text } = require('node:stream/consumers');
const { BroadcastChannel } = require('node:worker_threads');
const { arena, records } = require('gyre/arena');

const KEPT = 100;
const HEARTBEAT_MS = 15_000;

// The last number given out, in all workers.
const { numbers } = arena('sse', { numbers: records(1, { last: 'int32' }) });
const others = new BroadcastChannel('sse');
const subscribers = new Set();
// What this worker has heard of: one that has just started knows of nothing before. Of two events that are
// published at once in different workers, either may come first.
const recent = [];

function deliver(event) {
  recent.push(event);
  if (recent.length > KEPT) recent.shift();
  for (const response of subscribers) send(response, event);
}

function send(response, { id, data }) {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  response.write(`id: ${id}\n${lines.join('')}\n`);
}

others.onmessage = ({ data }) => deliver(data);

// Proxies end what is silent for long.
setInterval(() => {
  for (const response of subscribers) response.write(':\n\n');
}, HEARTBEAT_MS).unref();

const server = http.createServer(async (request, response) => {
  if (request.method === 'POST' && request.url === '/publish') {
    const event = { id: numbers.fields.last.add(0, 1) + 1, data: await text(request) };
    others.postMessage(event);
    deliver(event);
    response.end(`${event.id}\n`);
    return;
  }
  if (request.url !== '/events') {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write('retry: 1000\n\n');
  const last = Number(request.headers['last-event-id'] ?? Number.POSITIVE_INFINITY);
  for (const event of recent) if (event.id > last) send(response, event);
  subscribers.add(response);
  response.on('close', () => subscribers.delete(response));
});

// These answers have no end of their own, and the drain would wait for one: their clients come again.
process.once('SIGTERM', () => {
  server.close();
  others.close();
  for (const response of subscribers) response.end();
});

server.listen(Number(process.env.PORT ?? 3000));
