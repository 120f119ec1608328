// Work that burns CPU goes to the job pool, so that no connection waits behind it.
//
//     npx gyre run examples/thumbnails.js
//     curl -o mandelbrot.pgm 'localhost:3000/render?size=400'
const http = require('node:http');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { run } = require('gyre/worker');

const RENDER = pathToFileURL(path.join(__dirname, 'jobs', 'render.js'));

http
  .createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname !== '/render') {
      response.end('Hello\n');
      return;
    }
    const gone = new AbortController();
    response.on('close', () => gone.abort()); // nobody waits for it any more
    try {
      const image = await run(RENDER, Number(searchParams.get('size')), { signal: gone.signal });
      response.setHeader('content-type', 'image/x-portable-graymap');
      response.end(Buffer.from(image));
    } catch (error) {
      if (gone.signal.aborted) return;
      response.statusCode = error.code === 'ERR_GYRE_JOB_QUEUE_FULL' ? 503 : 500;
      response.end(`${error.message}\n`);
    }
  })
  .listen(Number(process.env.PORT ?? 3000));
