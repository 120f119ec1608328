// A chat over WebSockets. Its members are connected to all workers, and a BroadcastChannel joins these,
// as they are threads of one process: no Redis in between.
//
//     npx gyre run examples/ws.js
//     npx wscat -c ws://localhost:3000        (twice)
//
// A WebSocket stays with its worker. So does its state, and nothing here has to know of moving.
const http = require('node:http');
const { BroadcastChannel } = require('node:worker_threads');
const { WebSocket, WebSocketServer } = require('ws');

const server = http.createServer((_request, response) => {
  response.writeHead(426).end('This is for WebSockets\n');
});
const sockets = new WebSocketServer({ server, maxPayload: 65_536 });
const others = new BroadcastChannel('chat');

function tellMine(text) {
  for (const socket of sockets.clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(text);
  }
}

others.onmessage = ({ data }) => tellMine(data);

sockets.on('connection', (socket) => {
  socket.on('error', () => {}); // 'close' follows
  socket.on('message', (data) => {
    const text = String(data);
    tellMine(text);
    others.postMessage(text); // to everybody but this worker
  });
});

// Without this gyre would wait for the members to go, for as long as `--drain-ms` says.
process.once('SIGTERM', () => {
  server.close();
  others.close();
  for (const socket of sockets.clients) socket.close(1001, 'the server restarts');
});

server.listen(Number(process.env.PORT ?? 3000));
