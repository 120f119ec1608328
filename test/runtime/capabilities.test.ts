/** What this system, and this Node, can do. */
import t from 'tap';
import { detectCapabilities, edgeTriggered } from '../../src/runtime/capabilities.js';

t.test('nothing looks into epoll sets where that takes an event away', (t) => {
  for (const version of ['1.49.0', '1.49.1']) t.match(edgeTriggered(version), / 1\.49\.2 does$/);
  for (const version of ['1.46.0', '1.48.0', '1.49.2', '1.51.0'])
    t.equal(edgeTriggered(version), null);
  t.equal(
    detectCapabilities().move.available,
    process.platform === 'linux' && edgeTriggered(process.versions.uv) === null,
  );
  t.end();
});
