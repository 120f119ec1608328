'use strict';
// A CPU-bound job of `ms`. It says when it started, on the clock that all threads share.
const burn = require('./burn.js');

module.exports = (ms) => {
  const startedAt = performance.timeOrigin + performance.now();
  burn(ms);
  return startedAt;
};
