// HTTPS and HTTP/2 on one port, for whichever a client speaks, with sessions that are resumed in any worker.
//
//     openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
//       -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost
//     TLS_KEY=key.pem TLS_CERT=cert.pem npx gyre run examples/http2.js
//     curl --cacert cert.pem https://localhost:3000/        (and with --http1.1)
//
// A TLS connection stays with the worker that accepted it, since what is encrypted has state above the
// socket. Where stalls are frequent, end TLS in a proxy, and let gyre speak plain HTTP/1.1 to that.
const { randomInt } = require('node:crypto');
const { readFileSync } = require('node:fs');
const http2 = require('node:http2');
const { arena, records } = require('gyre/arena');

/**
 * The 48 bytes that encrypt session tickets: the same in all workers, so that a client which comes
 * again need not go through the whole handshake. Whoever sets a word first decides what it is.
 */
function sharedTicketKeys() {
  const { tickets } = arena('tls', { tickets: records(12, { word: 'int32' }) });
  const { word } = tickets.fields;
  const words = Int32Array.from({ length: tickets.count }, (_, nth) => {
    word.compareExchange(nth, 0, randomInt(1, 2 ** 31)); // 0 is what nobody has set
    return word.get(nth);
  });
  return Buffer.from(words.buffer);
}

const server = http2.createSecureServer({
  key: readFileSync(process.env.TLS_KEY ?? 'key.pem'),
  cert: readFileSync(process.env.TLS_CERT ?? 'cert.pem'),
  ticketKeys: sharedTicketKeys(),
  allowHTTP1: true,
});

server.on('request', (request, response) => {
  if (request.method === 'POST') request.pipe(response);
  else response.end(`Hello over HTTP/${request.httpVersion}\n`);
});

server.listen(Number(process.env.PORT ?? 3000));
