// Fastify, as an ES module: no line of it is for gyre.
//
//     npx gyre run examples/fastify.mjs
//     curl localhost:3000/        curl -d 'any text' localhost:3000/echo
//
// While `curl localhost:3000/slow` keeps one worker busy, another answers its other connections.
import Fastify from 'fastify';

const app = Fastify({ bodyLimit: 2 ** 20 });

// In place of Fastify's own parsers: whatever comes stays as it is.
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

app.get('/', async () => 'Hello\n');

app.get('/slow', async ({ query }) => {
  const end = Date.now() + Number(query.ms ?? 1_000);
  while (Date.now() < end); // as parsing a large text does
  return 'That was slow\n';
});

app.post('/echo', async ({ body }, reply) => {
  reply.type('application/octet-stream');
  return body;
});

await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' });
