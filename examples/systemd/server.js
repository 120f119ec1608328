// Socket activation: systemd opens the port and hands it over as descriptor 3, so it is open while the service
// restarts, the server needs no right to port 80, and it is started when somebody first asks.
//
//     systemd-socket-activate -l 3000 -E PATH node dist/src/cli.js run examples/systemd/server.js
//     curl localhost:3000/
//
// In a project of yours it is node_modules/.bin/gyre run, as in app.service, and not npx: that would start
// another process, for which the descriptor is not.
//
// app.socket and app.service beside this file are the units. All workers accept from that one socket, as
// systemd has opened one: connections go to whoever is first, and not by the kernel's hash.
const http = require('node:http');

/** As sd_listen_fds(3): descriptors from 3 on are for this process if LISTEN_PID says so. */
function whereToListen() {
  const { LISTEN_PID, LISTEN_FDS, PORT = 3000 } = process.env;
  const activated = Number(LISTEN_PID) === process.pid && Number(LISTEN_FDS) >= 1;
  return activated ? { fd: 3 } : { port: Number(PORT) };
}

http
  .createServer((_request, response) => {
    response.end(`Hello from process ${process.pid}\n`);
  })
  .listen(whereToListen());
