'use strict';
// Answers at once, except under /burn/N: that computes for N ms of an otherwise idle CPU.
// BURN_PER_MS, turns of the loop below in a ms, is measured once for all variants.
const http = require('node:http');

const perMs = Number(process.env.BURN_PER_MS ?? 100_000);

function burn(ms) {
  let x = 1;
  for (let turns = ms * perMs; turns > 0; turns--) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  return x;
}

http
  .createServer((request, response) => {
    if (request.url.startsWith('/burn/')) burn(Number(request.url.slice(6)));
    response.end('hello world\n');
  })
  .listen(Number(process.env.PORT));
