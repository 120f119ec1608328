// Socket.IO over WebSocket alone: needs no sticky sessions.
//
//     npx gyre run examples/socket.io/websocket.js
//     io('http://localhost:3000', { transports: ['websocket'] })        (in the client)
//
// A session of Socket.IO is kept by the worker in which it began. A WebSocket is one connection, which stays
// with its worker for good, so there is nothing else that could come to another one. Long-polling, with
// which clients begin unless they are told, is a series of requests over several connections; these come to
// all workers, as under a cluster, and gyre moves them besides. So here the server refuses it, with an
// error that says why, instead of failing now and then. polling.js has it.
const chat = require('./chat.js');

chat(['websocket']).listen(Number(process.env.PORT ?? 3000));
