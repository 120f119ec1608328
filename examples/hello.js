// A server that knows nothing of gyre: `node examples/hello.js` runs it just as well.
const http = require('node:http');
const { threadId } = require('node:worker_threads');

const port = Number(process.env.PORT ?? 3000);

http
  .createServer((_request, response) => {
    response.end(`Hello from thread ${threadId} of process ${process.pid}\n`);
  })
  .listen(port);
