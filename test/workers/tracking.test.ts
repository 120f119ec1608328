/**
 * What the connection table says of a real server's connections while messages are followed,
 * while they are not, and after that. The kernel is asked as whoever moves one would.
 */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { atBoundary, misalignmentOf } from '../../src/native.js';
import { ConnectionTable, State } from '../../src/scheduler/connection-table.js';
import { Tracking } from '../../src/workers/tracking.js';

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** One tracked connection of a server that answers when it is told to. */
class World {
  readonly #client: net.Socket;
  readonly #table: ConnectionTable;
  readonly tracking: Tracking;
  readonly waiting: http.ServerResponse[] = [];
  readonly #fd: number;
  #sent = 0;
  #got = '';

  private constructor(
    client: net.Socket,
    table: ConnectionTable,
    tracking: Tracking,
    fd: number,
    server: http.Server,
  ) {
    this.#client = client;
    this.#table = table;
    this.tracking = tracking;
    this.#fd = fd;
    client.setEncoding('latin1').on('data', (text: string) => {
      this.#got += text;
    });
    server.on('request', (_request, response) => this.waiting.push(response));
  }

  static async start(t: Test): Promise<World> {
    const server = http.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const table = ConnectionTable.create(4096, misalignmentOf);
    const counts = {
      held() {},
      opened() {},
      reached() {},
      left() {},
      words: new Int32Array(1),
      messagesIndex: 0,
    };
    const tracking = new Tracking(table, 0, counts, () => 1);
    tracking.install();
    const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    const [socket] = (await once(server, 'connection')) as [net.Socket];
    tracking.opened(socket, null);
    t.teardown(() => {
      tracking.uninstall();
      client.destroy();
      server.close();
    });
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    return new World(client, table, tracking, fd, server);
  }

  /** Sends `text`; resolves when `requests` wait for an answer. */
  async send(text: string, requests: number): Promise<void> {
    this.#sent += text.length;
    this.#client.write(text);
    while (this.waiting.length < requests) await turn();
  }

  /** Resolves when the server has consumed everything. */
  async read(): Promise<void> {
    while (!atBoundary(this.#fd, this.#sent, false)) await turn();
  }

  async answer(): Promise<void> {
    const got = this.#got.length;
    this.waiting.shift()?.end('ok');
    while (this.#got.length === got || !this.#got.endsWith('ok')) await turn();
    await turn();
  }

  /** Whether it may move, as table and kernel together have it. */
  get movable(): boolean {
    const { state, boundary } = this.#table.read(this.#fd);
    if (state !== State.FRESH && state !== State.BETWEEN) return false;
    return atBoundary(this.#fd, boundary, state === State.FRESH);
  }

  /** Whether the table knows where it stands. */
  get exact(): boolean {
    const { state, boundary } = this.#table.read(this.#fd);
    return state === State.BETWEEN && boundary === this.#sent;
  }
}

t.test('a connection may move between two messages', async (t) => {
  const world = await World.start(t);
  t.ok(world.movable, 'before the first');
  await world.send(REQUEST, 1);
  t.notOk(world.movable, 'while it is not answered');
  await world.answer();
  t.ok(world.movable && world.exact);
  await world.send(REQUEST + REQUEST, 2);
  await world.answer();
  t.notOk(world.movable, 'while the second of two is not answered');
  await world.answer();
  t.ok(world.movable && world.exact);
});

t.test('it stays while the first bytes of the next message are read', async (t) => {
  const world = await World.start(t);
  await world.send(REQUEST + REQUEST.slice(0, 20), 1);
  await world.answer();
  t.notOk(world.movable);
  await world.send(REQUEST.slice(20) + REQUEST.slice(0, 1), 1);
  await world.answer();
  t.notOk(world.movable);
  await world.send(REQUEST.slice(1), 1);
  await world.answer();
  t.ok(world.movable && world.exact);
});

t.test('while messages are not followed it stays, unless nothing was read', async (t) => {
  const world = await World.start(t);
  await world.send(REQUEST, 1);
  await world.answer();
  world.tracking.arm(false);
  t.ok(world.movable, 'idle since then');
  await world.send(REQUEST, 1);
  t.notOk(world.movable, 'in a message');
  await world.answer();
  t.notOk(world.movable, 'after one');
  world.tracking.arm(true);
  t.ok(world.movable && world.exact, 'node says that it is idle when they are followed again');
  await world.send(REQUEST, 1);
  t.notOk(world.movable);
  await world.answer();
  t.ok(world.movable && world.exact);
});

t.test('what node calls idle is looked at with care', async (t) => {
  const world = await World.start(t);
  world.tracking.arm(false);
  await world.send(REQUEST, 1);
  world.tracking.settle();
  t.notOk(world.movable, 'a request that is not answered');
  await world.answer();
  await world.send(REQUEST.slice(0, 20), 0);
  await world.read();
  world.tracking.settle();
  t.notOk(world.movable, 'half a message');
  await world.send(REQUEST.slice(20), 1);
  world.tracking.settle();
  t.notOk(world.movable);
  await world.answer();
  world.tracking.settle();
  t.ok(world.movable && world.exact);
});

t.test('what has begun before messages are followed is not taken for nothing', async (t) => {
  await t.test('a request that is not answered', async (t) => {
    const world = await World.start(t);
    world.tracking.arm(false);
    await world.send(REQUEST, 1);
    world.tracking.arm(true);
    await world.send(REQUEST, 2);
    await world.answer();
    t.notOk(world.movable, 'the second is not answered either');
    await world.answer();
    t.notOk(world.movable, 'what was seen of them does not suffice');
    await world.send(REQUEST, 1);
    await world.answer();
    t.ok(world.movable && world.exact);
  });
  await t.test('half a request', async (t) => {
    const world = await World.start(t);
    await world.send(REQUEST, 1);
    await world.answer();
    world.tracking.arm(false);
    await world.send(REQUEST + REQUEST.slice(0, 20), 1);
    await world.answer();
    world.tracking.arm(true);
    t.notOk(world.movable);
    await world.send(REQUEST.slice(20), 1);
    t.notOk(world.movable);
    await world.answer();
    t.ok(world.movable && world.exact, 'its header was not whole before');
  });
});

t.test('one that opens while messages are not followed', async (t) => {
  const world = await World.start(t);
  world.tracking.arm(false);
  t.ok(world.movable, 'is fresh');
  await world.send(REQUEST, 1);
  t.notOk(world.movable);
  await world.answer();
  t.notOk(world.movable);
});
