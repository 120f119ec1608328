// Koa: no line of it is for gyre, and `node examples/koa.js` serves the same.
//
//     npx gyre run examples/koa.js
//     curl localhost:3000/        curl -d 'any text' localhost:3000/echo
//
// While `curl localhost:3000/slow` keeps one worker busy, another answers its other connections.
const { buffer } = require('node:stream/consumers');
const Koa = require('koa');

const app = new Koa();

const routes = {
  'GET /': (context) => {
    context.body = 'Hello\n';
  },
  'GET /slow': (context) => {
    const end = Date.now() + Number(context.query.ms ?? 1_000);
    while (Date.now() < end); // as parsing a large text does
    context.body = 'That was slow\n';
  },
  'POST /echo': async (context) => {
    context.body = await buffer(context.req);
  },
};

app.use((context, next) => (routes[`${context.method} ${context.path}`] ?? next)(context));

app.listen(Number(process.env.PORT ?? 3000));
