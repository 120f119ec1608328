// Hono, on its server for Node: no line of it is for gyre.
//
//     npx gyre run examples/hono.mjs
//     curl localhost:3000/        curl -d 'any text' localhost:3000/echo
//
// While `curl localhost:3000/slow` keeps one worker busy, another answers its other connections.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';

const app = new Hono();

app.get('/', (context) => context.text('Hello\n'));

app.get('/slow', (context) => {
  const end = Date.now() + Number(context.req.query('ms') ?? 1_000);
  while (Date.now() < end); // as parsing a large text does
  return context.text('That was slow\n');
});

app.post('/echo', async (context) => context.body(await context.req.arrayBuffer()));

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });
