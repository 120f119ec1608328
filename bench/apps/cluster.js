'use strict';
// node:cluster around an application: `node cluster.js ENTRY WORKERS rr|none`. Says so on
// stderr, as `gyre run --json` does, when every worker listens.
const cluster = require('node:cluster');
const path = require('node:path');

const [entry, workers, policy] = process.argv.slice(2);
if (cluster.isPrimary) {
  cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  let listening = 0;
  cluster.on('listening', () => {
    listening += 1;
    if (listening === Number(workers)) process.stderr.write('{"event":"listening"}\n');
  });
  for (let index = 0; index < Number(workers); index++) cluster.fork();
} else {
  require(path.resolve(entry));
}
