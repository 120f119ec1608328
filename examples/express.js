// Express: no line of it is for gyre, and `node examples/express.js` serves the same.
//
//     npx gyre run examples/express.js
//     curl localhost:3000/        curl -d 'any text' localhost:3000/echo
//
// While `curl localhost:3000/slow` keeps one worker busy, another answers its other connections.
const express = require('express');

const app = express();

app.get('/', (_request, response) => {
  response.send('Hello\n');
});

app.get('/slow', (request, response) => {
  const end = Date.now() + Number(request.query.ms ?? 1_000);
  while (Date.now() < end); // as parsing a large text does
  response.send('That was slow\n');
});

app.post('/echo', express.raw({ type: () => true, limit: '1mb' }), (request, response) => {
  response.type('bin').send(request.body);
});

app.listen(Number(process.env.PORT ?? 3000));
