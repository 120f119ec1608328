// What both servers beside this file serve: a chat with rooms.
const http = require('node:http');
const { Server } = require('socket.io');
const { ThreadAdapter } = require('./adapter.js');

/** @param transports those that clients may use */
module.exports = (transports) => {
  const server = http.createServer();
  const io = new Server(server, { transports, adapter: ThreadAdapter, serveClient: false });
  io.on('connection', (socket) => {
    socket.on('join', (room, done) => {
      socket.join(room);
      done();
    });
    socket.on('say', (room, ...what) => io.to(room).emit('said', ...what));
  });
  // Clients connect again, to whoever is there by then.
  process.once('SIGTERM', () => io.close());
  return server;
};
