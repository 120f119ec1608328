// Socket.IO with long-polling, for clients whose proxies let no WebSocket through: needs sticky sessions.
//
//     npx gyre run examples/socket.io/polling.js --workers 2 --no-move
//     haproxy -f examples/socket.io/haproxy.cfg
//     io('http://localhost:3000', { withCredentials: true })        (in the client)
//
// Every request of a session has to come to the worker in which it began; any other one says "Session ID
// unknown". So each worker has a port of its own, HAProxy chooses one for a client and tells it by a
// cookie, and with --no-move a connection is left where it arrived. What gyre does for others
// is not to be had with it: a stall holds up everybody on that worker.
const { worker } = require('gyre/worker');
const chat = require('./chat.js');

const { PORT = 3001 } = process.env;

// No worker listens where a spare would, so there it does not help, and is not told.
chat(['polling', 'websocket']).listen(Number(PORT) + (worker?.index ?? 0));
