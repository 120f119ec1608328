// Prints what `npm i gyre` puts on a disk: packages with their bytes, largest first, and the
// sum. On what is built; needs npm's registry.
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const path = require('node:path');
const { install, pack, sizes } = require('../dist/test/support/packed.js');

const folder = mkdtempSync(path.join(tmpdir(), 'gyre-size-'));
try {
  const { tarball, bytes } = pack(folder);
  const offline = install(tarball, folder);
  if (offline !== null) throw new Error(offline);
  console.log(`${String(bytes).padStart(10)}  ${path.basename(tarball)}`);
  const packages = sizes(folder);
  for (const { name, bytes } of packages) console.log(`${String(bytes).padStart(10)}  ${name}`);
  const sum = packages.reduce((total, { bytes }) => total + bytes, 0);
  console.log(`${String(sum).padStart(10)}  ${packages.length} packages together`);
} finally {
  rmSync(folder, { recursive: true });
}
