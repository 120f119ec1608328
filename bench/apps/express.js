'use strict';
// A small application as people write them: a framework, body parsers, a router, JSON.
const express = require('express');

const router = express.Router();
router.get('/items/:id', (request, response) => {
  response.json({ id: request.params.id, tags: ['a', 'b', 'c'], at: new Date().toISOString() });
});

const app = express();
app.use(express.json());
app.use(express.urlencoded({ extended: true }));
app.use('/api', router);
app.get('/', (_request, response) => response.send('hello world\n'));
app.listen(process.env.PORT);
