// A rate limit that all workers keep together, and counters of what it did.
//
//     npx gyre run examples/limits.js
//     curl -i localhost:3000/        for i in $(seq 30); do curl -s localhost:3000/; done
const http = require('node:http');
const { arena, counter, records } = require('gyre/arena');

const PER_SECOND = 5n;
const BURST = 10n;
const STEP_NS = 1_000_000_000n / PER_SECOND;

// Made by whichever worker comes first, and the same for all. One record for each of 65,536
// clients; those with the same hash share one.
const { allowed, refused, clients } = arena('limits', {
  allowed: counter(),
  refused: counter(),
  clients: records(65_536, { dueNs: 'int64' }),
});

/** FNV-1a. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** The generic cell rate algorithm: when the next request of a client would be due at that rate. */
function admit(client) {
  const { dueNs } = clients.fields;
  const record = hash(client) % clients.count;
  for (;;) {
    const now = process.hrtime.bigint();
    const due = dueNs.get(record);
    const start = due > now ? due : now;
    if (start - now > (BURST - 1n) * STEP_NS) return false;
    if (dueNs.compareExchange(record, due, start + STEP_NS) === due) return true;
  }
}

http
  .createServer((request, response) => {
    const ok = admit(request.headers['x-client'] ?? request.socket.remoteAddress ?? '');
    (ok ? allowed : refused).add();
    response.statusCode = ok ? 200 : 429;
    response.end(`${allowed.value} allowed, ${refused.value} refused\n`);
  })
  .listen(Number(process.env.PORT ?? 3000));
