// Prints what failed in the given TAP files, then `N passed, N failed, N skipped`
// over all of them. Exits with 1 if anything failed, or any file ran nothing.
const { readFileSync } = require('node:fs');
const path = require('node:path');

const sum = { pass: 0, fail: 0, skip: 0 };
let broken = false;
for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, 'utf8');
  // tap's own totals, over all files and assertions: # { total: 8, pass: 7, fail: 1 }
  const totals = [...text.matchAll(/^# \{ total: \d+.*\}$/gm)].at(-1)?.[0] ?? '';
  const count = (key) => Number(new RegExp(`\\b${key}: (\\d+)`).exec(totals)?.[1] ?? 0);
  const [pass, fail, skip] = [count('pass'), count('fail'), count('skip')];
  sum.pass += pass;
  sum.fail += fail;
  sum.skip += skip;
  console.log(`${path.basename(file, '.tap')}: ${totals || 'no result'}`);
  if (pass + fail === 0 || fail > 0) {
    broken = true;
    console.log(fail > 0 ? failures(text) : text.slice(-4000));
  }
}
console.log(`${sum.pass} passed, ${sum.fail} failed, ${sum.skip} skipped`);
process.exit(broken || sum.pass === 0 ? 1 : 0);

/** Each failing assertion with its diagnostics. */
function failures(text) {
  const lines = text.split('\n');
  const out = [];
  for (let i = 0; i < lines.length && out.length < 400; i++) {
    if (/^\s*not ok /.test(lines[i])) out.push(...lines.slice(i, i + 30), '');
  }
  return out.join('\n');
}
