// Puts the addon that `npm run build:native` made where the package has it for this platform,
// without what only a debugger reads. Prints where that is.
const { execFileSync } = require('node:child_process');
const { mkdirSync } = require('node:fs');
const path = require('node:path');
const { BUILT_FILE, prebuiltFile } = require('../dist/src/native-file.js');

const file = prebuiltFile();
mkdirSync(path.dirname(file), { recursive: true });
execFileSync('strip', ['--strip-unneeded', '-o', file, BUILT_FILE]);
console.log(path.relative(process.cwd(), file));
