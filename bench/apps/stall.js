'use strict';
// Answers at once, except under /burn/N: that computes for N ms of an otherwise idle CPU.
// Keep-alive connections stay open while a benchmark lasts, as behind a load balancer.
const http = require('node:http');
const burn = require('./burn.js');

http
  .createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
    if (request.url.startsWith('/burn/')) burn(Number(request.url.slice(6)));
    response.end('hello world\n');
  })
  .listen(Number(process.env.PORT), process.env.BENCH_HOST); // absent: every address
