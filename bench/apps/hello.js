'use strict';
// The least that an http server can do: what is left is the cost of serving.
const http = require('node:http');

http.createServer((_request, response) => response.end('hello world\n')).listen(process.env.PORT);
