/**
 * What the governor takes of a thread, asked of the helper itself: a number that a thread which is being torn down
 * still seems to have, and that is another's by now, stays where it is.
 */
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  close,
  createWatcher,
  installSafepoint,
  misalignmentOf,
  socketOf,
  take,
} from '../../src/native.js';
import { ConnectionTable, nativeTable, State } from '../../src/scheduler/connection-table.js';
import { Hands } from '../../src/scheduler/hands.js';
import { Mailboxes, nativeMail } from '../../src/scheduler/mailbox.js';
import { Scoreboard } from '../../src/scheduler/scoreboard.js';
import { HOST, ROOT } from '../support/app.js';

const CAPACITY = 16;

t.test('a number is taken only while it is the socket that its owner had there', async (t) => {
  installSafepoint();
  const board = Scoreboard.create(1, misalignmentOf);
  const table = ConnectionTable.create(1_000, misalignmentOf);
  const shared = {
    table: nativeTable(table),
    mail: nativeMail(Mailboxes.create(1, CAPACITY, misalignmentOf)),
  };
  const hands = Hands.create(CAPACITY);
  const watcher = createWatcher(1, 1_000, () => {});
  t.teardown(() => watcher.stop());
  // The victim: a thread with a loop, in which nothing of all this is registered.
  const victim = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
    const { attachLoop } = require(workerData);
    parentPort.on('message', () => {});
    parentPort.postMessage(attachLoop(new Int32Array(64), 0, 32, () => {}).wakeId);`,
    { eval: true, execArgv: [], workerData: path.join(ROOT, 'dist', 'src', 'native.js') },
  );
  t.teardown(() => victim.terminate());
  const [peer] = (await once(victim, 'message')) as [number];

  const server = net.createServer({ pauseOnConnect: true }).listen(0, HOST);
  t.teardown(() => server.close());
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, HOST);
  t.teardown(() => client.destroy());
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  t.teardown(() => socket.destroy());
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;

  const quota = { words: board.words, ...board.countsOf(0), placesMax: 10, acceptMax: 0 };
  const stats = new Float64Array(3);
  const takes = () =>
    take(
      ...([peer, 0, shared, watcher.neverFd, CAPACITY, quota] as const),
      ...([1_000_000, 0, hands.entries, stats] as const),
    );
  const cookie = socketOf(fd);
  t.not(cookie, 0);
  table.open(fd, 0, 1, 0, State.FRESH, cookie + 1);
  t.equal(takes(), 0, 'it is somebody else');
  t.equal(table.read(fd).state, State.FRESH, 'whose entry is not touched');
  t.equal(socketOf(fd), cookie, 'nor what he has');
  table.open(fd, 0, 1, 0, State.FRESH, cookie);
  t.equal(takes(), 1, 'it is the same');
  t.equal(table.read(fd).state, State.TAKEN);
  t.not(socketOf(fd), cookie);
  const taken = hands.at(0);
  t.match(taken, { oldFd: fd, listener: 1 });
  t.equal(socketOf(taken.fd), cookie);
  close(taken.fd);
});
