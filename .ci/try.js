// node .ci/try.js SERVER: the gyre that is installed in this folder serves SERVER with all that
// it can do on Linux, or this fails.
const { createRequire } = require('node:module');
const { createRuntime } = createRequire(`${process.cwd()}/`)('gyre');

const [entry] = process.argv.slice(2);
const everything = ['native', 'pin', 'reusePort', 'counters', 'move'];
createRuntime({ entry, env: { PORT: '0' }, require: everything }).then(async (runtime) => {
  const [{ port }] = runtime.addresses;
  const answer = await fetch(`http://127.0.0.1:${port}/`);
  console.log(`${runtime.workers.length} workers: ${await answer.text()}`);
  await runtime.close();
});
