'use strict';
// gyre through its API, for what the command does not tell: `node host.js ENTRY WORKERS
// OPTIONS`. Answers every message of its parent with a snapshot of the scoreboard.
const { createRuntime } = require('../../dist/src/index.js');

const [entry, workers, options] = process.argv.slice(2);
createRuntime({ ...JSON.parse(options), entry, workers: Number(workers) }).then((runtime) => {
  process.on('message', () => process.send(runtime.snapshot()));
  process.stderr.write('{"event":"listening"}\n');
});
