'use strict';
// The work of a slow request: `burn(ms)` computes for that many ms of an otherwise idle CPU.
// As a program it prints how many turns of its loop take a ms here, which is measured once
// for all variants that run under the same node, and handed to them as BURN_PER_MS.
const perMs = Number(process.env.BURN_PER_MS ?? 100_000);

function turn(turns) {
  let x = 1;
  for (let left = turns; left > 0; left--) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  return x;
}

module.exports = (ms) => turn(ms * perMs);

if (require.main === module) {
  const TURNS = 2e7;
  turn(TURNS); // until it is compiled
  let best = 0;
  for (let trial = 0; trial < 10; trial++) {
    // CPU time, so that somebody else on this CPU does not count.
    const before = process.cpuUsage();
    turn(TURNS);
    const { user, system } = process.cpuUsage(before);
    best = Math.max(best, TURNS / ((user + system) / 1000));
  }
  process.stdout.write(`${Math.round(best)}\n`);
}
