// What the image of Dockerfile serves. It can be any server.
const http = require('node:http');

http
  .createServer((_request, response) => {
    response.end('Hello\n');
  })
  .listen(Number(process.env.PORT ?? 3000));
