// What is an event and no connection: each one is handled once, by a worker that has time.
//
//     node examples/sources.js
//     curl localhost:3000/        echo hit > /dev/udp/127.0.0.1/8125
const http = require('node:http');
const { createRuntime } = require('gyre');
const { arena, counter } = require('gyre/arena');
const { emit, onEvent, worker } = require('gyre/worker');

const { EVERY_MS = 10_000, PORT = 3000, UDP_PORT = 8125 } = process.env;

async function main() {
  const runtime = await createRuntime({ entry: __filename, handleSignals: true });
  runtime.on('failure', ({ name, error }) => console.error(`${name}: ${error.message}`));
  // Should its worker die at it, another one does it again.
  runtime.sources.timer({ name: 'report', everyMs: Number(EVERY_MS), retry: true });
  const { address } = runtime.sources.datagram({
    ...{ name: 'metric', port: Number(UDP_PORT), host: '127.0.0.1' },
  });
  console.log(`HTTP on ${runtime.addresses[0].port}, datagrams on ${address.port}`);
}

function serve() {
  const { orders, metrics } = arena('sources', { orders: counter(), metrics: counter() });
  onEvent('report', ({ payload: { n } }) => {
    const { index } = worker;
    console.log(`${n}: ${orders.value} orders, ${metrics.value} metrics (worker ${index})`);
  });
  onEvent('metric', () => metrics.add());
  onEvent('order', () => orders.add());
  http
    .createServer(async (_request, response) => {
      try {
        const { worker: by } = await emit('order', { at: Date.now() }, { retry: 3 });
        response.end(`handled by worker ${by}\n`);
      } catch ({ message }) {
        response.writeHead(503).end(message);
      }
    })
    .listen(Number(PORT));
}

if (worker === null) main();
else serve();
