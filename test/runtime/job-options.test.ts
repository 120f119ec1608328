/** The option `jobs`: what a job may be called, and where its function is. */
import path from 'node:path';
import t from 'tap';
import { resolveJobs } from '../../src/runtime/job-options.js';

t.test('names are files, and URLs may name an export', async (t) => {
  t.same(resolveJobs({ a: 'a.js', b: 'file:///b.mjs#sum', c: new URL('file:///c%20d.js') }), {
    a: { file: path.resolve('a.js'), name: 'default' },
    b: { file: '/b.mjs', name: 'sum' },
    c: { file: '/c d.js', name: 'default' },
  });
});
